//! Grows a fused region from its root: decides which producers it computes inside, and which it reads from memory.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::Planner;
use crate::graph::{Binary, Op};
use crate::ir::Output;
use crate::schedule::pending::PendingGraph;

/// Operations per region: enough for any layer, and short enough for shader compilers.
pub(crate) const MAX_REGION_ITEMS: usize = 128;

/// Operations that may be recomputed to avoid a read.
const MAX_RECOMPUTED_OPS: usize = 8;

/// A grown region.
#[derive(Default)]
pub(super) struct Grown {
    /// The items that it computes inside, without an elementwise root.
    pub items: FxHashSet<usize>,
    /// The items among them that it also writes.
    pub also_written: Vec<usize>,
    /// The items that it reads from memory.
    pub loads: FxHashSet<usize>,
    /// The number of uses of each visited item in the region.
    pub uses: FxHashMap<usize, u32>,
}

/// The start of a region.
#[derive(Clone)]
pub(super) struct Seed<'a> {
    /// The item that defines the iteration space.
    pub root: usize,
    pub sources: &'a [Output],
    /// Whether the region writes items that must be materialized anyway, if it computes them at its index.
    pub writes_more: bool,
    /// Other items over this iteration space that the region writes if it can.
    pub siblings: SmallVec<[usize; 4]>,
}

impl<'a> Seed<'a> {
    pub fn new(root: usize, sources: &'a [Output], writes_more: bool) -> Seed<'a> {
        Seed { root, sources, writes_more, siblings: SmallVec::new() }
    }
}

/// The items that a growing region has reached but not decided on, newest first.
#[derive(Default)]
struct Frontier {
    items: BTreeSet<usize>,
    uses: FxHashMap<usize, u32>,
    /// Items reached through elementwise operations alone: they are computed at the root's index.
    at_root_index: FxHashSet<usize>,
}

impl Frontier {
    fn extend(&mut self, sources: &[Output], at_root_index: bool) {
        for source in sources {
            self.items.insert(source.item);
            *self.uses.entry(source.item).or_default() += 1;
            if at_root_index {
                self.at_root_index.insert(source.item);
            }
        }
    }
}

/// Whether a region can compute the operation at any index: elementwise operations, movement and leaves.
pub(super) fn is_fusible(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast(_) | Op::Gather(_)) || is_free(op)
}

/// Whether it is index arithmetic or a uniform, which is never worth a kernel.
fn is_free(op: &Op) -> bool {
    matches!(op, Op::Const(_) | Op::Scalar(_) | Op::Iota(_) | Op::Random { .. } | Op::Move(_))
}

