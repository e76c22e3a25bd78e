//! `Device`: where tensors live, and when they are computed. Who computes them is behind [`Engine`].
//!
//! In: nodes to realise, data to upload, values to read. Out: values on nodes, data on the host. Knows no backend: the
//! devices that there are stand in `runtime/devices`.

use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, Weak};

use futures::future::BoxFuture;

use super::node::{Edges, Node};
use super::storage::{Storage, Value};
use crate::core::dtype::Element;
use crate::core::error::Error;
use crate::core::host::{Download, Upload};
use crate::core::limits::Limits;
use crate::core::sync::lock;

/// Where tensors live and are computed. Cloning is cheap; tensors of one computation share one device.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    name: String,
    /// `None`: the CPU reference, which has none.
    limits: Option<Limits>,
    /// Each node is realised as soon as it is built.
    eager: bool,
    engine: Box<dyn Engine>,
    /// Held while nodes are realised.
    running: Mutex<()>,
    /// What is to be computed with the next run, whatever that run is for.
    pending: Mutex<Vec<Pending>>,
    /// A failure that had no read to come out of yet.
    failure: Mutex<Option<Error>>,
}

/// What computes for a device: `runtime` implements it.
pub(crate) trait Engine: Any + Send + Sync {
    /// Gives the nodes their values, or promises them: nothing waits for the device.
    fn realize(&self, roots: Vec<Arc<Node>>) -> Result<(), Error>;

    /// Blocks until a run would not have to wait for an earlier one.
    fn wait_until_ready(&self) -> Result<(), Error>;

    fn upload(&self, data: &dyn Upload) -> Result<Arc<dyn Storage>, Error>;

    /// The first bytes of a storage.
    fn read<'a>(&'a self, storage: &'a dyn Storage, bytes: usize) -> Result<Download<'a>, Error>;

    /// [`read`](Engine::read) that blocks no thread.
    fn read_async<'a>(
        &'a self,
        storage: &'a dyn Storage,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Download<'a>, Error>>;
}

/// Something that is computed with the next run if it is still there.
pub(crate) enum Pending {
    /// What a Var begins with: computed by itself, so that the first step is planned,
    /// and its kernels are compiled, as all others.
    Initial(Weak<Node>),
    /// A Var that was given another tensor.
    Changed(Weak<dyn Variable>),
    /// A tensor that a backward pass started from: its value costs little more while the rest is computed anyway.
    Output(Weak<Node>),
}

/// Something whose node is another from time to time: a `Var`.
pub(crate) trait Variable: Send + Sync {
    /// The node that it refers to now.
    fn node(&self) -> Arc<Node>;
}

/// What stands in for the memory of an upload that failed. The failure comes out of the next read.
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

    /// The largest tensor that can be bound.
    pub(crate) fn binding_limit(&self) -> Option<u64> {
        self.limits().map(|limits| limits.binding_bytes.min(limits.buffer_bytes))
    }

    /// Computes the nodes, and what is pending besides. One lock spans planning and submitting; nothing waits.
    pub(crate) fn realize(&self, roots: &[Arc<Node>]) -> Result<(), Error> {
        self.0.engine.wait_until_ready()?; // before the lock, not inside it
        let _running = lock(&self.0.running);
        self.realize_locked(roots)
    }

    /// [`realize`](Device::realize) of a node that was just built; `None` while the device plans. It builds nodes then (what
    /// fused operations mean, for one), which wait as ever.
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

    /// Realises a chain that grew too deep while it was built. Building returns no error: a failure waits for a read.
    pub(super) fn realize_deep(&self, node: &Arc<Node>) {
        if let Some(Err(error)) = self.realize_built(node) {
            *lock(&self.0.failure) = Some(error);
        }
    }

    pub(super) fn is_eager(&self) -> bool {
        self.0.eager
    }

    /// Realises a node that was just built, and panics in its line with what went wrong. `operands` are its sources,
    /// which it may have forgotten afterwards.
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

    /// Computes what is pending.
    pub(crate) fn realize_pending(&self) {
        if let Err(error) = self.realize(&[]) {
            *lock(&self.0.failure) = Some(error);
        }
    }

    pub(crate) fn register(&self, pending: Pending) {
        lock(&self.0.pending).push(pending);
    }

    /// Building returns no error: a failure comes out of the next read, before any of the data is used.
    pub(crate) fn upload<T: Element>(&self, data: &[T]) -> Arc<dyn Storage> {
        self.0.engine.upload(&data).unwrap_or_else(|error| {
            *lock(&self.0.failure) = Some(error);
            Arc::new(FailedUpload)
        })
    }

    pub(crate) fn read<T: Element>(&self, value: &Value) -> Result<Vec<T>, Error> {
        let bytes = value.view.shape.numel() * T::DTYPE.bytes();
        Ok(self.0.engine.read(&*value.storage, bytes)?.to_vec())
    }

    pub(crate) async fn read_async<T: Element>(&self, value: &Value) -> Result<Vec<T>, Error> {
        let bytes = value.view.shape.numel() * T::DTYPE.bytes();
        Ok(self.0.engine.read_async(&*value.storage, bytes).await?.to_vec())
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
