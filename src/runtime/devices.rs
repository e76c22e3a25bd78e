//! The constructors of devices. Each device has a backend and a runtime.

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

/// Options of a GPU device: [`Device::gpu_with`].
#[derive(Clone, Debug)]
pub struct GpuOptions {
    /// Request WebGPU's default limits and no optional features, like a browser or an old laptop.
    pub restricted: bool,
    /// Compile run-time checks into all shaders, including shaders whose indices are proven to be in bounds.
    pub checked: bool,
    /// Fuse operations into kernels. If off, each node is a kernel.
    pub fuse: bool,
    /// After each kernel, interpret the kernel on the CPU with the same operands, and fail with [`Error::Check`] if the
    /// results differ.
    pub check: bool,
    /// Realize each node as soon as it is built, so that failures and the first NaN are reported at the node's line.
    pub eager: bool,
    /// Choose kernels as for this kind of adapter, for testing kernels of real GPUs on a software adapter. The
    /// adapter's limits still apply.
    pub kind: Option<AdapterKind>,
}

impl Default for GpuOptions {
    /// Returns the adapter's own limits and kind, and no run-time checks in shaders of this crate. The environment
    /// variables `WGRAD_FUSE=0`, `WGRAD_CHECK=1`, `WGRAD_EAGER=1` and `WGRAD_KIND` (`discrete`, `integrated`,
    /// `software`) change the options of the same name.
    ///
    /// # Panics
    ///
    /// If `WGRAD_KIND` has another value.
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

/// Creates a device for a backend.
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
        other => panic!("WGRAD_KIND must be discrete, integrated or software, not {other}"),
    }
}

impl Device {
    /// Returns the GPU: a discrete GPU, else an integrated GPU, else a software adapter. `WGPU_BACKEND` (`vulkan`,
    /// `metal`, `dx12`) and `WGPU_ADAPTER_NAME` (a substring of a name) select another adapter. All calls share one
    /// device.
    ///
    /// # Errors
    ///
    /// Returns an error if no adapter is found ([`Error::NoAdapter`], [`Error::AdapterNotFound`]), or if the driver
    /// does not open it.
    pub fn gpu() -> Result<Device, Error> {
        static GPU: OnceLock<Result<Device, Error>> = OnceLock::new();
        GPU.get_or_init(|| Device::gpu_with(&GpuOptions::default())).clone()
    }

    /// Opens a separate GPU device with the given options.
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

    /// Returns the CPU reference: plain loops in f64, for testing kernels and gradients. It is slow.
    pub fn cpu() -> Device {
        static CPU: OnceLock<Device> = OnceLock::new();
        CPU.get_or_init(|| open(Arc::new(Cpu(Rounding::Exact)), &GpuOptions::default())).clone()
    }

    /// Returns the CPU reference with the result of every node rounded to f32, like on a GPU (except for the order of
    /// summation).
    pub fn cpu_rounded() -> Device {
        static CPU: OnceLock<Device> = OnceLock::new();
        CPU.get_or_init(|| open(Arc::new(Cpu(Rounding::ToDtype)), &GpuOptions::default())).clone()
    }

    /// Returns the GPU if there is one, else the CPU. [`Device::gpu`] returns the reason if there is none.
    pub fn auto() -> Device {
        Device::gpu().unwrap_or_else(|_| Device::cpu())
    }

    /// Creates a device that plans, allocates and counts, but computes nothing, for tests of the scheduler.
    pub fn null(limits: Limits) -> Device {
        let options = GpuOptions { fuse: true, eager: false, ..GpuOptions::default() };
        open(Arc::new(Null::new(limits)), &options)
    }

    /// Returns the counters of this device: kernels, buffers, plans.
    pub fn counters(&self) -> Counters {
        self.runtime().counters()
    }

    /// Returns the predicted memory of plans, and the memory of the buffer pool. All values are 0 for the CPU
    /// reference.
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

    /// Returns the GPU backend of this device, if it has one.
    pub(crate) fn gpu_backend(&self) -> Option<&Gpu> {
        let backend: &dyn Any = &*self.runtime().backend;
        backend.downcast_ref()
    }
}
