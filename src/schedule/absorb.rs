//! How far a kernel reaches: which producers it computes inside, and which it reads.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::cone::{Cone, Source};
use super::fuse::{Access, Fuser};
use crate::graph::{Binary, Op};

/// Operations in one kernel: enough for any layer, and bounded for what compiles it.
const MAX_CODE: usize = 128;

/// Operations that are recomputed rather than read.
const CHEAP_CODE: usize = 8;

/// What a kernel computes inside.
#[derive(Default)]
pub(super) struct Inside {
    pub items: FxHashSet<usize>,
    /// Those among them that it also writes.
    pub written: Vec<usize>,
}

/// What a growing kernel has met and not yet decided.
#[derive(Default)]
struct Met {
    frontier: BTreeSet<usize>,
    /// How often the kernel uses each item.
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
    /// Grows the kernel of `root` from its first sources. Items come newest first, so an item is met after all its
    /// consumers in the kernel. With `writes_more`, items that must be written anyway are written here.
    pub fn absorb(&mut self, root: usize, sources: &[Source], writes_more: bool) -> Inside {
        let mut barred = FxHashSet::default();
        loop {
            let (inside, loads) = self.grow(root, sources, writes_more, &barred);
            // What is written besides must not be needed by what the kernel reads, or each would wait for the other.
            let needed = self.needed(&loads, &inside.written);
            if needed.is_empty() {
                return inside;
            }
            barred.extend(needed);
        }
    }

    /// Those of `targets` without which the loads cannot be: a kernel that is placed waits for all that it reads, whichever
    /// of its results is wanted.
    fn needed(&self, loads: &FxHashSet<usize>, targets: &[usize]) -> Vec<usize> {
        let Some(&oldest) = targets.iter().min() else { return Vec::new() };
        // Sources are older than what they are sources of; only a kernel that is placed leads from an old item to a new one.
        let oldest = oldest.min(self.written.iter().copied().min().unwrap_or(usize::MAX));
        let mut seen = FxHashSet::default();
        let mut stack: Vec<Access> =
            loads.iter().map(|&item| Access::Item(Source { item, out: 0 })).collect();
        while let Some(access) = stack.pop() {
            if matches!(access, Access::Item(source) if source.item < oldest) || !seen.insert(access) {
                continue;
            }
            if let Some(&group) = self.writer.get(&access) {
                stack.extend(&self.out.groups[group].reads);
            }
            if let Access::Item(Source { item, .. }) = access {
                stack.extend(self.cone.items[item].sources.iter().map(|&source| Access::Item(source)));
            }
        }
        // What is elementwise has one output.
        let reached = |&item: &usize| seen.contains(&Access::Item(Source { item, out: 0 }));
        targets.iter().copied().filter(reached).collect()
    }

    /// One kernel, and what it reads.
    fn grow(
        &mut self,
        root: usize,
        sources: &[Source],
        writes_more: bool,
        barred: &FxHashSet<usize>,
    ) -> (Inside, FxHashSet<usize>) {
        let cone = self.cone;
        let space = &cone.items[root].spec(0).shape;
        let mut inside = Inside::default();
        let mut loads: FxHashSet<usize> = FxHashSet::default();
        let mut met = Met::default();
        // A gather reads its first operand from memory, also where it is the root itself.
        let gathers = matches!(cone.items[root].node.op, Op::Gather(_));
        let (read, computed) = sources.split_at(usize::from(gathers));
        for &source in read {
            loads.insert(self.operand(source).0.item);
        }
        met.extend(computed, writes_more && !matches!(cone.items[root].node.op, Op::Move(_)));
        // One storage buffer stays for the result and one for the error word.
        let room = self.limits.storage_buffers as usize - 2;
        while let Some(n) = met.frontier.pop_last() {
            let item = &cone.items[n];
            let movement = matches!(item.node.op, Op::Move(_));
            let gathers = matches!(item.node.op, Op::Gather(_));
            let computable = item.is_pending()
                && absorbable(&item.node.op)
                && !self.written.contains(&n)
                && !self.apart.contains(&n)
                && !loads.contains(&n)
                && inside.items.len() < 4 * MAX_CODE;
            let buffers = loads.len() + met.frontier.len() + item.sources.len() + inside.written.len();
            let fits = self.enabled && buffers <= room && inside.items.len() < MAX_CODE;
            let must_write = self.root[n] || (item.wanted && !movement);
            let absorbed = computable
                && if must_write {
                    let here =
                        writes_more && fits && met.direct.contains(&n) && *item.spec(0).shape == **space;
                    let here = here && !movement && !gathers && !barred.contains(&n);
                    if here {
                        inside.written.push(n);
                    }
                    here
                } else {
                    is_free(&item.node.op) || (fits && (met.uses[&n] == item.uses || self.cheap[n]))
                };
            if !absorbed {
                self.root[n] |= item.is_pending();
                loads.insert(n);
                continue;
            }
            inside.items.insert(n);
            // A gather reads its first operand from memory.
            let (read, computed) = item.sources.split_at(usize::from(gathers));
            for &source in read {
                loads.insert(self.operand(source).0.item);
            }
            met.extend(computed, met.direct.contains(&n) && !movement);
        }
        (inside, loads)
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
    for (i, item) in cone.items.iter().enumerate() {
        let op = &item.node.op;
        cost.push(if !item.is_pending() || !absorbable(op) || matches!(op, Op::Gather(_)) {
            Some((Some(i), 0))
        } else {
            item.sources.iter().try_fold((None, usize::from(!is_free(op))), |(buffer, code), source| {
                let (other, more) = cost[source.item]?;
                let one = buffer.is_none() || other.is_none() || buffer == other;
                (one && code + more <= CHEAP_CODE).then_some((buffer.or(other), code + more))
            })
        });
    }
    let mut cheap: Vec<bool> = cost.iter().map(Option::is_some).collect();
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
