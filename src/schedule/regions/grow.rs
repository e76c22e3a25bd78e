//! Grows a fused region from its root: decides which producers the region computes, and which it reads from memory.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::Planner;
use crate::graph::{Binary, Op};
use crate::ir::Output;
use crate::schedule::pending::PendingGraph;

/// Maximum number of operations per region: enough for any layer, and few enough for shader compilers.
pub(crate) const MAX_REGION_ITEMS: usize = 128;

/// Maximum number of operations that are recomputed to avoid writing and reading an intermediate value.
const MAX_RECOMPUTED_OPS: usize = 8;

/// The result of growing a region.
#[derive(Default)]
pub(super) struct Grown {
    /// The items that the region computes, except the root.
    pub items: FxHashSet<usize>,
    /// The subset of `items` that the region also writes to memory.
    pub also_written: Vec<usize>,
    /// The items that the region reads from memory.
    pub loads: FxHashSet<usize>,
    /// The number of uses of each visited item by items of the region.
    pub uses: FxHashMap<usize, u32>,
}

/// The start of a region: its root, and the sources from which it grows.
#[derive(Clone)]
pub(super) struct Seed<'a> {
    /// The item that defines the iteration space.
    pub root: usize,
    pub sources: &'a [Output],
    /// Whether the region also writes items that must be materialized and that it computes at the root's index.
    pub writes_more: bool,
    /// Other items over the same iteration space that the region also writes if it can.
    pub siblings: SmallVec<[usize; 4]>,
}

impl<'a> Seed<'a> {
    pub fn new(root: usize, sources: &'a [Output], writes_more: bool) -> Seed<'a> {
        Seed { root, sources, writes_more, siblings: SmallVec::new() }
    }
}

/// The items that a growing region has reached but not yet included or excluded. They are visited latest first.
#[derive(Default)]
struct Frontier {
    items: BTreeSet<usize>,
    uses: FxHashMap<usize, u32>,
    /// Items that are reached only through elementwise operations, so that they are computed at the root's index.
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

/// Whether a region can compute the operation at any single index: an elementwise operation, a gather, a movement
/// operation or an operation without sources.
pub(super) fn is_fusible(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast(_) | Op::Gather(_)) || is_free(op)
}

/// Whether the operation is only index arithmetic, a uniform or a random number, which is never worth a kernel.
fn is_free(op: &Op) -> bool {
    matches!(op, Op::Const(_) | Op::Scalar(_) | Op::Iota(_) | Op::Random { .. } | Op::Move(_))
}

impl Planner<'_> {
    /// Grows a region. Visits items latest first, so that each item is visited after all its consumers in the region.
    pub fn grow(&self, seed: &Seed) -> Grown {
        self.grow_within(seed, &[])
    }

    /// Grows a region like [`grow`](Self::grow), but reads the items of `boundaries` from memory.
    pub fn grow_within(&self, seed: &Seed, boundaries: &[usize]) -> Grown {
        let mut barred = FxHashSet::default();
        loop {
            let grown = self.grow_once(seed, boundaries, &barred);
            // The operands must not depend on results of the region.
            let dependencies = self.dependencies(&grown.loads, &grown.also_written);
            if dependencies.is_empty() {
                return grown;
            }
            barred.extend(dependencies);
        }
    }

    /// Returns those of the `targets` that the loads depend on. A region reads all its loads before it writes a result,
    /// so no load may depend on a result.
    pub fn dependencies(&self, loads: &FxHashSet<usize>, targets: &[usize]) -> Vec<usize> {
        let Some(&oldest) = targets.iter().min() else { return Vec::new() };
        // Sources precede consumers in the graph. An item can depend on a later item only through a region.
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

    /// Returns an upper bound of the number of buffers of the items: one per output.
    pub fn buffers<'a>(&self, items: impl IntoIterator<Item = &'a usize>) -> usize {
        items.into_iter().map(|&item| self.item(item).node.outs.len()).sum()
    }

    /// Grows a region once. The region does not also write any of the `barred` items.
    fn grow_once(&self, seed: &Seed, boundaries: &[usize], barred: &FxHashSet<usize>) -> Grown {
        let root = self.item(seed.root);
        let space = &root.spec(0).shape;
        let mut grown = Grown::default();
        let mut frontier = Frontier::default();
        let gathers = matches!(root.op(), Op::Gather(_));
        // A gather always reads its first operand from memory.
        let (read, computed) = seed.sources.split_at(usize::from(gathers));
        grown.loads.extend(read.iter().map(|&source| self.resolve_view(source).0.item));
        frontier.extend(computed, seed.writes_more && !matches!(root.op(), Op::Move(_)));
        frontier.items.extend(&seed.siblings);
        frontier.at_root_index.extend(&seed.siblings);
        // One storage buffer is reserved for the result, and one for the fault flag buffer.
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

/// Returns the source of a chain of movement items.
fn skip_movement(graph: &PendingGraph, mut item: usize) -> usize {
    while graph.items[item].is_pending() && matches!(graph.items[item].op(), Op::Move(_)) {
        item = graph.items[item].sources[0].item;
    }
    item
}

/// Returns for each item whether several regions may recompute it: it is a few operations on one buffer. Operands of
/// `eq` are excluded, because the shader compiler may contract operations differently in each kernel, which changes the
/// last bit.
pub(super) fn cheap(graph: &PendingGraph) -> Vec<bool> {
    // The buffer that each item reads (if any) and its number of operations. `None` if the item reads more than one
    // buffer or has too many operations.
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
        // An item that has several uses and is not recomputed becomes a buffer.
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
