//! What every backend does: it keeps memory, and computes.
//!
//! In: data to keep; plans to compile and run, or a pending graph to compute node by node. Out: memory with values in it,
//! and data again. A backend knows neither the others nor who plans for it; `runtime` knows all of them.

mod counters;

use std::any::Any;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

pub use counters::{Counters, Memory};

use crate::core::error::Error;
use crate::core::host::{Download, Upload};
use crate::core::limits::Limits;
use crate::graph::Storage;
use crate::ir::{Plan, Step};
use crate::schedule::PendingGraph;

/// A way to compute: the GPU, the CPU reference, or the null device.
pub(crate) trait Backend: Any + Send + Sync {
    /// What the device is called.
    fn describe(&self) -> String;

    fn upload(&self, data: &dyn Upload) -> Result<Arc<dyn Storage>, Error>;

    /// The first bytes of a storage.
    fn read<'a>(&'a self, storage: &'a dyn Storage, bytes: usize) -> Result<Download<'a>, Error>;

    /// [`read`](Backend::read) that blocks no thread.
    fn read_async<'a>(
        &'a self,
        storage: &'a dyn Storage,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Download<'a>, Error>> {
        Box::pin(ready(self.read(storage, bytes)))
    }

    fn executor(&self) -> Executor<'_>;

    /// Writes what it has done into the counters that are the backend's.
    fn count(&self, _counters: &mut Counters) {}

    /// What its pool of buffers holds.
    fn memory(&self) -> Memory {
        Memory::default()
    }
}

/// How a backend computes.
pub(crate) enum Executor<'a> {
    /// It runs the plans that the scheduler makes.
    Plans(&'a dyn PlanExecutor),
    /// It computes a pending graph by itself, node by node.
    Nodes(&'a dyn NodeExecutor),
}

pub(crate) trait NodeExecutor {
    /// Gives the pending nodes that live on their values.
    fn run(&self, graph: &PendingGraph) -> Result<(), Error>;
}

/// A plan as its backend compiled it.
pub(crate) type CompiledPlan = dyn Any + Send + Sync;

pub(crate) trait PlanExecutor {
    /// What plans must keep to.
    fn limits(&self) -> &Limits;

    /// Blocks until a run would not have to wait for an earlier one.
    fn wait_until_ready(&self) -> Result<(), Error> {
        Ok(())
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<dyn Storage>, Error>;

    fn compile(&self, plan: &Plan, graph: &PendingGraph) -> Result<Box<CompiledPlan>, Error>;

    /// Runs a plan once, with a storage for each of its slots. An observer is called around each dispatch, and each is
    /// waited for then.
    fn run(&self, run: &PlanRun, observer: Option<&mut dyn Observer>) -> Result<(), Error>;

    /// What storages hold, whatever went wrong on the way: for observers.
    fn peek(&self, storages: &[&dyn Storage]) -> Result<Vec<Vec<u8>>, Error>;
}

/// One run of a plan.
pub(crate) struct PlanRun<'a> {
    pub plan: &'a Plan,
    pub compiled: &'a CompiledPlan,
    /// The graph that is computed: it has the user's numbers.
    pub graph: &'a PendingGraph,
    /// One for each slot.
    pub storages: &'a [Arc<dyn Storage>],
}

/// Follows a run dispatch by dispatch.
pub(crate) trait Observer {
    fn before(&mut self, steps: &[Step]) -> Result<(), Error>;

    fn after(&mut self, steps: &[Step], dispatched: Dispatched) -> Result<(), Error>;
}

/// What a dispatch took.
pub(crate) struct Dispatched {
    pub workgroups: [u32; 3],
    /// Bytes of all that is bound.
    pub bytes: u64,
    pub time: Duration,
}
