//! `Device`: where tensors live and who computes them. The GPU through wgpu, the CPU reference, or a device that
//! computes nothing and counts.
//!
//! In: nodes to realise, data to upload, values to read. Out: values on nodes, data on the host. What a backend is
//! like inside, only the backend knows.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use crate::core::array::Array;
use crate::core::dtype::Element;
use crate::core::error::Error;
use crate::core::extremes::Extremes;
use crate::core::limits::{AdapterKind, Limits};
use crate::core::sync::lock;
use crate::cpu::Rounding;
use crate::gpu::{self, Gpu};
use crate::graph::{Edges, Node, Value};
use crate::runtime::{Counters, Memory, Null, NullBuffer, Runtime};
use crate::schedule::Fusion;
use crate::tensor::var::Cell;

/// Where tensors live and are computed. Cloning is cheap; tensors of one computation share one device.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    backend: Backend,
    /// Each node is realised as soon as it is built.
    eager: bool,
    runtime: Mutex<Runtime>,
    /// What is to be computed with the next run, whatever that run is for.
    pending: Mutex<Vec<Pending>>,
    /// A failure that had no read to come out of yet.
    failure: Mutex<Option<Error>>,
}

/// Something that is computed with the next run if it is still there.
pub(crate) enum Pending {
    /// What a Var begins with: computed by itself, so that the first step is planned,
    /// and its kernels are compiled, as all others.
    Initial(Weak<Node>),
    /// A Var that was given another tensor.
    Var(Weak<Cell>),
    /// A tensor that a backward pass started from: its value costs little more while the rest is computed anyway.
    Output(Weak<Node>),
}

pub(crate) enum Backend {
    Gpu(Arc<Gpu>),
    Cpu(Rounding),
    Null(Null),
}

/// The memory behind one or more values.
pub(crate) struct Storage {
    pub data: Data,
    /// What the host knows of integers that it uploaded.
    extremes: Option<Extremes>,
}

pub(crate) enum Data {
    Gpu(gpu::Buffer),
    Cpu(Array),
    Null(NullBuffer),
}

/// How a GPU device is opened: [`Device::gpu_with`].
#[derive(Clone, Debug)]
pub struct GpuOptions {
    /// Ask for no more than WebGPU's default limits and no optional feature, as a browser or the oldest laptop has.
    pub restricted: bool,
    /// Keep every run-time check in the shaders, also where indices are proven to be in range.
    pub checked: bool,
    /// Put elementwise operations and reductions together in one kernel. Off: one kernel a node.
    pub fuse: bool,
    /// After each kernel compute on the CPU what it was asked for, from its own operands, and stop with
    /// [`Error::Check`] where the GPU's result is another.
    pub check: bool,
    /// Realise each node as soon as it is built: what goes wrong, and the first NaN, then comes at its line.
    pub eager: bool,
    /// Choose kernels as for an adapter of this kind, whatever it is: so that those for real GPUs can be tested on a
    /// software adapter. The limits stay the adapter's own.
    pub kind: Option<AdapterKind>,
}

impl Default for GpuOptions {
    /// The adapter's own limits, trusted shaders; fused unless the variable `WGRAD_FUSE` is `0`, checked and eager if
    /// `WGRAD_CHECK` and `WGRAD_EAGER` are `1`.
    fn default() -> GpuOptions {
        let is = |name: &str, value: &str| std::env::var(name).as_deref() == Ok(value);
        GpuOptions {
            restricted: false,
            checked: false,
            kind: None,
            fuse: !is("WGRAD_FUSE", "0"),
            check: is("WGRAD_CHECK", "1"),
            eager: is("WGRAD_EAGER", "1"),
        }
    }
}

impl Device {
    /// The GPU: a discrete one, else an integrated one, else a software adapter. `WGPU_BACKEND` (`vulkan`, `metal`,
    /// `dx12`) and `WGPU_ADAPTER_NAME` (part of a name) choose another. All calls share one device.
    pub fn gpu() -> Result<Device, Error> {
        static GPU: OnceLock<Result<Device, Error>> = OnceLock::new();
        GPU.get_or_init(|| Device::gpu_with(&GpuOptions::default())).clone()
    }

    /// A GPU device of its own, opened with other options.
    pub fn gpu_with(options: &GpuOptions) -> Result<Device, Error> {
        let gpu = Gpu::new(gpu::Options {
            adapter: None,
            restricted: options.restricted,
            checked: options.checked,
            kind: options.kind,
        })?;
        Ok(Device::new(Backend::Gpu(gpu), options))
    }

    /// The CPU reference: plain loops in f64, the oracle of every kernel and gradient. Exact, not fast.
    pub fn cpu() -> Device {
        static CPU: OnceLock<Device> = OnceLock::new();
        CPU.get_or_init(|| Device::new(Backend::Cpu(Rounding::Exact), &GpuOptions::default())).clone()
    }

