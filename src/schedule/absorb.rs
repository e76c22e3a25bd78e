//! How far a kernel reaches: which producers it computes inside, and which it reads.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::cone::{Cone, Source};
use super::fuse::{Access, Fuser};
use crate::graph::{Binary, Op};

/// Operations in one kernel: enough for any layer, and bounded for what compiles it.
pub(super) const MAX_CODE: usize = 128;

/// Operations that are recomputed rather than read.
const CHEAP_CODE: usize = 8;

/// What a kernel computes inside, and what it reads.
#[derive(Default)]
pub(super) struct Inside {
    pub items: FxHashSet<usize>,
    /// Those among them that it also writes.
    pub written: Vec<usize>,
    pub loads: FxHashSet<usize>,
    /// How often the kernel uses each item that it has met.
    pub uses: FxHashMap<usize, u32>,
}

/// Where a kernel begins.
#[derive(Clone)]
pub(super) struct Start<'a> {
    /// The item whose index space it has.
    pub root: usize,
    pub sources: &'a [Source],
    /// Items that must be written anyway are written here, if they are at hand.
    pub writes_more: bool,
    /// Other items of this index space that it shall write, if it can.
    pub siblings: SmallVec<[usize; 4]>,
}

impl<'a> Start<'a> {
    pub fn new(root: usize, sources: &'a [Source], writes_more: bool) -> Start<'a> {
        Start { root, sources, writes_more, siblings: SmallVec::new() }
    }
}

/// What a growing kernel has met and not yet decided.
#[derive(Default)]
struct Met {
    frontier: BTreeSet<usize>,
    uses: FxHashMap<usize, u32>,
    /// Items reached through elementwise operations alone: they have the root's index space.
    direct: FxHashSet<usize>,
}

impl Met {
    fn extend(&mut self, sources: &[Source], straight: bool) {
        for source in sources {
            self.frontier.insert(source.item);
            *self.uses.entry(source.item).or_default() += 1;
            if straight {
                self.direct.insert(source.item);
            }
        }
    }
}

/// Elementwise, movement and leaves: what a kernel can compute at any place it is asked for.
pub(super) fn absorbable(op: &Op) -> bool {
    match op {
        Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast(_) | Op::Gather(_) => true,
        op => is_free(op),
    }
}

/// Index arithmetic and uniforms: nothing that a kernel of its own would be worth.
fn is_free(op: &Op) -> bool {
    matches!(op, Op::Const(_) | Op::Scalar(_) | Op::Iota(_) | Op::Random { .. } | Op::Move(_))
}

impl Fuser<'_> {
    /// What the kernel reads is written by then.
    pub fn absorb(&mut self, start: &Start) -> Inside {
        let inside = self.grow(start);
        inside.loads.iter().for_each(|&item| self.keep(item));
        inside
    }

    /// Grows a kernel from its start. Items come newest first, so an item is met after all its consumers in the kernel.
    /// Commits to nothing.
    pub fn grow(&self, start: &Start) -> Inside {
        let mut barred = FxHashSet::default();
        loop {
            let inside = self.grow_without(start, &barred);
            // What is written besides must not be needed by what the kernel reads, or each would wait for the other.
            let needed = self.needed(&inside.loads, &inside.written);
            if needed.is_empty() {
                return inside;
            }
            barred.extend(needed);
        }
    }

    /// Those of `targets` without which the loads cannot be: a kernel that is placed waits for all that it reads, whichever
    /// of its results is wanted.
    pub fn needed(&self, loads: &FxHashSet<usize>, targets: &[usize]) -> Vec<usize> {
        let Some(&oldest) = targets.iter().min() else { return Vec::new() };
        // Sources are older than what they are sources of; only a kernel that is placed leads from an old item to a new
        // one.
        let oldest = oldest.min(self.oldest);
        let mut seen = FxHashSet::default();
        let mut stack: Vec<Access> =
            loads.iter().map(|&item| Access::Item(Source { item, out: 0 })).collect();
        while let Some(access) = stack.pop() {
            if matches!(access, Access::Item(source) if source.item < oldest) || !seen.insert(access) {
                continue;
            }
            if let Some(&group) = self.writer.get(&access) {
                stack.extend(&self.groups[group].reads);
            }
            if let Access::Item(Source { item, .. }) = access {
                if let Some(&(group, _)) = self.merged.get(&item) {
                    stack.extend(&self.groups[group].reads);
                }
                stack.extend(self.cone.items[item].sources.iter().map(|&source| Access::Item(source)));
            }
        }
        // What is elementwise has one output.
        let reached = |&item: &usize| seen.contains(&Access::Item(Source { item, out: 0 }));
        targets.iter().copied().filter(reached).collect()
    }

