//! The GPU runtime: the only module of the crate that depends on wgpu.
//!
//! In: bytes, WGSL, and dispatches over buffers. Out: bytes, or the device's error. Independent of tensors, shapes and
//! the semantics of kernels.
//!
//! ```text
//! adapter -> device                        health    the first failure
//! pool      buffers by size class          timeline  submissions in order, waiting, hangs
//! pipeline  shaders compiled once          faults    indices out of range
//! run       dispatches -> submissions      bind_groups
//! upload    host -> GPU                    read, staging, poller   GPU -> host
//! ```
//!
//! Built on this runtime, `backend`, `compile`, `codegen` and `matmul` convert plans to dispatches.

mod adapter;
mod backend;
mod bind_groups;
pub(crate) mod codegen;
mod compile;
mod faults;
mod health;
pub(crate) mod matmul;
mod pipeline;
mod poller;
mod pool;
mod read;
mod run;
mod staging;
#[cfg(test)]
mod tests;
mod timeline;
mod upload;

use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub use pipeline::{Access, Pipeline, Shader};
pub use pool::GpuBuffer;
pub use run::Dispatch;

use crate::core::error::Error;
use crate::core::limits::{AdapterKind, Limits};
use crate::core::sync::lock;
use faults::Faults;
use health::Health;
use pipeline::Pipelines;
use poller::Poller;
use pool::Pool;
use run::Recorder;
use staging::Staging;
use timeline::Timeline;
use upload::Uploads;

/// Options for opening a device.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Substring of the adapter's name, matched case-insensitively. The default is WGPU_ADAPTER_NAME, or else the best
    /// adapter.
    pub adapter: Option<String>,
    /// Whether to request WebGPU's default limits and no optional features.
    pub restricted: bool,
    /// Whether all shaders check indices, loops and divisions at run time.
    pub checked: bool,
    /// The kind of adapter for the choice of kernels; the adapter's own kind by default. The adapter's limits still
    /// apply.
    pub kind: Option<AdapterKind>,
}

/// An open device, shared between threads as an `Arc`.
pub struct Gpu {
    limits: Limits,
    description: String,
    device: wgpu::Device,
    health: Arc<Health>,
    // The poller is dropped before the timeline, because the poller's thread waits on the timeline's device.
    poller: Poller,
    timeline: Arc<Timeline>,
    pool: Pool,
    pipelines: Pipelines,
    faults: Arc<Faults>,
    staging: Arc<Staging>,
    recorder: Mutex<Recorder>,
    uploads: Mutex<Uploads>,
    reads: AtomicU64,
    matmul_costs: Mutex<matmul::Costs>,
    /// For tests that break a kernel: a text in the kernel's WGSL, and its replacement.
    #[cfg(test)]
    pub broken: Mutex<Option<(&'static str, &'static str)>>,
}

/// Statistics of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub buffers_created: u64,
    pub buffer_bytes_live: u64,
    pub buffer_bytes_idle: u64,
    /// The peak of `buffer_bytes_live`.
    pub buffer_bytes_peak: u64,
    /// The requested sizes of the live buffers, before rounding up to size classes.
    pub buffer_bytes_requested: u64,
    pub buffer_bytes_requested_peak: u64,
    pub pipelines: u64,
    pub bind_groups_created: u64,
    pub dispatches: u64,
    pub submissions: u64,
    pub runs: u64,
    pub uploads: u64,
    pub reads: u64,
}

impl Gpu {
    pub fn new(options: Options) -> Result<Arc<Gpu>, Error> {
        let health = Arc::<Health>::default();
        let opened = adapter::open(&options, &health)?;
        let adapter::Opened { device, queue, limits, description } = opened;
        let hang_timeout = hang_timeout(limits.kind);
        let limits = Limits { kind: options.kind.unwrap_or(limits.kind), ..limits };
        let faults = Arc::new(Faults::new(&device, &queue));
        let gpu = Gpu {
            pool: Pool::new(device.clone(), &limits),
            pipelines: Pipelines::new(device.clone(), Arc::clone(&health), options.checked),
            staging: Arc::new(Staging::new(device.clone(), Arc::clone(&faults))),
            recorder: Mutex::new(Recorder::new(device.clone())?),
            timeline: Arc::new(Timeline::new(device.clone(), queue, Arc::clone(&health), hang_timeout)),
            poller: Poller::default(),
            uploads: Mutex::default(),
            reads: AtomicU64::new(0),
            matmul_costs: Mutex::new(matmul::Costs::of(&limits)),
            #[cfg(test)]
            broken: Mutex::default(),
            faults,
            health,
            device,
            limits,
            description,
        };
        gpu.health.check()?;
        Ok(Arc::new(gpu))
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Locks the costs of the matrix product's variants.
    pub fn matmul_costs(&self) -> MutexGuard<'_, matmul::Costs> {
        lock(&self.matmul_costs)
    }

    /// Returns the adapter's name, backend, type and driver.
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// Allocates a buffer of at least this many bytes (0 is allowed), with undefined contents.
    pub fn allocate(&self, bytes: u64) -> Result<GpuBuffer, Error> {
        self.health.check()?;
        if let Some(buffer) = self.pool.reuse(bytes)? {
            return Ok(buffer);
        }
        match self.pool.create(bytes) {
            Err(Error::OutOfMemory { .. }) => {
                self.release_idle_memory()?;
                self.pool.create(bytes)
            }
            created => created,
        }
    }

    /// Releases idle buffers to the driver.
    pub fn release_idle_memory(&self) -> Result<(), Error> {
        self.pool.clear();
        let retired = self.pool.take_retired();
        lock(&self.recorder).bind_groups.remove(&retired);
        // The driver frees a buffer only after the GPU has finished using it.
        self.timeline.wait_for_all()
    }

    /// Returns a pipeline for each shader. Missing pipelines are compiled in parallel.
    ///
    /// # Panics
    ///
    /// If a shader is not valid WGSL, or does not match its bindings.
    pub fn pipelines(&self, shaders: &[Shader]) -> Result<Vec<Arc<Pipeline>>, Error> {
        self.pipelines.get_or_create(shaders)
    }

    /// Returns the number that a kernel writes to its fault flag if an index of this operation is out of range.
    pub fn site(&self, op: &'static str, at: &'static Location<'static>) -> u32 {
        self.faults.site(op, at)
    }

    pub fn stats(&self) -> Stats {
        let pool = self.pool.usage();
        let uploads = lock(&self.uploads).count;
        let recorder = lock(&self.recorder);
        Stats {
            buffers_created: pool.created,
            buffer_bytes_live: pool.live_bytes,
            buffer_bytes_idle: pool.idle_bytes,
            buffer_bytes_peak: pool.peak_bytes,
            buffer_bytes_requested: pool.requested_bytes,
            buffer_bytes_requested_peak: pool.requested_peak,
            pipelines: self.pipelines.count(),
            bind_groups_created: recorder.bind_groups.created(),
            dispatches: recorder.dispatches,
            submissions: self.timeline.submissions(),
            runs: recorder.runs,
            uploads,
            reads: self.reads.load(Ordering::Relaxed),
        }
    }
}

/// Returns the maximum duration of a submission, after which it counts as a hang.
fn hang_timeout(kind: AdapterKind) -> Duration {
    Duration::from_secs(match kind {
        AdapterKind::Software => 600,
        _ => 60,
    })
}
