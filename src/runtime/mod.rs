//! Connects the scheduler with the backends: collects pending nodes, looks up or creates their plan, runs it on the
//! backend, and sets the values of nodes. This is the only module that depends on every backend.
//!
//! In: root nodes. Out: values on nodes.

mod check;
mod devices;
mod log;
mod plans;
mod run;
mod tune;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

pub use devices::GpuOptions;

use self::check::Tally;
use self::plans::{Planned, Plans};
use crate::backend::{Backend, Counters, Executor, Memory, PlanExecutor};
use crate::core::clock::thread_time;
use crate::core::error::Error;
use crate::core::limits::Limits;
use crate::core::sync::lock;
use crate::graph::{Engine, Node, Storage, Transfers, Value, View};
use crate::ir::Plan;
use crate::schedule::{self, Fusion, PendingGraph, has_kernel, logs};

/// A device's engine: a backend, and a cache of plans.
pub(crate) struct Runtime {
    backend: Arc<dyn Backend>,
    fusion: Fusion,
    /// Counts of compared elements, if `WGRAD_CHECK` compares each kernel with the interpreter.
    check: Option<Tally>,
    state: Mutex<RuntimeState>,
}

/// The plans and counters of a device.
#[derive(Default)]
struct RuntimeState {
    plans: Plans,
    counters: Counters,
    /// Maximum predicted memory of a run in bytes, including the constants of all plans.
    predicted: u64,
}

impl Engine for Runtime {
    /// Computes the roots, and the nodes they depend on that the user has a handle to, except deferred nodes
    /// (`schedule::defer`).
    fn realize(&self, roots: Vec<Arc<Node>>) -> Result<(), Error> {
        let state = &mut lock(&self.state);
        let start = thread_time();
        let realized = self.run(state, roots);
        state.counters.host += thread_time() - start;
        realized
    }

    fn wait_until_ready(&self) -> Result<(), Error> {
        self.plan_executor().map_or(Ok(()), |executor| executor.wait_until_ready())
    }

    fn transfers(&self) -> &dyn Transfers {
        &*self.backend
    }
}

impl Runtime {
    fn new(backend: Arc<dyn Backend>, fusion: Fusion, check: bool) -> Runtime {
        Runtime { backend, fusion, check: check.then(Tally::default), state: Mutex::default() }
    }

    fn plan_executor(&self) -> Option<&dyn PlanExecutor> {
        match self.backend.executor() {
            Executor::Plans(executor) => Some(executor),
            Executor::Nodes(_) => None,
        }
    }

    fn forget_plans(&self) {
        lock(&self.state).plans = Plans::default();
    }

    fn counters(&self) -> Counters {
        let mut counters = lock(&self.state).counters;
        self.backend.count(&mut counters);
        if let Some(tally) = &self.check {
            counters.checked = tally.compared.load(Ordering::Relaxed);
            counters.passed_over = tally.passed_over.load(Ordering::Relaxed);
        }
        counters
    }

    fn memory(&self) -> Memory {
        Memory { predicted: lock(&self.state).predicted, ..self.backend.memory() }
    }

    fn run(&self, state: &mut RuntimeState, roots: Vec<Arc<Node>>) -> Result<(), Error> {
        let executor = self.backend.executor();
        let has_kernel = |node: &Node| match &executor {
            Executor::Plans(executor) => has_kernel(node, executor.limits()),
            Executor::Nodes(_) => false,
        };
        let graph = PendingGraph::collect(roots, has_kernel);
        if !graph.has_pending() {
            return Ok(());
        }
        state.counters.runs += 1;
        let executor = match executor {
            Executor::Plans(executor) => executor,
            Executor::Nodes(executor) => return executor.run(&graph),
        };
        let planned = self.planned(state, &graph, executor)?;
        let check = self.check.as_ref();
        let Planned { plan, compiled, constants, .. } = &*planned;
        let storages = run::run(executor, plan, &**compiled, &graph, constants, check)?;
        state.counters.deferred += plan.deferred.len();
        complete(&graph, plan, &storages);
        Ok(())
    }

    /// Returns the cached plan for the graph's key, or creates a plan.
    fn planned(
        &self,
        state: &mut RuntimeState,
        graph: &PendingGraph,
        executor: &dyn PlanExecutor,
    ) -> Result<Arc<Planned>, Error> {
        let donatable = graph.donatable();
        let key = schedule::key(graph, &donatable);
        let planned = match state.plans.get(&key) {
            Some(planned) => planned,
            None => {
                let limits = executor.limits();
                let plan = schedule::plan(graph, &donatable, limits, self.fusion, log::observe);
                let planned = run::prepare(executor, plan, graph, self.check.as_ref())?;
                if logs("plan") {
                    print(&planned, graph, limits);
                }
                state.counters.plans += 1;
                state.plans.insert(key, planned)
            }
        };
        state.predicted = state.predicted.max(planned.predicted_bytes + state.plans.constant_bytes());
        Ok(planned)
    }
}

fn print(planned: &Planned, graph: &PendingGraph, limits: &Limits) {
    let text = log::plan(&planned.plan, graph, limits);
    eprintln!("wgrad: a plan\n{text}  {}; {} bytes at the most", planned.plan, planned.predicted_bytes);
}

/// Sets the values of nodes. Nodes whose sources no backward pass needs drop them, which frees unreferenced nodes.
fn complete(graph: &PendingGraph, plan: &Plan, storages: &[Arc<dyn Storage>]) {
    for placement in &plan.results {
        let value =
            |(slot, view): &(usize, View)| Value { storage: storages[*slot].clone(), view: view.clone() };
        let item = &graph.items[placement.item];
        item.node.complete(placement.outs.iter().map(value).collect(), item.keeps_sources);
    }
    plan.deferred.iter().for_each(|&item| graph.items[item].node.set_deferred());
}