    /// Buffers that items are read from, at most: one for each output.
    pub fn buffers<'a>(&self, items: impl IntoIterator<Item = &'a usize>) -> usize {
        items.into_iter().map(|&item| self.cone.items[item].node.outs.len()).sum()
    }

    /// One kernel, whatever waits for whom.
    fn grow_without(&self, start: &Start, barred: &FxHashSet<usize>) -> Inside {
        let (cone, root) = (self.cone, start.root);
        let space = &cone.items[root].spec(0).shape;
        let mut inside = Inside::default();
        let mut met = Met::default();
        // A gather reads its first operand from memory, also where it is the root itself.
        let gathers = matches!(cone.items[root].node.op, Op::Gather(_));
        let (read, computed) = start.sources.split_at(usize::from(gathers));
        inside.loads.extend(read.iter().map(|&source| self.located(source).0.item));
        met.extend(computed, start.writes_more && !matches!(cone.items[root].node.op, Op::Move(_)));
        met.frontier.extend(&start.siblings);
        met.direct.extend(&start.siblings);
        // One storage buffer stays for the result and one for the error word.
        let room = self.limits.storage_buffers as usize - 2;
        while let Some(n) = met.frontier.pop_last() {
            let item = &cone.items[n];
            let movement = matches!(item.node.op, Op::Move(_));
            let gathers = matches!(item.node.op, Op::Gather(_));
            let uses = met.uses.get(&n).copied().unwrap_or(0);
            let computable = item.is_pending()
                && absorbable(&item.node.op)
                && !self.written.contains(&n)
                && !self.apart.contains(&n)
                && !inside.loads.contains(&n)
                && inside.items.len() < 4 * MAX_CODE;
            let read = self.buffers(&inside.loads) + self.buffers(&met.frontier);
            let buffers = read + item.sources.len() + inside.written.len();
            let fits = self.enabled && buffers <= room && inside.items.len() < MAX_CODE;
            let must_write = self.root[n] || (item.wanted && !movement) || start.siblings.contains(&n);
            let absorbed = computable
                && if must_write {
                    let here = start.writes_more
                        && fits
                        && met.direct.contains(&n)
                        && *item.spec(0).shape == **space
                        && (!movement || start.siblings.contains(&n))
                        && !gathers
                        && !barred.contains(&n);
                    if here {
                        inside.written.push(n);
                    }
                    here
                } else {
                    is_free(&item.node.op) || (fits && (uses == item.uses || self.cheap[n]))
                };
            if !absorbed {
                if uses > 0 {
                    inside.loads.insert(n);
                }
                continue;
            }
            inside.items.insert(n);
            // A gather reads its first operand from memory.
            let (read, computed) = item.sources.split_at(usize::from(gathers));
            inside.loads.extend(read.iter().map(|&source| self.located(source).0.item));
            met.extend(computed, met.direct.contains(&n) && !movement);
        }
        inside.uses = met.uses;
        inside
    }
}

impl Cone {
    /// The item behind a chain of movement.
    fn behind(&self, mut item: usize) -> usize {
        while self.items[item].is_pending() && matches!(self.items[item].node.op, Op::Move(_)) {
            item = self.items[item].sources[0].item;
        }
        item
    }
}

/// Items that several kernels may each compute for themselves: a few operations on one buffer. Not what is compared by
/// `eq` with another computed value: a contraction could change the last bit from kernel to kernel.
pub(super) fn cheap(cone: &Cone) -> Vec<bool> {
    // For each item: the one buffer it reads, if it reads any, and how many operations it takes; `None`: too many.
    let mut cost: Vec<Option<(Option<usize>, usize)>> = Vec::with_capacity(cone.items.len());
    let mut cheap = Vec::with_capacity(cone.items.len());
    for (i, item) in cone.items.iter().enumerate() {
        let op = &item.node.op;
        let in_memory = !item.is_pending() || !absorbable(op) || matches!(op, Op::Gather(_));
        let computed = item.sources.iter().try_fold((None, usize::from(!is_free(op))), |sum, source| {
            let ((buffer, code), (other, more)) = (sum, cost[source.item]?);
            let one = buffer.is_none() || other.is_none() || buffer == other;
            (one && code + more <= CHEAP_CODE).then_some((buffer.or(other), code + more))
        });
        cheap.push(in_memory || computed.is_some());
        // What several kernels want and none computes again is a buffer for them.
        cost.push(match computed {
            _ if in_memory => Some((Some(i), 0)),
            None if item.uses > 1 => Some((Some(i), 0)),
            computed => computed,
        });
    }
    for item in &cone.items {
        if item.is_pending() && matches!(item.node.op, Op::Binary(Binary::Eq)) {
            let operands: SmallVec<[usize; 2]> =
                item.sources.iter().map(|source| cone.behind(source.item)).collect();
            if operands.iter().all(|&operand| !is_free(&cone.items[operand].node.op)) {
                operands.iter().for_each(|&operand| cheap[operand] = false);
            }
        }
    }
    cheap
}
