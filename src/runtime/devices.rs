//! The devices that there are: each is a backend with a runtime of its own.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use super::Runtime;
use crate::backend::{Backend, Counters, Memory};
use crate::core::error::Error;
use crate::core::limits::{AdapterKind, Limits};
use crate::cpu::{Cpu, Rounding};
use crate::gpu::{self, Gpu};
use crate::graph::Device;
use crate::null::Null;
use crate::schedule::Fusion;

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
    /// `WGRAD_CHECK` and `WGRAD_EAGER` are `1`. The variable `WGRAD_KIND` (`discrete`, `integrated`, `software`) is the
    /// kind.
    ///
    /// # Panics
    ///
    /// If `WGRAD_KIND` names another kind.
    fn default() -> GpuOptions {
        let is = |name: &str, value: &str| std::env::var(name).as_deref() == Ok(value);
        GpuOptions {
            restricted: false,
            checked: false,
            kind: kind_from_environment(),
            fuse: !is("WGRAD_FUSE", "0"),
            check: is("WGRAD_CHECK", "1"),
            eager: is("WGRAD_EAGER", "1"),
        }
    }
}

/// A device of its own for a backend.
fn open(backend: Arc<dyn Backend>, options: &GpuOptions) -> Device {
    let fusion = if options.fuse { Fusion::On } else { Fusion::Off };
    let name = backend.describe();
    let runtime = Runtime::new(backend, fusion, options.check);
    let limits = runtime.plan_executor().map(|executor| executor.limits().clone());
    Device::new(name, limits, options.eager, runtime)
}

fn kind_from_environment() -> Option<AdapterKind> {
    match std::env::var("WGRAD_KIND").ok()?.as_str() {
        "discrete" => Some(AdapterKind::Discrete),
        "integrated" => Some(AdapterKind::Integrated),
        "software" => Some(AdapterKind::Software),
        other => panic!("WGRAD_KIND takes discrete, integrated or software, not {other}"),
    }
}

impl Device {
    /// The GPU: a discrete one, else an integrated one, else a software adapter. `WGPU_BACKEND` (`vulkan`, `metal`,
    /// `dx12`) and `WGPU_ADAPTER_NAME` (part of a name) choose another. All calls share one device.
    ///
    /// # Errors
    ///
    /// Returns an error if no adapter is found ([`Error::NoAdapter`], [`Error::AdapterNotFound`]), or if the driver
    /// does not open it.
    pub fn gpu() -> Result<Device, Error> {
        static GPU: OnceLock<Result<Device, Error>> = OnceLock::new();
        GPU.get_or_init(|| Device::gpu_with(&GpuOptions::default())).clone()
    }

    /// A GPU device of its own, opened with other options.
    ///
    /// # Errors
    ///
    /// Returns an error if no adapter is found ([`Error::NoAdapter`], [`Error::AdapterNotFound`]), or if the driver
    /// does not open it.
    pub fn gpu_with(options: &GpuOptions) -> Result<Device, Error> {
        let gpu = Gpu::new(gpu::Options {
            adapter: None,
            restricted: options.restricted,
            checked: options.checked,
            kind: options.kind,
        })?;
        Ok(open(gpu, options))
    }

    /// The CPU reference: plain loops in f64, the oracle of every kernel and gradient. Exact, not fast.
    pub fn cpu() -> Device {
        static CPU: OnceLock<Device> = OnceLock::new();
        CPU.get_or_init(|| open(Arc::new(Cpu(Rounding::Exact)), &GpuOptions::default())).clone()
    }

    /// The CPU reference with every node's result rounded to f32: what a GPU computes, but for the order of sums.
    pub fn cpu_rounded() -> Device {
        static CPU: OnceLock<Device> = OnceLock::new();
        CPU.get_or_init(|| open(Arc::new(Cpu(Rounding::ToDtype)), &GpuOptions::default())).clone()
    }

    /// The GPU where there is one, else the CPU. [`Device::gpu`] tells why there is none.
    pub fn auto() -> Device {
        Device::gpu().unwrap_or_else(|_| Device::cpu())
    }

    /// A device that computes nothing: it plans, allocates and counts, so that kernels and bytes can be tested.
    pub fn null(limits: Limits) -> Device {
        let options = GpuOptions { fuse: true, eager: false, ..GpuOptions::default() };
        open(Arc::new(Null::new(limits)), &options)
    }

    /// What this device has done so far: kernels, buffers, plans.
    pub fn counters(&self) -> Counters {
        self.runtime().counters()
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
        self.runtime().memory()
    }

    pub(super) fn runtime(&self) -> &Runtime {
        let engine: &dyn Any = self.engine();
        engine.downcast_ref().expect("every device has a runtime")
    }

    /// The GPU behind this device, if it is one.
    pub(crate) fn gpu_backend(&self) -> Option<&Gpu> {
        let backend: &dyn Any = &*self.runtime().backend;
        backend.downcast_ref()
    }
}
