//! `Device`: a shared handle to an [`Engine`], which computes, and to the list of values that the next run computes.
//!
//! In: nodes to realize, data to upload, values to read. Out: values on nodes, data on the host. Independent of the
//! backends: `runtime/devices` has the constructors of devices.

use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, Weak};

use super::node::{Edges, Node};
use super::storage::{Storage, Transfers, Value};
use crate::core::dtype::Element;
use crate::core::error::Error;
use crate::core::limits::Limits;
use crate::core::sync::lock;

/// A device that stores and computes tensors. Cloning is cheap. All tensors of one computation must be on the same
/// device.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    name: String,
    /// `None` for the CPU reference, which has no limits.
    limits: Option<Limits>,
    /// Whether each node is realized as soon as it is built.
    eager: bool,
    engine: Box<dyn Engine>,
    /// A mutex that is locked while nodes are realized.
    running: Mutex<()>,
    /// Values that the next run computes in addition to its own roots.
    pending: Mutex<Vec<Pending>>,
    /// A failure that has not been reported yet.
    failure: Mutex<Option<Error>>,
}

/// Executes a device's computations; implemented by `runtime`.
pub(crate) trait Engine: Any + Send + Sync {
    /// Submits the computation of the nodes and sets their values. Does not wait for the device.
    fn realize(&self, roots: Vec<Arc<Node>>) -> Result<(), Error>;

    /// Blocks until a run can start without waiting for an earlier run.
    fn wait_until_ready(&self) -> Result<(), Error>;

    fn transfers(&self) -> &dyn Transfers;
}

/// A value that the next run computes, unless it is dropped before.
pub(crate) enum Pending {
    /// The initial value of a `Var`. It is computed in a separate run, so that the first training step has the same
    /// plan and kernels as all later steps.
    Initial(Weak<Node>),
    /// A `Var` that was set to another tensor.
    Changed(Weak<dyn Variable>),
    /// The output that a backward pass started from: computing it in the same run as the gradients costs little.
    Output(Weak<Node>),
}

/// A variable (`Var`), whose current node changes.
pub(crate) trait Variable: Send + Sync {
    /// Returns the current node.
    fn node(&self) -> Arc<Node>;
}

/// The storage of a failed upload. The next run reports the failure.
struct FailedUpload;

impl Storage for FailedUpload {
    fn bytes(&self) -> u64 {
        0
    }
}

impl Device {
    pub(crate) fn new(name: String, limits: Option<Limits>, eager: bool, engine: impl Engine) -> Device {
        Device(Arc::new(Inner {
            name,
            limits,
            eager,
            engine: Box::new(engine),
            running: Mutex::default(),
            pending: Mutex::default(),
            failure: Mutex::default(),
        }))
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.0.engine
    }

    /// Whether this is the CPU reference.
    pub fn is_cpu(&self) -> bool {
        self.0.limits.is_none()
    }

    pub(crate) fn limits(&self) -> Option<&Limits> {
        self.0.limits.as_ref()
    }

    /// Returns the maximum size in bytes of a tensor that a kernel can bind.
    pub(crate) fn binding_limit(&self) -> Option<u64> {
        self.limits().map(|limits| limits.binding_bytes.min(limits.buffer_bytes))
    }

    /// Computes the nodes and everything in `pending`. A lock is held during planning and submission. Does not wait for
    /// the result.
    pub(crate) fn realize(&self, roots: &[Arc<Node>]) -> Result<(), Error> {
        self.0.engine.wait_until_ready()?; // before locking, so that waiting does not block other threads
        let _running = lock(&self.0.running);
        self.realize_locked(roots)
    }

    /// Performs [`realize`](Device::realize) for a node that was just built. Returns `None` if the device is already
    /// planning: nodes built during planning (decompositions of fused operations) stay pending.
    fn realize_built(&self, node: &Arc<Node>) -> Option<Result<(), Error>> {
        let _running = self.0.running.try_lock().ok()?;
        Some(self.realize_locked(std::slice::from_ref(node)))
    }

