//! From the pending graph to a plan: a chain of passes, each a function from one printable form to the next.
//!
//! | pass | form behind it |
//! |---|---|
//! | `pending` | the pending nodes that the roots need, in topological order |
//! | `defer` | the same; held values that need not be written are no outputs |
//! | `simplify` | the same; equal expressions are one, constants are folded |
//! | `regions` | which operations share a kernel |
//! | `lower` | kernels: straight-line code, with the buffers that each reads and writes |
//! | `merge` | fewer kernels: those over one iteration space are one |
//! | `split_reductions` | kernels as they run: dims collapsed, long loops in two stages |
//! | `order` | the same in the order in which they run; small ones batched |
//! | `memory` | the plan: each buffer has a slot |
//!
//! `WGRAD_LOG=after:NAME` prints the form behind a pass, `after:all` all of them. A plan is plain data, kept under the
//! graph's `key`. Nothing here knows wgpu or loops over elements: backends run plans, and `runtime` knows the backends.

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
    /// Every operation as it was built has a kernel and a dispatch of its own.
    Off,
}

/// Runs the passes. `observe` is called with the name of each and a function that prints the form behind it.
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

/// The kernels of a graph as they run, before they have memory.
#[cfg(test)]
pub(crate) fn kernels(pending: &PendingGraph, limits: &Limits) -> KernelGraph {
    let graph = simplify::simplify(defer::defer(pending.clone()));
    let kernels = lower::lower(&graph, regions::regions(&graph, limits, true), limits);
    split_reductions::split_reductions(merge::merge(&graph, kernels, limits), limits)
}
