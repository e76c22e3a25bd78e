//! The scheduler: a chain of passes that turns the pending graph into a plan. Each pass is a function from one
//! printable form to the next.
//!
//! | pass | form after it |
//! |---|---|
//! | `pending` | the pending nodes that the roots need, in topological order |
//! | `defer` | the same; values that are recomputed when the user reads them are no longer outputs |
//! | `simplify` | the same; common subexpressions are merged, constants are folded |
//! | `regions` | regions: the items that each kernel computes |
//! | `lower` | kernels: straight-line code, with the buffers that each kernel reads and writes |
//! | `merge` | fewer kernels: kernels over the same iteration space that share data are merged |
//! | `split_reductions` | kernels with collapsed dims; long loops are split into two stages |
//! | `order` | the same kernels in execution order; small kernels are batched |
//! | `memory` | the plan: each buffer has a memory slot |
//!
//! * An *item* is a node of the pending graph: a pending node, or an input (a node that has values).
//! * A *region* is the set of items that one kernel (or the dispatches of a fused operation) computes. An item that its
//!   region writes to memory for other regions is *materialized*.
//! * A *path* is the sequence of movement operations (views: reshape, permute, expand, pad ..) between a region's
//!   iteration space and an item. The empty path is the iteration space itself.
//! * An *accumulator* is the result of a reduction, scatter or matrix product before its kernel writes it to memory.
//! * An *epilogue* is an elementwise computation that a kernel applies to its accumulators before it writes results.
//!
//! `WGRAD_LOG=after:NAME` prints the form after one pass, `after:all` prints all forms. A plan is plain data and is
//! cached by the graph's `key`. The scheduler does not depend on wgpu and does not loop over elements: backends run
//! plans, and `runtime` selects the backend.

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

/// The names of the passes, in the order in which they run.
pub(crate) const PASSES: [&str; 9] =
    ["pending", "defer", "simplify", "regions", "lower", "merge", "split_reductions", "order", "memory"];

/// Whether operations may share kernels and dispatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fusion {
    On,
    /// Every operation has its own kernel, and every kernel its own dispatch.
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

/// Returns the kernels of a graph before they are ordered and memory is assigned.
#[cfg(test)]
pub(crate) fn kernels(pending: &PendingGraph, limits: &Limits) -> KernelGraph {
    let graph = simplify::simplify(defer::defer(pending.clone()));
    let kernels = lower::lower(&graph, regions::regions(&graph, limits, true), limits);
    split_reductions::split_reductions(merge::merge(&graph, kernels, limits), limits)
}
