//! Runs a plan on a backend: a storage for each slot, then the plan's dispatches.

use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::check::{Check, Tally};
use super::plans::Planned;
use super::{Null, log};
use crate::core::error::Error;
use crate::device::{Data, Storage};
use crate::gpu::{self, Gpu};
use crate::ir::{Plan, Slot};
use crate::schedule::PendingGraph;

pub(super) type SharedStorage = Arc<Storage>;

/// Compiles a plan, and runs what it computes only once.
pub(super) fn prepare_gpu(
    gpu: &Gpu,
    plan: Plan,
    graph: &PendingGraph,
    check: Option<&Tally>,
) -> Result<Planned, Error> {
    let constants = match &plan.constants {
        Some(plan) => run_gpu(gpu, plan, &gpu::compile(gpu, plan, graph)?, graph, &[], check)?,
        None => Vec::new(),
    };
    let compiled = Some(gpu::compile(gpu, &plan, graph)?);
    let predicted_bytes = predicted_bytes(&plan, graph);
    Ok(Planned { plan, compiled, constants, predicted_bytes })
}

pub(super) fn gpu(
    gpu: &Gpu,
    planned: &Planned,
    graph: &PendingGraph,
    check: Option<&Tally>,
) -> Result<Vec<SharedStorage>, Error> {
    let compiled = planned.compiled.as_ref().expect("compiled when it was planned");
    run_gpu(gpu, &planned.plan, compiled, graph, &planned.constants, check)
}

pub(super) fn prepare_null(null: &Null, plan: Plan, graph: &PendingGraph) -> Result<Planned, Error> {
    let constants =
        plan.constants.as_ref().map_or(Ok(Vec::new()), |plan| self::null(null, plan, graph, &[]))?;
    let predicted_bytes = predicted_bytes(&plan, graph);
    Ok(Planned { plan, compiled: None, constants, predicted_bytes })
}

pub(super) fn null(
    null: &Null,
    plan: &Plan,
    graph: &PendingGraph,
    constants: &[SharedStorage],
) -> Result<Vec<SharedStorage>, Error> {
    let mut fresh = null.run(plan).into_iter();
    storages(graph, plan, constants, |_| Ok(Data::Null(fresh.next().expect("a buffer for each fresh slot"))))
}

/// The storage of each slot; `allocate` makes those of fresh slots.
fn storages(
    graph: &PendingGraph,
    plan: &Plan,
    constants: &[SharedStorage],
    mut allocate: impl FnMut(usize) -> Result<Data, Error>,
) -> Result<Vec<SharedStorage>, Error> {
    plan.slots
        .iter()
        .map(|slot| match slot {
            Slot::Input(output) => {
                let values = graph.items[output.item].values.as_ref().expect("an input has its values");
                Ok(values[output.out as usize].storage.clone())
            }
            Slot::Fresh { bytes } => Ok(Arc::new(Storage::new(allocate(*bytes)?))),
            Slot::Constant(i) => Ok(constants[*i].clone()),
        })
        .collect()
}

/// Bytes that a run of the plan holds at a time, its constants apart.
fn predicted_bytes(plan: &Plan, graph: &PendingGraph) -> u64 {
    let mut operands: FxHashMap<*const Storage, u64> = FxHashMap::default();
    for slot in &plan.slots {
        if let Slot::Input(output) = slot
            && let Some(values) = &graph.items[output.item].values
        {
            let storage = &values[output.out as usize].storage;
            operands.insert(Arc::as_ptr(storage), storage.bytes());
        }
    }
    operands.values().sum::<u64>() + plan.fresh_bytes()
}

/// Everything that can fail comes before the first dispatch, so a failed run changes no value.
fn run_gpu(
    gpu: &Gpu,
    plan: &Plan,
    compiled: &gpu::Compiled,
    graph: &PendingGraph,
    constants: &[SharedStorage],
    check: Option<&Tally>,
) -> Result<Vec<SharedStorage>, Error> {
    let storages = storages(graph, plan, constants, |bytes| Ok(Data::Gpu(gpu.allocate(bytes as u64)?)))?;
    let buffers: Vec<&gpu::Buffer> = storages
        .iter()
        .map(|storage| storage.gpu().ok_or(Error::Driver("an upload failed".into())))
        .collect::<Result<_, _>>()?;
    let uniforms = compiled.uniforms(gpu, graph);
    if check.is_some() || log::logs("kernel") {
        run_stepwise(gpu, plan, compiled, graph, &buffers, &uniforms, check)?;
    } else {
        gpu.run(&compiled.dispatches, &buffers, &uniforms)?;
    }
    Ok(storages)
}

/// One dispatch at a time, each waited for, logged and checked.
fn run_stepwise(
    gpu: &Gpu,
    plan: &Plan,
    compiled: &gpu::Compiled,
    graph: &PendingGraph,
    buffers: &[&gpu::Buffer],
    uniforms: &[u32],
    check: Option<&Tally>,
) -> Result<(), Error> {
    let mut check = check.map(|tally| Check::new(gpu, plan, graph, buffers, tally));
    for (steps, dispatch) in plan.dispatches().zip(&compiled.dispatches) {
        check.as_mut().map_or(Ok(()), |check| check.before(steps))?;
        gpu.wait()?;
        let start = Instant::now();
        gpu.run(std::slice::from_ref(dispatch), buffers, uniforms)?;
        gpu.wait()?;
        if log::logs("kernel") {
            let bytes = dispatch.buffers.iter().map(|&slot| buffers[slot as usize].asked()).sum();
            eprintln!("wgrad: {}", log::kernels(steps, graph, dispatch.workgroups, bytes, start.elapsed()));
        }
        check.as_mut().map_or(Ok(()), |check| check.after(steps))?;
    }
    Ok(())
}
