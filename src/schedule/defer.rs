//! Which held values are not written, since whoever reads one can compute it from what is in memory anyway.
//!
//! Rust keeps the temporaries of `x.exp().sin().sum().item()` alive to the end of the statement, and a training loop
//! keeps its `let`s alive over `step()`. Writing each of them would cost a pass over memory for values that hardly anyone
//! reads. A held value is deferred if
//!
//! * it is elementwise, and larger than [`MIN_DEFERRED_BYTES`];
//! * everything it is computed from stays in memory after the run for other reasons: an input that is held or referred
//!   to from outside, so that no kernel overwrites it, or an output of the run;
//! * that, and what a backward pass may keep of the values in between, is at most [`MAX_SOURCE_RATIO`] times as large as
//!   the value, so that memory held for its sake stays bounded;
//! * no earlier run deferred it or what it is computed from: chains of held values do not grow, and nothing is computed
//!   again more than once.
//!
//! A kernel may still need a deferred value in memory; then it is written after all.
//!
//! In: the pending graph, every held item an output. Out: the same, deferred items no outputs.

use smallvec::SmallVec;

use super::pending::PendingGraph;
use crate::graph::Op;

/// Below, writing a value costs less than another kernel would later.
const MIN_DEFERRED_BYTES: usize = 64 << 10;

/// How much larger than a deferred value the memory may be that it keeps from being freed.
const MAX_SOURCE_RATIO: usize = 2;

/// Sources that an item may have in memory; with more, none is deferred.
const MAX_SOURCES: usize = 8;

/// The items whose memory an item holds if it is deferred: the inputs and outputs that it can be computed from by
/// elementwise operations and movement alone, and values in between that may be kept.
type Sources = SmallVec<[usize; 4]>;

pub(super) fn defer(mut graph: PendingGraph) -> PendingGraph {
    // `None`: not everything that the item is computed from is known to stay.
    let mut sources: Vec<Option<Sources>> = Vec::with_capacity(graph.items.len());
    for i in 0..graph.items.len() {
        let computed_from = held_if_deferred(&graph, i, &sources);
        let is_deferred = computed_from.as_ref().is_some_and(|held| is_worth_deferring(&graph, i, held));
        let item = &mut graph.items[i];
        item.is_output &= !is_deferred;
        let is_in_memory = match item.is_pending() {
            // An output that is movement is a view of its source's memory.
            true => item.is_output && !matches!(item.op(), Op::Move(_)),
            false => (item.is_held || item.has_outside_refs) && !item.is_small_part(),
        };
        sources.push(if is_in_memory { Some(Sources::from_slice(&[i])) } else { computed_from });
    }
    graph
}

/// What the item would hold, if it is elementwise or movement and all that it is computed from stays in memory.
fn held_if_deferred(graph: &PendingGraph, item: usize, sources: &[Option<Sources>]) -> Option<Sources> {
    let item = &graph.items[item];
    let elementwise = match item.op() {
        Op::Move(_) | Op::Const(_) | Op::Scalar(_) | Op::Iota(_) | Op::Random { .. } => true,
        op => computes(op),
    };
    if !item.is_pending() || !elementwise || item.was_deferred {
        return None;
    }
    let mut held = Sources::new();
    for source in &item.sources {
        held.extend(sources[source.item].as_ref()?.iter().copied());
        let between = &graph.items[source.item];
        let may_be_kept = between.is_pending() && (item.keeps_sources || between.has_outside_refs);
        held.extend(Some(source.item).filter(|_| may_be_kept && computes(between.op())));
    }
    held.sort_unstable();
    held.dedup();
    (held.len() <= MAX_SOURCES).then_some(held)
}

fn computes(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast(_))
}

fn is_worth_deferring(graph: &PendingGraph, item: usize, held: &[usize]) -> bool {
    let bytes = |item: usize| graph.items[item].node.outs.iter().map(|spec| spec.bytes()).sum::<usize>();
    let it = &graph.items[item];
    it.is_held
        && !it.is_root
        && computes(it.op())
        && bytes(item) > MIN_DEFERRED_BYTES
        && held.iter().map(|&source| bytes(source)).sum::<usize>() <= MAX_SOURCE_RATIO * bytes(item)
}