    /// The CPU reference with every node's result rounded to f32: what a GPU computes, but for the order of sums.
    pub fn cpu_rounded() -> Device {
        static CPU: OnceLock<Device> = OnceLock::new();
        CPU.get_or_init(|| Device::new(Backend::Cpu(Rounding::ToDtype), &GpuOptions::default())).clone()
    }

    /// The GPU where there is one, else the CPU. [`Device::gpu`] tells why there is none.
    pub fn auto() -> Device {
        Device::gpu().unwrap_or_else(|_| Device::cpu())
    }

    /// A device that computes nothing: it plans, allocates and counts, so that kernels and bytes can be tested.
    pub fn null(limits: Limits) -> Device {
        let options = GpuOptions { fuse: true, eager: false, ..GpuOptions::default() };
        Device::new(Backend::Null(Null::new(limits)), &options)
    }

    fn new(backend: Backend, options: &GpuOptions) -> Device {
        Device(Arc::new(Inner {
            backend,
            eager: options.eager,
            runtime: Mutex::new(Runtime::new(
                if options.fuse { Fusion::On } else { Fusion::Off },
                options.check,
            )),
            pending: Mutex::default(),
            failure: Mutex::default(),
        }))
    }

    /// Whether this is the CPU reference.
    pub fn is_cpu(&self) -> bool {
        matches!(self.0.backend, Backend::Cpu(_))
    }

    /// What this device has done so far: kernels, buffers, plans.
    pub fn counters(&self) -> Counters {
        let planned = lock(&self.0.runtime).counters;
        match &self.0.backend {
            Backend::Gpu(gpu) => Counters::of_gpu(planned, &gpu.stats()),
            Backend::Cpu(_) => planned,
            Backend::Null(null) => null.counters(planned),
        }
    }

    /// What plans said they would take, and what the pool of buffers holds. The CPU reference counts nothing.
    ///
    /// ```
    /// use wgrad::{Device, Tensor};
    /// # fn main() -> Result<(), wgrad::Error> {
    /// let dev = Device::auto();
    /// let x = Tensor::zeros([1000, 1000], &dev) + 1.0;
    /// x.realize()?;
    /// println!("{}", dev.memory()); // predicted 4.0 MB, peak 4.0 MB; pooled 4.2 MB: 4.0 in use, 0.2 wasted, 0.0 idle
    /// # Ok(())
    /// # }
    /// ```
    pub fn memory(&self) -> Memory {
        let predicted = lock(&self.0.runtime).predicted;
        match &self.0.backend {
            Backend::Gpu(gpu) => Memory::of_gpu(predicted, &gpu.stats()),
            Backend::Cpu(_) => Memory::default(),
            Backend::Null(null) => null.memory(predicted),
        }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.0.backend
    }

    pub(crate) fn limits(&self) -> Option<&Limits> {
        match &self.0.backend {
            Backend::Gpu(gpu) => Some(gpu.limits()),
            Backend::Null(null) => Some(&null.limits),
            Backend::Cpu(_) => None,
        }
    }

    /// The largest tensor that can be bound.
    pub(crate) fn binding_limit(&self) -> Option<u64> {
        self.limits().map(|limits| limits.binding_bytes.min(limits.buffer_bytes))
    }

    /// Computes the nodes, and what is pending besides. One lock spans planning and submitting; nothing waits.
    pub(crate) fn realize(&self, roots: &[Arc<Node>]) -> Result<(), Error> {
        if let Backend::Gpu(gpu) = &self.0.backend {
            gpu.wait_for_turn()?; // before the lock, not inside it
        }
        self.realize_locked(&mut lock(&self.0.runtime), roots)
    }

    fn realize_locked(&self, runtime: &mut Runtime, roots: &[Arc<Node>]) -> Result<(), Error> {
        if let Some(failure) = lock(&self.0.failure).take() {
            return Err(failure);
        }
        let pending = std::mem::take(&mut *lock(&self.0.pending));
        let node = |pending: &Pending| match pending {
            Pending::Initial(node) => node.upgrade(),
            Pending::Var(cell) => cell.upgrade().map(|cell| cell.tensor().node.clone()),
            Pending::Output(node) => node.upgrade().filter(|node| node.held() > 0),
        };
        let (initial, others): (Vec<&Pending>, Vec<&Pending>) =
            pending.iter().partition(|pending| matches!(pending, Pending::Initial(_)));
        if !initial.is_empty() {
            runtime.realize(self, initial.into_iter().filter_map(node).collect())?;
        }
        runtime.realize(self, roots.iter().cloned().chain(others.into_iter().filter_map(node)).collect())
    }

