//! Execution of a plan: allocates a storage for each slot, then runs the dispatches.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::check::{Check, Tally};
use super::log;
use super::plans::Planned;
use crate::backend::{CompiledPlan, Dispatched, Observer, PlanExecutor, PlanRun};
use crate::core::error::Error;
use crate::graph::Storage;
use crate::ir::{Plan, PlanSlot, Step};
use crate::schedule::{PendingGraph, logs};

/// Compiles a plan, and computes its constants.
pub(super) fn prepare(
    executor: &dyn PlanExecutor,
    plan: Plan,
    graph: &PendingGraph,
    check: Option<&Tally>,
) -> Result<Planned, Error> {
    let constants = match &plan.constants {
        Some(plan) => run(executor, plan, &*executor.compile(plan, graph)?, graph, &[], check)?,
        None => Vec::new(),
    };
    let compiled = executor.compile(&plan, graph)?;
    let predicted_bytes = predicted_bytes(&plan, graph);
    Ok(Planned { plan, compiled, constants, predicted_bytes })
}

/// Runs a plan once. Returns the storages of its slots.
pub(super) fn run(
    executor: &dyn PlanExecutor,
    plan: &Plan,
    compiled: &CompiledPlan,
    graph: &PendingGraph,
    constants: &[Arc<dyn Storage>],
    check: Option<&Tally>,
) -> Result<Vec<Arc<dyn Storage>>, Error> {
    let storage = |slot: &PlanSlot| match slot {
        PlanSlot::Input(output) => {
            let values = graph.items[output.item].values.as_ref().expect("an input has its values");
            Ok(values[output.out as usize].storage.clone())
        }
        PlanSlot::Fresh { bytes } => executor.allocate(*bytes),
        PlanSlot::Constant(i) => Ok(constants[*i].clone()),
    };
    let storages = plan.slots.iter().map(storage).collect::<Result<Vec<_>, Error>>()?;
    let run = PlanRun { plan, compiled, graph, storages: &storages };
    if check.is_some() || logs("kernel") {
        let check = check.map(|tally| Check::new(executor, plan, graph, &storages, tally));
        executor.run(&run, Some(&mut Stepwise { graph, check }))?;
    } else {
        executor.run(&run, None)?;
    }
    Ok(storages)
}

/// Logs and checks each dispatch (`WGRAD_LOG=kernel`, `WGRAD_CHECK`).
struct Stepwise<'a> {
    graph: &'a PendingGraph,
    check: Option<Check<'a>>,
}

impl Observer for Stepwise<'_> {
    fn before(&mut self, steps: &[Step]) -> Result<(), Error> {
        self.check.as_mut().map_or(Ok(()), |check| check.before(steps))
    }

    fn after(&mut self, steps: &[Step], dispatched: Dispatched) -> Result<(), Error> {
        if logs("kernel") {
            eprintln!("wgrad: {}", log::kernels(steps, self.graph, &dispatched));
        }
        self.check.as_mut().map_or(Ok(()), |check| check.after(steps))
    }
}

/// Computes the memory of a run in bytes, without the plan's constants.
fn predicted_bytes(plan: &Plan, graph: &PendingGraph) -> u64 {
    let mut operands: FxHashMap<*const (), u64> = FxHashMap::default();
    for slot in &plan.slots {
        if let PlanSlot::Input(output) = slot
            && let Some(values) = &graph.items[output.item].values
        {
            let storage = &values[output.out as usize].storage;
            operands.insert(Arc::as_ptr(storage).cast(), storage.bytes());
        }
    }
    operands.values().sum::<u64>() + plan.fresh_bytes()
}
