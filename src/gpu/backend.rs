//! The GPU as a backend: converts plans to dispatches over GPU buffers.
//!
//! Implements the traits of `backend` by calling the GPU runtime, which is independent of plans and storages. Where a
//! trait method calls a method of the same name, the callee is the inherent method of `Gpu`.

use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;

use super::Gpu;
use super::compile::{Compiled, compile};
use super::pool::GpuBuffer;
use crate::backend::{
    Backend, CompiledPlan, Counters, Dispatched, Executor, Memory, Observer, PlanExecutor, PlanRun,
};
use crate::core::error::Error;
use crate::core::host::{Download, Upload};
use crate::core::limits::Limits;
use crate::graph::{Storage, Transfers};
use crate::ir::Plan;
use crate::schedule::PendingGraph;

impl Storage for GpuBuffer {
    fn bytes(&self) -> u64 {
        self.requested()
    }
}

/// Returns the buffer of a storage.
fn buffer(storage: &dyn Storage) -> Result<&GpuBuffer, Error> {
    storage.downcast().ok_or_else(|| Error::Driver("an upload failed".into()))
}

impl Transfers for Gpu {
    fn upload(&self, data: &dyn Upload) -> Result<Arc<dyn Storage>, Error> {
        Ok(Arc::new(self.upload(&data.to_bytes())?))
    }

    fn read<'a>(&'a self, storage: &'a dyn Storage, bytes: usize) -> Result<Download<'a>, Error> {
        self.read_blocking(buffer(storage)?, bytes as u64).map(Download::Bytes)
    }

    fn read_async<'a>(
        &'a self,
        storage: &'a dyn Storage,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Download<'a>, Error>> {
        Box::pin(async move { self.read(buffer(storage)?, bytes as u64).await.map(Download::Bytes) })
    }
}

impl Backend for Gpu {
    fn describe(&self) -> String {
        self.describe().to_owned()
    }

    fn executor(&self) -> Executor<'_> {
        Executor::Plans(self)
    }

    fn count(&self, counters: &mut Counters) {
        let stats = self.stats();
        counters.kernels = stats.dispatches as usize;
        counters.submissions = stats.submissions as usize;
        counters.buffers = stats.buffers_created as usize;
        counters.pipelines = stats.pipelines as usize;
        counters.bind_groups = stats.bind_groups_created as usize;
        counters.bytes_live = stats.buffer_bytes_live;
        counters.bytes_peak = stats.buffer_bytes_peak;
        counters.bytes_idle = stats.buffer_bytes_idle;
    }

    fn memory(&self) -> Memory {
        let stats = self.stats();
        Memory {
            predicted: 0,
            peak: stats.buffer_bytes_requested_peak,
            in_use: stats.buffer_bytes_requested,
            wasted: stats.buffer_bytes_live - stats.buffer_bytes_requested,
            idle: stats.buffer_bytes_idle,
        }
    }
}

impl PlanExecutor for Gpu {
    fn limits(&self) -> &Limits {
        self.limits()
    }

    fn wait_until_ready(&self) -> Result<(), Error> {
        self.wait_until_ready()
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<dyn Storage>, Error> {
        Ok(Arc::new(self.allocate(bytes as u64)?))
    }

    fn compile(&self, plan: &Plan, graph: &PendingGraph) -> Result<Box<CompiledPlan>, Error> {
        Ok(Box::new(compile(self, plan, graph)?))
    }

    /// Runs a plan. Without an observer, all fallible work precedes the first dispatch, so a failed run changes no
    /// value.
    fn run(&self, run: &PlanRun, observer: Option<&mut dyn Observer>) -> Result<(), Error> {
        let compiled: &Compiled = run.compiled.downcast_ref().expect("the plan was compiled by this backend");
        let buffers = run.storages.iter().map(|storage| buffer(&**storage));
        let buffers = buffers.collect::<Result<Vec<&GpuBuffer>, _>>()?;
        let uniforms = compiled.uniforms(self, run.graph);
        match observer {
            Some(observer) => self.run_stepwise(run.plan, compiled, &buffers, &uniforms, observer),
            None => self.run(&compiled.dispatches, &buffers, &uniforms),
        }
    }

    fn peek(&self, storages: &[&dyn Storage]) -> Result<Vec<Vec<u8>>, Error> {
        let buffers = storages.iter().map(|storage| buffer(*storage).map(|buffer| (buffer, buffer.bytes())));
        self.peek(&buffers.collect::<Result<Vec<_>, _>>()?)
    }
}

impl Gpu {
    /// Runs one dispatch at a time, waits for its completion, and calls the observer before and after it.
    fn run_stepwise(
        &self,
        plan: &Plan,
        compiled: &Compiled,
        buffers: &[&GpuBuffer],
        uniforms: &[u32],
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        for (steps, dispatch) in plan.dispatches().zip(&compiled.dispatches) {
            observer.before(steps)?;
            self.wait()?;
            let start = Instant::now();
            self.run(std::slice::from_ref(dispatch), buffers, uniforms)?;
            self.wait()?;
            let bytes = dispatch.buffers.iter().map(|&slot| buffers[slot as usize].requested()).sum();
            let workgroups = dispatch.workgroups;
            observer.after(steps, Dispatched { workgroups, bytes, time: start.elapsed() })?;
        }
        Ok(())
    }
}