    /// Realises a chain that grew too deep while it was built. Building returns no error: a failure waits for a read.
    /// While the device plans (it builds what fused operations mean, for one) the chain may grow on.
    pub(crate) fn realize_deep(&self, node: &Arc<Node>) {
        let runtime = self.0.runtime.try_lock();
        if let Ok(mut runtime) = runtime
            && let Err(error) = self.realize_locked(&mut runtime, std::slice::from_ref(node))
        {
            *lock(&self.0.failure) = Some(error);
        }
    }

    pub(crate) fn is_eager(&self) -> bool {
        self.0.eager
    }

    /// Realises a node that was just built, and panics in its line with what went wrong. `operands` are its sources,
    /// which it may have forgotten afterwards. While the device plans, nodes wait as ever.
    #[track_caller]
    pub(crate) fn realize_eagerly(&self, node: &Arc<Node>, operands: &Edges) {
        let Ok(mut runtime) = self.0.runtime.try_lock() else { return };
        let realized = self.realize_locked(&mut runtime, std::slice::from_ref(node));
        drop(runtime);
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

    /// Plans made before are made anew: what they rest on has changed.
    pub(crate) fn forget_plans(&self) {
        lock(&self.0.runtime).forget_plans();
    }

    pub(crate) fn register(&self, pending: Pending) {
        lock(&self.0.pending).push(pending);
    }

    pub(crate) fn upload<T: Element>(&self, data: &[T]) -> Storage {
        let extremes = match T::to_array(if T::DTYPE.is_float() { &[] } else { data }) {
            Array::Int(ints) => Extremes::of(ints.iter().map(|&x| x.into())),
            Array::Uint(ints) => Extremes::of(ints.iter().map(|&x| x.into())),
            Array::Float(_) | Array::Bool(_) => None,
        };
        let data = match &self.0.backend {
            Backend::Cpu(rounding) => Data::Cpu(rounding.round(T::to_array(data))),
            Backend::Null(null) => Data::Null(null.allocate(data.len() * T::DTYPE.bytes())),
            Backend::Gpu(gpu) => match gpu.upload(&T::to_bytes(data)) {
                Ok(buffer) => Data::Gpu(buffer),
                Err(error) => {
                    // Building returns no error. The failure comes out of the next read, before any of this is used.
                    *lock(&self.0.failure) = Some(error);
                    Data::Null(NullBuffer::default())
                }
            },
        };
        Storage { data, extremes }
    }

    pub(crate) fn read<T: Element>(&self, value: &Value) -> Result<Vec<T>, Error> {
        let bytes = value.view.shape.numel() * T::DTYPE.bytes();
        match (&value.storage.data, &self.0.backend) {
            (Data::Cpu(array), _) => Ok(T::from_array(array)),
            (Data::Gpu(buffer), Backend::Gpu(gpu)) => {
                Ok(T::from_bytes(&gpu.read_blocking(buffer, bytes as u64)?))
            }
            _ => Ok(T::from_bytes(&vec![0; bytes])),
        }
    }

    pub(crate) async fn read_async<T: Element>(&self, value: &Value) -> Result<Vec<T>, Error> {
        let bytes = value.view.shape.numel() * T::DTYPE.bytes();
        match (&value.storage.data, &self.0.backend) {
            (Data::Gpu(buffer), Backend::Gpu(gpu)) => {
                Ok(T::from_bytes(&gpu.read(buffer, bytes as u64).await?))
            }
            _ => self.read(value),
        }
    }
}

impl Storage {
    pub fn new(data: Data) -> Storage {
        Storage { data, extremes: None }
    }

    pub fn extremes(&self) -> Option<Extremes> {
        self.extremes
    }

    pub fn gpu(&self) -> Option<&gpu::Buffer> {
        match &self.data {
            Data::Gpu(buffer) => Some(buffer),
            _ => None,
        }
    }

    /// Bytes that were asked for; what the host holds is not counted.
    pub fn bytes(&self) -> u64 {
        match &self.data {
            Data::Gpu(buffer) => buffer.asked(),
            Data::Null(buffer) => buffer.bytes() as u64,
            Data::Cpu(_) => 0,
        }
    }

    pub fn array(&self) -> Option<&Array> {
        match &self.data {
            Data::Cpu(array) => Some(array),
            _ => None,
        }
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.0.backend {
            Backend::Gpu(gpu) => f.write_str(gpu.describe()),
            Backend::Cpu(Rounding::Exact) => f.write_str("the CPU reference (f64)"),
            Backend::Cpu(Rounding::ToDtype) => f.write_str("the CPU reference (rounded to f32)"),
            Backend::Null(_) => f.write_str("the null device"),
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Device({self})")
    }
}
