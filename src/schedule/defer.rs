//! Defers values that the user has a handle to: if a value can be computed from other memory when the user reads it,
//! the run does not write it.
//!
//! Rust keeps the temporaries of `x.exp().sin().sum().item()` alive until the end of the statement, and a training loop
//! keeps its `let` bindings alive during `step()`. Writing all these values would cost a pass over memory for each,
//! although they are rarely read. A value that the user has a handle to is deferred if
//!
//! * an elementwise operation computes it and it is larger than [`MIN_DEFERRED_BYTES`];
//! * all its sources stay in memory after the run for other reasons: each is an output of the run, or an input that no
//!   kernel overwrites because handles or references from outside the graph exist;
//! * these sources and the intermediate values that a backward pass may keep are in total at most [`MAX_SOURCE_RATIO`]
//!   times as large as the value, which limits the memory that deferring keeps alive;
//! * no earlier run deferred the value or its sources, so that chains of deferred values do not grow and each value is
//!   recomputed at most once.
//!
//! If a kernel needs a deferred value in memory, the value is written.
//!
//! In: the pending graph, in which every item with a handle is an output. Out: the same graph; deferred items are not
//! outputs.

use smallvec::SmallVec;

use super::pending::PendingGraph;
use crate::graph::Op;

/// Minimum size of a deferred value, exclusive. Writing a smaller value now costs less than running a kernel when it is
/// read.
const MIN_DEFERRED_BYTES: usize = 64 << 10;

/// Maximum size of the memory that a deferred value keeps alive, relative to its own size.
const MAX_SOURCE_RATIO: usize = 2;

/// Maximum number of sources of a deferred value, which limits the cost of the analysis.
const MAX_SOURCES: usize = 8;

/// The items whose memory a deferred item keeps alive: the inputs and outputs from which elementwise and movement
/// operations compute it, and intermediate values that a backward pass may keep.
type Sources = SmallVec<[usize; 4]>;

pub(super) fn defer(mut graph: PendingGraph) -> PendingGraph {
    // The sources of each item. `None` if a source may be freed or overwritten.
    let mut sources: Vec<Option<Sources>> = Vec::with_capacity(graph.items.len());
    for i in 0..graph.items.len() {
        let computed_from = held_if_deferred(&graph, i, &sources);
        let is_deferred = computed_from.as_ref().is_some_and(|held| is_worth_deferring(&graph, i, held));
        let item = &mut graph.items[i];
        item.is_output &= !is_deferred;
        let is_in_memory = match item.is_pending() {
            // An output that is a movement item is a view of its source's memory.
            true => item.is_output && !matches!(item.op(), Op::Move(_)),
            false => (item.is_held || item.has_outside_refs) && !item.is_small_part(),
        };
        sources.push(if is_in_memory { Some(Sources::from_slice(&[i])) } else { computed_from });
    }
    graph
}

/// Returns the items whose memory a deferred item would keep alive, and `None` if it cannot be deferred.
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
