//! The interface of backends.
//!
//! In: data to upload; plans to compile and run, or a pending graph to compute node by node. Out: storages with values,
//! and data. Backends are independent of each other; only `runtime` depends on all of them.

mod counters;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

pub use counters::{Counters, Memory};

use crate::core::error::Error;
use crate::core::limits::Limits;
use crate::graph::{Storage, Transfers};
use crate::ir::{Plan, Step};
use crate::schedule::PendingGraph;

/// A backend: the GPU, the CPU reference, or the null device.
pub(crate) trait Backend: Transfers + Any {
    /// Returns the name of the device.
    fn describe(&self) -> String;

    fn executor(&self) -> Executor<'_>;

    /// Sets the counters that the backend maintains.
    fn count(&self, _counters: &mut Counters) {}

    /// Returns the memory statistics of the backend's buffer pool.
    fn memory(&self) -> Memory {
        Memory::default()
    }
}

/// The execution interface of a backend.
pub(crate) enum Executor<'a> {
    /// Runs the scheduler's plans.
    Plans(&'a dyn PlanExecutor),
    /// Computes a pending graph node by node.
    Nodes(&'a dyn NodeExecutor),
}

pub(crate) trait NodeExecutor {
    /// Sets the values of the pending nodes that outlive the run.
    fn run(&self, graph: &PendingGraph) -> Result<(), Error>;
}

/// A plan in the form compiled by its backend.
pub(crate) type CompiledPlan = dyn Any + Send + Sync;

pub(crate) trait PlanExecutor {
    /// Returns the limits that plans must respect.
    fn limits(&self) -> &Limits;

    /// Blocks until a run can start without waiting for an earlier run.
    fn wait_until_ready(&self) -> Result<(), Error> {
        Ok(())
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<dyn Storage>, Error>;

    fn compile(&self, plan: &Plan, graph: &PendingGraph) -> Result<Box<CompiledPlan>, Error>;

    /// Runs a plan once, with a storage for each slot. With an observer, it waits for each dispatch and calls the
    /// observer before and after it.
    fn run(&self, run: &PlanRun, observer: Option<&mut dyn Observer>) -> Result<(), Error>;

    /// Reads the contents of storages, for observers. Does not report index faults.
    fn peek(&self, storages: &[&dyn Storage]) -> Result<Vec<Vec<u8>>, Error>;
}

/// One run of a plan.
pub(crate) struct PlanRun<'a> {
    pub plan: &'a Plan,
    pub compiled: &'a CompiledPlan,
    /// The graph that this run computes. It holds the values of the user's scalars, which are not part of a plan.
    pub graph: &'a PendingGraph,
    /// The storage of each slot.
    pub storages: &'a [Arc<dyn Storage>],
}

/// Receives a callback before and after each dispatch of a run.
pub(crate) trait Observer {
    fn before(&mut self, steps: &[Step]) -> Result<(), Error>;

    fn after(&mut self, steps: &[Step], dispatched: Dispatched) -> Result<(), Error>;
}

/// Measurements of a dispatch.
pub(crate) struct Dispatched {
    pub workgroups: [u32; 3],
    /// Total size of all bound buffers in bytes.
    pub bytes: u64,
    pub time: Duration,
}
