//! The GPU runtime: the only part of the crate that names wgpu.
//!
//! In: bytes, WGSL text, and dispatches of it over buffers (plain data that `schedule` makes). Out: bytes again, or the
//! error that a device came to. Must not know tensors, shapes, or what a kernel computes.
//!
//! ```text
//! adapter -> device                        health    the first failure, for good
//! pool      buffers by size class          timeline  submissions in order, waiting, hangs
//! pipeline  shaders compiled once          faults    indices out of range
//! run       dispatches -> submissions      bind_groups
//! upload    host -> GPU                    read, staging, poller   GPU -> host
//! ```
//!
//! Above it `backend`, `compile`, `codegen` and `matmul` turn plans into dispatches.

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
pub use pool::Buffer;
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

/// How to open a device.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Part of the wanted adapter's name, in any case. Without it WGPU_ADAPTER_NAME counts, and then the best adapter there is.
    pub adapter: Option<String>,
    /// WebGPU's default limits and no optional feature, whatever the adapter has.
    pub restricted: bool,
    /// Shaders check indices, loops and divisions at run time.
    pub checked: bool,
    /// Kernels are chosen as for an adapter of this kind. Its limits stay the adapter's own.
    pub kind: Option<AdapterKind>,
}

/// An open device. To be shared as an `Arc`, by any number of threads.
pub struct Gpu {
    limits: Limits,
    description: String,
    device: wgpu::Device,
    health: Arc<Health>,
    // Before the timeline, whose device it waits on.
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
    /// What the tests break kernels with: text, and what stands in its place.
    #[cfg(test)]
    pub broken: Mutex<Option<(&'static str, &'static str)>>,
}

/// What a device has done so far, and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub buffers_created: u64,
    pub buffer_bytes_live: u64,
    pub buffer_bytes_idle: u64,
    /// The most bytes that were live at a time.
    pub buffer_bytes_peak: u64,
    /// Of the live bytes those that were asked for, and the most of them at a time.
    pub buffer_bytes_asked: u64,
    pub buffer_bytes_asked_peak: u64,
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
        let patience = patience(limits.kind);
        let limits = Limits { kind: options.kind.unwrap_or(limits.kind), ..limits };
        let faults = Arc::new(Faults::new(&device, &queue));
        let gpu = Gpu {
            pool: Pool::new(device.clone(), &limits),
            pipelines: Pipelines::new(device.clone(), Arc::clone(&health), options.checked),
            staging: Arc::new(Staging::new(device.clone(), Arc::clone(&faults))),
            recorder: Mutex::new(Recorder::new(device.clone())?),
            timeline: Arc::new(Timeline::new(device.clone(), queue, Arc::clone(&health), patience)),
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

    /// What the variants of the matrix product cost here.
    pub fn matmul_costs(&self) -> MutexGuard<'_, matmul::Costs> {
        lock(&self.matmul_costs)
    }

    /// The adapter's name, backend, type and driver.
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// A buffer for this many bytes (none is fine), with undefined contents.
    pub fn allocate(&self, bytes: u64) -> Result<Buffer, Error> {
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

    /// Gives the memory of idle buffers back to the driver.
    pub fn release_idle_memory(&self) -> Result<(), Error> {
        self.pool.clear();
        let retired = self.pool.take_retired();
        lock(&self.recorder).bind_groups.forget(&retired);
        // What the GPU still uses is free only then.
        self.timeline.wait_for_all()
    }

    /// A pipeline for each shader; the missing ones are compiled in parallel.
    ///
    /// # Panics
    ///
    /// If a shader is not valid WGSL, or does not match its bindings.
    pub fn pipelines(&self, shaders: &[Shader]) -> Result<Vec<Arc<Pipeline>>, Error> {
        self.pipelines.get_or_create(shaders)
    }

    /// The number that a kernel sets the error word to, when an index of this operation is out of range.
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
            buffer_bytes_asked: pool.asked_bytes,
            buffer_bytes_asked_peak: pool.asked_peak,
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

/// How long one submission may take before it counts as a hang.
fn patience(kind: AdapterKind) -> Duration {
    Duration::from_secs(match kind {
        AdapterKind::Software => 600,
        _ => 60,
    })
}
