//! Which held values are not written, since whoever reads one can compute it from what is in memory anyway.
//!
//! Rust keeps the temporaries of `x.exp().sin().sum().item()` alive to the end of the statement, and a training loop
//! keeps its `let`s alive over `step()`. Writing each of them would cost a pass over memory for values that hardly anyone
//! reads. A held value is deferred if
//!
//! * it is elementwise, and larger than [`MIN_DEFERRED_BYTES`];
//! * everything it is computed from stays in memory after the run for other reasons: an input that is held or referred
//!   to from outside, so that no kernel overwrites it, or an output of the run;
//! * that is at most [`MAX_SOURCE_RATIO`] times as large as the value, so that memory held for its sake stays bounded;
//! * no earlier run deferred it or what it is computed from: chains of held values do not grow, and nothing is computed
//!   again more than once.
//!
//! A kernel may still need a deferred value in memory; then it is written after all.
//!
//! In: the pending graph, every held item an output. Out: the same, deferred items no outputs.

use smallvec::SmallVec;

use super::pending::{Item, PendingGraph};
use crate::graph::Op;

/// Below, writing a value costs less than another kernel would later.
const MIN_DEFERRED_BYTES: usize = 64 << 10;

/// How much larger than a deferred value the memory may be that it keeps from being freed.
const MAX_SOURCE_RATIO: usize = 2;

/// Inputs and outputs in memory that an item can be computed from by elementwise operations and movement alone.
type Leaves = SmallVec<[usize; 4]>;

pub(super) fn defer(mut graph: PendingGraph) -> PendingGraph {
    // `None`: not all of what the item is computed from is known to stay.
    let mut leaves: Vec<Option<Leaves>> = Vec::with_capacity(graph.items.len());
    for i in 0..graph.items.len() {
        let computed_from = sources_in_memory(&graph.items[i], &leaves);
        let is_deferred =
            computed_from.as_ref().is_some_and(|sources| is_worth_deferring(&graph, i, sources));
        let item = &mut graph.items[i];
        item.is_output &= !is_deferred;
        let is_in_memory = match item.is_pending() {
            true => item.is_output,
            false => (item.is_held || item.has_outside_refs) && !item.is_small_part(),
        };
        leaves.push(if is_in_memory { Some(Leaves::from_slice(&[i])) } else { computed_from });
    }
    graph
}

/// What the item is computed from, if it is elementwise or movement and all of that stays in memory.
fn sources_in_memory(item: &Item, leaves: &[Option<Leaves>]) -> Option<Leaves> {
    let elementwise = match item.op() {
        Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast(_) | Op::Move(_) => true,
        Op::Const(_) | Op::Scalar(_) | Op::Iota(_) | Op::Random { .. } => true,
        Op::Input | Op::Reduce(..) | Op::MatMul | Op::Gather(_) | Op::ScatterAdd(..) | Op::Fused(_) => false,
    };
    if !item.is_pending() || !elementwise || item.was_deferred {
        return None;
    }
    let mut all = Leaves::new();
    for source in &item.sources {
        all.extend(leaves[source.item].as_ref()?.iter().copied());
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

fn is_worth_deferring(graph: &PendingGraph, item: usize, sources: &[usize]) -> bool {
    let bytes = |item: usize| graph.items[item].node.outs.iter().map(|spec| spec.bytes()).sum::<usize>();
    let it = &graph.items[item];
    let computes = matches!(it.op(), Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast(_));
    it.is_held
        && !it.is_root
        && computes
        && bytes(item) > MIN_DEFERRED_BYTES
        && sources.iter().map(|&source| bytes(source)).sum::<usize>() <= MAX_SOURCE_RATIO * bytes(item)
}
