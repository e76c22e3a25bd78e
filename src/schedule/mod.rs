//! The scheduler: a chain of passes from the pending graph to a plan, each a function from one printable form to the next.
//!
//! | pass | form after it |
//! |---|---|
//! | `pending` | the pending nodes that the roots need, in topological order |
//! | `defer` | the same; held values that need not be written are not outputs |
//! | `simplify` | the same; common subexpressions are merged, constants are folded |
//! | `regions` | which operations share a kernel |
//! | `lower` | kernels: straight-line code, with the buffers that each reads and writes |
//! | `merge` | fewer kernels: those over one iteration space that share data are merged |
//! | `split_reductions` | collapsed dims, and long loops in two stages |
//! | `order` | the same kernels in execution order; small ones are batched |
//! | `memory` | the plan: each buffer has a slot |
//!
//! `WGRAD_LOG=after:NAME` prints the form after a pass, `after:all` all forms. A plan is plain data and is cached by the
//! graph's `key`. The scheduler does not know wgpu and does not loop over elements: backends run plans, `runtime` knows the
//! backends.

mod access;
mod defer;
mod key;
mod log;
mod lower;
mod memory;
mod merge;
mod order;
mod pending;
mod regions;
mod simplify;
mod split_policy;
mod split_reductions;
#[cfg(test)]
mod tests;

pub(crate) use key::{PlanKey, key};
pub(crate) use log::logs;
pub(crate) use pending::{PendingGraph, has_kernel};
pub(crate) use regions::MAX_REGION_ITEMS;

use crate::core::limits::Limits;
use crate::ir::{KernelGraph, Plan};

/// The passes by name.
pub(crate) const PASSES: [&str; 9] =
    ["pending", "defer", "simplify", "regions", "lower", "merge", "split_reductions", "order", "memory"];

/// Whether operations share kernels and dispatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fusion {
    On,
    /// Every operation has its own kernel and dispatch.
    Off,
}

/// Runs the passes. Calls `observe` with the name of each pass and a function that prints the form after it.
pub(crate) fn plan(
    pending: &PendingGraph,
    donatable: &[bool],
    limits: &Limits,
    fusion: Fusion,
    mut observe: impl FnMut(&str, &dyn Fn() -> String),
) -> Plan {
    let fuse = fusion == Fusion::On;
    observe("pending", &|| pending.to_string());
    let mut graph = pending.clone();
    if fuse {
        graph = defer::defer(graph);
        observe("defer", &|| graph.to_string());
        graph = simplify::simplify(graph);
        observe("simplify", &|| graph.to_string());
    }
    let regions = regions::regions(&graph, limits, fuse);
    observe("regions", &|| regions.listing(&graph));
    let listing = |kernels: &KernelGraph| kernels.listing(&|item| graph.label(item));
    let mut kernels = lower::lower(&graph, regions, limits);
    observe("lower", &|| listing(&kernels));
    if fuse {
        kernels = merge::merge(&graph, kernels, limits);
        observe("merge", &|| listing(&kernels));
    }
    kernels = split_reductions::split_reductions(kernels, limits);
    observe("split_reductions", &|| listing(&kernels));
    kernels = order::order(kernels, fuse);
    observe("order", &|| listing(&kernels));
    let plan = memory::memory(pending, &graph, kernels, donatable, limits);
    observe("memory", &|| plan.listing(&|item| graph.label(item)));
    plan
}

/// The kernels of a graph in execution order, before memory is assigned.
#[cfg(test)]
pub(crate) fn kernels(pending: &PendingGraph, limits: &Limits) -> KernelGraph {
    let graph = simplify::simplify(defer::defer(pending.clone()));
    let kernels = lower::lower(&graph, regions::regions(&graph, limits, true), limits);
    split_reductions::split_reductions(merge::merge(&graph, kernels, limits), limits)
}
