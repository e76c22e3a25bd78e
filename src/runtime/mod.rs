//! Connects the scheduler with the backends: collects what is pending, finds or makes its plan, has the backend run it, and
//! gives the nodes their values.
//!
//! In: root nodes. Out: values on nodes.

mod check;
mod counters;
mod log;
mod null;
mod plans;
mod run;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use counters::{Counters, Memory};
pub(crate) use log::logs;
pub(crate) use null::{Null, NullBuffer};

use self::check::Tally;
use self::plans::{Planned, Plans};
use crate::core::clock::thread_time;
use crate::core::error::Error;
use crate::core::limits::Limits;
use crate::cpu;
use crate::device::{Backend, Device};
use crate::graph::{Node, Value};
use crate::ir::Plan;
use crate::schedule::{self, Fusion, PendingGraph, has_kernel};

/// A device's plans, and what it has done.
pub(crate) struct Runtime {
    fusion: Fusion,
    check: Option<Arc<Tally>>,
    plans: Plans,
    pub counters: Counters,
    /// The most bytes that a run so far was predicted to hold, the constants of all plans among them.
    pub predicted: u64,
}

impl Runtime {
    /// With `check` the reference computes after each kernel what the kernel should have.
    pub fn new(fusion: Fusion, check: bool) -> Runtime {
        Runtime {
            fusion,
            check: check.then(Arc::default),
            plans: Plans::default(),
            counters: Counters::default(),
            predicted: 0,
        }
    }

    pub fn forget_plans(&mut self) {
        self.plans = Plans::default();
    }

    /// Gives the roots, and the pending nodes on the way to them that a user holds, their values; held values that can be
    /// computed later at little cost are left for that (`schedule::defer`).
    pub fn realize(&mut self, device: &Device, roots: Vec<Arc<Node>>) -> Result<(), Error> {
        let start = thread_time();
        let realized = self.run(device, roots);
        self.counters.host += thread_time() - start;
        if let Some(tally) = &self.check {
            self.counters.checked = tally.compared.load(Ordering::Relaxed);
            self.counters.passed_over = tally.passed_over.load(Ordering::Relaxed);
        }
        realized
    }

    fn run(&mut self, device: &Device, roots: Vec<Arc<Node>>) -> Result<(), Error> {
        let has_kernel = |node: &Node| device.limits().is_some_and(|limits| has_kernel(node, limits));
        let graph = PendingGraph::collect(roots, has_kernel);
        if !graph.has_pending() {
            return Ok(());
        }
        self.counters.runs += 1;
        let (planned, storages) = match device.backend() {
            Backend::Cpu(rounding) => return cpu::run(&graph, *rounding),
            Backend::Gpu(gpu) => {
                let check = self.check.clone();
                let prepare = |plan: Plan| run::prepare_gpu(gpu, plan, &graph, check.as_deref());
                let planned = self.planned(&graph, gpu.limits(), prepare)?;
                let storages = run::gpu(gpu, &planned, &graph, check.as_deref())?;
                (planned, storages)
            }
            Backend::Null(null) => {
                let prepare = |plan: Plan| run::prepare_null(null, plan, &graph);
                let planned = self.planned(&graph, &null.limits, prepare)?;
                let storages = run::null(null, &planned.plan, &graph, &planned.constants)?;
                (planned, storages)
            }
        };
        self.counters.deferred += planned.plan.deferred.len();
        complete(&graph, &planned.plan, &storages);
        Ok(())
    }

    /// The graph's plan, made only if no graph of the same key was planned before.
    fn planned(
        &mut self,
        graph: &PendingGraph,
        limits: &Limits,
        prepare: impl FnOnce(Plan) -> Result<Planned, Error>,
    ) -> Result<Arc<Planned>, Error> {
        let donatable = graph.donatable();
        let key = schedule::key(graph, &donatable);
        let planned = match self.plans.get(&key) {
            Some(planned) => planned,
            None => {
                let plan = schedule::plan(graph, &donatable, limits, self.fusion, log::observe);
                let planned = prepare(plan)?;
                if logs("plan") {
                    let text = log::plan(&planned.plan, graph, limits);
                    eprintln!(
                        "wgrad: a plan\n{text}  {}; {} bytes at the most",
                        planned.plan, planned.predicted_bytes
                    );
                }
                self.counters.plans += 1;
                self.plans.insert(key, planned)
            }
        };
        self.predicted = self.predicted.max(planned.predicted_bytes + self.plans.constant_bytes());
        Ok(planned)
    }
}

/// Gives nodes their values. Those that no backward pass needs forget their sources, and what nothing refers to is freed.
fn complete(graph: &PendingGraph, plan: &Plan, storages: &[run::SharedStorage]) {
    for placement in &plan.results {
        let value = |(slot, view): &(usize, crate::graph::View)| Value {
            storage: storages[*slot].clone(),
            view: view.clone(),
        };
        let item = &graph.items[placement.item];
        item.node.complete(placement.outs.iter().map(value).collect(), item.keeps_sources);
    }
    plan.deferred.iter().for_each(|&item| graph.items[item].node.set_deferred());
}
