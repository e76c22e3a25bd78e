//! The null device, which counts the kernels and bytes of plans, and computes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::{Backend, CompiledPlan, Counters, Executor, Memory, Observer, PlanExecutor, PlanRun};
use crate::core::error::Error;
use crate::core::host::{Download, Upload};
use crate::core::limits::Limits;
use crate::graph::{Storage, Transfers};
use crate::ir::Plan;
use crate::schedule::PendingGraph;

pub(crate) struct Null {
    limits: Limits,
    bytes: Arc<Bytes>,
    kernels: AtomicUsize,
}

#[derive(Default)]
struct Bytes {
    live: AtomicUsize,
    peak: AtomicUsize,
}

/// A buffer without memory, which has only a size.
struct NullBuffer {
    bytes: usize,
    all: Arc<Bytes>,
}

impl Null {
    pub fn new(limits: Limits) -> Null {
        Null { limits, bytes: Arc::default(), kernels: AtomicUsize::new(0) }
    }
}

impl Transfers for Null {
    fn upload(&self, data: &dyn Upload) -> Result<Arc<dyn Storage>, Error> {
        self.allocate(data.bytes())
    }

    fn read<'a>(&'a self, _storage: &'a dyn Storage, bytes: usize) -> Result<Download<'a>, Error> {
        Ok(Download::Bytes(vec![0; bytes]))
    }
}

impl Backend for Null {
    fn describe(&self) -> String {
        "the null device".to_owned()
    }

    fn executor(&self) -> Executor<'_> {
        Executor::Plans(self)
    }

    fn count(&self, counters: &mut Counters) {
        counters.kernels = self.kernels.load(Ordering::Relaxed);
        counters.bytes_live = self.bytes.live.load(Ordering::Relaxed) as u64;
        counters.bytes_peak = self.bytes.peak.load(Ordering::Relaxed) as u64;
    }

    /// Returns the memory statistics. There is no pool, so no memory is wasted or idle.
    fn memory(&self) -> Memory {
        let [in_use, peak] =
            [&self.bytes.live, &self.bytes.peak].map(|bytes| bytes.load(Ordering::Relaxed) as u64);
        Memory { peak, in_use, ..Memory::default() }
    }
}

impl PlanExecutor for Null {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<dyn Storage>, Error> {
        let live = self.bytes.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes.peak.fetch_max(live, Ordering::Relaxed);
        Ok(Arc::new(NullBuffer { bytes, all: self.bytes.clone() }))
    }

    fn compile(&self, _plan: &Plan, _graph: &PendingGraph) -> Result<Box<CompiledPlan>, Error> {
        Ok(Box::new(()))
    }

    /// Counts the dispatches without executing them. The observer is not called.
    fn run(&self, run: &PlanRun, _observer: Option<&mut dyn Observer>) -> Result<(), Error> {
        self.kernels.fetch_add(run.plan.dispatches().count(), Ordering::Relaxed);
        Ok(())
    }

    fn peek(&self, storages: &[&dyn Storage]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(storages.iter().map(|storage| vec![0; storage.bytes() as usize]).collect())
    }
}

impl Storage for NullBuffer {
    fn bytes(&self) -> u64 {
        self.bytes as u64
    }
}

impl Drop for NullBuffer {
    fn drop(&mut self) {
        self.all.live.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