impl Planner<'_> {
    /// Grows a region. Items are visited newest first, so each is visited after all its consumers in the region.
    pub fn grow(&self, seed: &Seed) -> Grown {
        self.grow_within(seed, &[])
    }

    /// [`grow`](Self::grow) without computing any of the `boundaries`.
    pub fn grow_within(&self, seed: &Seed, boundaries: &[usize]) -> Grown {
        let mut barred = FxHashSet::default();
        loop {
            let grown = self.grow_once(seed, boundaries, &barred);
            // The operands must not depend on the region's own results.
            let dependencies = self.dependencies(&grown.loads, &grown.also_written);
            if dependencies.is_empty() {
                return grown;
            }
            barred.extend(dependencies);
        }
    }

    /// The `targets` that the loads depend on. A region reads all its loads before it writes any result, so no load may
    /// depend on a result.
    pub fn dependencies(&self, loads: &FxHashSet<usize>, targets: &[usize]) -> Vec<usize> {
        let Some(&oldest) = targets.iter().min() else { return Vec::new() };
        // Sources are older than consumers. Only through a region can an older item depend on a newer one.
        let oldest = oldest.min(self.oldest);
        let mut seen = FxHashSet::default();
        let mut stack: Vec<usize> = loads.iter().copied().collect();
        while let Some(item) = stack.pop() {
            if item < oldest || !seen.insert(item) {
                continue;
            }
            if let Some(region) = self.region_of[item] {
                stack.extend(self.regions.list[region].reads());
            }
            stack.extend(self.item(item).sources.iter().map(|source| source.item));
        }
        targets.iter().copied().filter(|target| seen.contains(target)).collect()
    }

    /// An upper bound on the buffers of the items: one per output.
    pub fn buffers<'a>(&self, items: impl IntoIterator<Item = &'a usize>) -> usize {
        items.into_iter().map(|&item| self.item(item).node.outs.len()).sum()
    }

    /// One attempt to grow a region that writes none of the `barred` items.
    fn grow_once(&self, seed: &Seed, boundaries: &[usize], barred: &FxHashSet<usize>) -> Grown {
        let root = self.item(seed.root);
        let space = &root.spec(0).shape;
        let mut grown = Grown::default();
        let mut frontier = Frontier::default();
        let gathers = matches!(root.op(), Op::Gather(_));
        // A gather reads its first operand from memory.
        let (read, computed) = seed.sources.split_at(usize::from(gathers));
        grown.loads.extend(read.iter().map(|&source| self.resolve_view(source).0.item));
        frontier.extend(computed, seed.writes_more && !matches!(root.op(), Op::Move(_)));
        frontier.items.extend(&seed.siblings);
        frontier.at_root_index.extend(&seed.siblings);
        // One storage buffer stays free for the result, and one for the fault word.
        let room = self.limits.storage_buffers as usize - 2;
        while let Some(n) = frontier.items.pop_last() {
            let item = self.item(n);
            let is_sibling = seed.siblings.contains(&n);
            let movement = matches!(item.op(), Op::Move(_));
            let gathers = matches!(item.op(), Op::Gather(_));
            let uses = frontier.uses.get(&n).copied().unwrap_or(0);
            let computable = item.is_pending()
                && is_fusible(item.op())
                && !self.has_region(n)
                && !self.boundaries.contains(&n)
                && !boundaries.contains(&n)
                && !grown.loads.contains(&n)
                && grown.items.len() < 4 * MAX_REGION_ITEMS;
            let read = self.buffers(&grown.loads) + self.buffers(&frontier.items);
            let buffers = read + item.sources.len() + grown.also_written.len();
            let fits = self.fuse && buffers <= room && grown.items.len() < MAX_REGION_ITEMS;
            let must_write = self.is_materialized(n) || (item.is_output && !movement) || is_sibling;
            let taken_in = computable
                && if must_write {
                    let written_here = seed.writes_more
                        && fits
                        && frontier.at_root_index.contains(&n)
                        && *item.spec(0).shape == **space
                        && (!movement || is_sibling)
                        && !gathers
                        && !barred.contains(&n);
                    if written_here {
                        grown.also_written.push(n);
                    }
                    written_here
                } else {
                    is_free(item.op()) || (fits && (uses == item.uses || self.cheap[n]))
                };
            if !taken_in {
                if uses > 0 {
                    grown.loads.insert(n);
                }
                continue;
            }
            grown.items.insert(n);
            let (read, computed) = item.sources.split_at(usize::from(gathers));
            grown.loads.extend(read.iter().map(|&source| self.resolve_view(source).0.item));
            frontier.extend(computed, frontier.at_root_index.contains(&n) && !movement);
        }
        grown.uses = frontier.uses;
        grown
    }
}

/// The item at the start of a chain of movement.
fn skip_movement(graph: &PendingGraph, mut item: usize) -> usize {
    while graph.items[item].is_pending() && matches!(graph.items[item].op(), Op::Move(_)) {
        item = graph.items[item].sources[0].item;
    }
    item
}

/// Items that several regions may recompute: a few operations on one buffer. Operands of `eq` are excluded, because the
/// compiler may contract operations differently in each kernel, which changes the last bit.
pub(super) fn cheap(graph: &PendingGraph) -> Vec<bool> {
    // For each item the buffer that it reads, if any, and its number of operations. `None` if there is more than one buffer or
    // too many operations.
    let mut cost: Vec<Option<(Option<usize>, usize)>> = Vec::with_capacity(graph.items.len());
    let mut cheap = Vec::with_capacity(graph.items.len());
    for (i, item) in graph.items.iter().enumerate() {
        let op = item.op();
        let in_memory = !item.is_pending() || !is_fusible(op) || matches!(op, Op::Gather(_));
        let computed = item.sources.iter().try_fold((None, usize::from(!is_free(op))), |sum, source| {
            let ((buffer, code), (other, more)) = (sum, cost[source.item]?);
            let one = buffer.is_none() || other.is_none() || buffer == other;
            (one && code + more <= MAX_RECOMPUTED_OPS).then_some((buffer.or(other), code + more))
        });
        cheap.push(in_memory || computed.is_some());
        // An item that several regions use and that is not recomputed becomes a buffer.
        cost.push(match computed {
            _ if in_memory => Some((Some(i), 0)),
            None if item.uses > 1 => Some((Some(i), 0)),
            computed => computed,
        });
    }
    for item in &graph.items {
        if item.is_pending() && matches!(item.op(), Op::Binary(Binary::Eq)) {
            let operands: SmallVec<[usize; 2]> =
                item.sources.iter().map(|source| skip_movement(graph, source.item)).collect();
            if operands.iter().all(|&operand| !is_free(graph.items[operand].op())) {
                operands.iter().for_each(|&operand| cheap[operand] = false);
            }
        }
    }
    cheap
}