    fn realize_locked(&self, roots: &[Arc<Node>]) -> Result<(), Error> {
        if let Some(failure) = lock(&self.0.failure).take() {
            return Err(failure);
        }
        let pending = std::mem::take(&mut *lock(&self.0.pending));
        let node = |pending: &Pending| match pending {
            Pending::Initial(node) => node.upgrade(),
            Pending::Changed(variable) => variable.upgrade().map(|variable| variable.node()),
            Pending::Output(node) => node.upgrade().filter(|node| node.held() > 0),
        };
        let (initial, others): (Vec<&Pending>, Vec<&Pending>) =
            pending.iter().partition(|pending| matches!(pending, Pending::Initial(_)));
        if !initial.is_empty() {
            self.0.engine.realize(initial.into_iter().filter_map(node).collect())?;
        }
        self.0.engine.realize(roots.iter().cloned().chain(others.into_iter().filter_map(node)).collect())
    }

    /// Realizes a node whose pending chain exceeds `MAX_DEPTH`. The next run reports a failure, because building a node
    /// does not return an error.
    pub(super) fn realize_deep(&self, node: &Arc<Node>) {
        if let Some(Err(error)) = self.realize_built(node) {
            *lock(&self.0.failure) = Some(error);
        }
    }

    pub(super) fn is_eager(&self) -> bool {
        self.0.eager
    }

    /// Realizes a node that was just built, panics in the user's line on failure, and prints a message if the node
    /// produced the first NaN. `operands` are the node's sources, which the node may drop when it is realized.
    #[track_caller]
    pub(super) fn realize_eagerly(&self, node: &Arc<Node>, operands: &Edges) {
        let Some(realized) = self.realize_built(node) else { return };
        let has_nan = |node: &Node, out: u8| match node.value(out) {
            Some(value) if value.view.is_contiguous() && node.outs[out as usize].dtype.is_float() => {
                Ok(self.read::<f32>(&value)?.iter().any(|x| x.is_nan()))
            }
            _ => Ok(false),
        };
        let found = realized.and_then(|()| {
            let mut before = operands.iter().map(|edge| has_nan(&edge.node, edge.out));
            Ok(has_nan(node, 0)? && !before.try_fold(false, |any, nan| nan.map(|nan| any || nan))?)
        });
        match found {
            Ok(true) => eprintln!("wgrad: {} made the first NaN, at {}", node.op.name(), Location::caller()),
            Ok(false) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Computes everything in `pending`. The next run reports a failure.
    pub(crate) fn realize_pending(&self) {
        if let Err(error) = self.realize(&[]) {
            *lock(&self.0.failure) = Some(error);
        }
    }

    pub(crate) fn register(&self, pending: Pending) {
        lock(&self.0.pending).push(pending);
    }

    /// Uploads data. The next run reports a failure, because building a tensor does not return an error.
    pub(crate) fn upload<T: Element>(&self, data: &[T]) -> Arc<dyn Storage> {
        self.0.engine.transfers().upload(&data).unwrap_or_else(|error| {
            *lock(&self.0.failure) = Some(error);
            Arc::new(FailedUpload)
        })
    }

    pub(crate) fn read<T: Element>(&self, value: &Value) -> Result<Vec<T>, Error> {
        let bytes = value.view.shape.numel() * T::DTYPE.bytes();
        Ok(self.0.engine.transfers().read(&*value.storage, bytes)?.to_vec())
    }

    pub(crate) async fn read_async<T: Element>(&self, value: &Value) -> Result<Vec<T>, Error> {
        let bytes = value.view.shape.numel() * T::DTYPE.bytes();
        Ok(self.0.engine.transfers().read_async(&*value.storage, bytes).await?.to_vec())
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Device({self})")
    }
}
