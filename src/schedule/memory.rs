//! Which slot each buffer of a plan is: a new one, one whose last reader has run, or the operand's own.
//!
//! In: groups in order. Out: the plan. Results that live on take fresh slots; what lives between two kernels shares
//! slots; a kernel writes over an operand that nothing needs afterwards, if it reads each element where it writes one.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::cone::{Cone, Source};
use super::fuse::{Access, Group, Groups};
use super::plan::{Kernel, Placed, Plan, Slot, Step};
use crate::graph::View;
use crate::limits::Limits;

pub(super) fn plan(cone: &Cone, groups: Groups, donatable: &[bool], limits: &Limits) -> Plan {
    let alive = cone.alive(|item| groups.written.contains(&item) || groups.aliases.contains_key(&item));
    let results = results(cone, &groups, &alive);
    let mut memory = Memory {
        cone,
        scratch: &groups.scratch,
        lasting: results
            .iter()
            .flat_map(|result| result.outs.iter().map(|(source, _)| Access::Item(*source)))
            .collect(),
        constants: FxHashSet::default(),
        last_read: FxHashMap::default(),
        slot_of: FxHashMap::default(),
        idle: Vec::new(),
        bindings: limits.storage_buffers as usize,
        plan: Plan::default(),
    };
    for (i, unit) in groups.units.iter().enumerate() {
        memory.last_read.extend(unit.iter().flat_map(|group| &group.reads).map(|&access| (access, i)));
    }
    for (i, mut unit) in groups.units.into_iter().enumerate() {
        match unit.pop_if(|group| memory.is_constant(group)) {
            Some(group) => memory.constant(group),
            None => memory.unit(i, unit, |item| donatable[item] && !alive[item]),
        }
    }
    for result in results {
        let outs =
            result.outs.into_iter().map(|(source, view)| (memory.slot(Access::Item(source)), view)).collect();
        memory.plan.results.push(Placed { item: result.item, outs });
    }
    memory.plan
}

/// An item that has values afterwards, and whose memory they are.
struct Kept {
    item: usize,
    outs: SmallVec<[(Source, View); 1]>,
}

fn results(cone: &Cone, groups: &Groups, alive: &[bool]) -> Vec<Kept> {
    let pending = (0..cone.items.len()).filter(|&item| cone.items[item].is_pending() && alive[item]);
    pending
        .filter_map(|item| {
            let outs = match groups.aliases.get(&item) {
                Some(outs) => outs.clone(),
                None if groups.written.contains(&item) => (0..cone.items[item].node.outs.len() as u8)
                    .map(|out| (Source { item, out }, View::contiguous(&cone.items[item].spec(out).shape)))
                    .collect(),
                None => return None,
            };
            Some(Kept { item, outs })
        })
        .collect()
}

/// A slot that may be written over, by a result of the same size and element type: a kernel binds a buffer once, as an
/// array of one type.
struct Donor {
    slot: usize,
    fit: (usize, Option<&'static str>),
}

impl Group {
    /// The item of each buffer that is written; memory between two kernels is part of what the group is for.
    fn items(&self) -> SmallVec<[usize; 2]> {
        let item = |access: &Access| if let Access::Item(source) = access { source.item } else { self.item };
        self.writes.iter().map(item).collect()
    }
}

struct Memory<'a> {
    cone: &'a Cone,
    scratch: &'a [usize],
    /// What results lie in.
    lasting: FxHashSet<Access>,
    constants: FxHashSet<Access>,
    /// The last of the units that read each buffer.
    last_read: FxHashMap<Access, usize>,
    slot_of: FxHashMap<Access, usize>,
    /// Slots whose last reader has run.
    idle: Vec<usize>,
    /// How many buffers a dispatch can bind.
    bindings: usize,
    plan: Plan,
}

/// Bytes of a constant that is worth keeping.
const SMALL: usize = 1 << 16;

impl Memory<'_> {
    /// Whether a kernel computes the same in every run, and nobody else's.
    fn is_constant(&self, group: &Group) -> bool {
        let kept = |access| !self.lasting.contains(access) && self.bytes(*access) <= SMALL;
        matches!(&group.kernel, Kernel::Map(program) if program.is_constant())
            && group.writes.iter().all(kept)
    }

    /// Moves a kernel to the plan's constants.
    fn constant(&mut self, group: Group) {
        let mut writes = SmallVec::new();
        for &access in &group.writes {
            let bytes = self.bytes(access);
            let constants = self.plan.constants.get_or_insert_default();
            writes.push(constants.slots.len());
            self.plan.slots.push(Slot::Constant(constants.slots.len()));
            constants.slots.push(Slot::Fresh { bytes });
            self.slot_of.insert(access, self.plan.slots.len() - 1);
            self.constants.insert(access);
        }
        let (items, item) = (group.items(), group.item);
        let step = Step { kernel: group.kernel, reads: SmallVec::new(), writes, items, item, shares: false };
        self.plan.constants.get_or_insert_default().steps.push(step);
    }

    /// Kernels that may share dispatches: as many do as a dispatch can bind the buffers of. None of them may write over what another
    /// reads, nor where it writes.
    fn unit(&mut self, at: usize, unit: Vec<Group>, donatable: impl Fn(usize) -> bool) {
        let readers = |access| unit.iter().filter(|group| group.reads.contains(&access)).count();
        let mut idle = Vec::new();
        let mut bound = usize::MAX; // buffers of the dispatch so far: the first kernel begins one
        let mut steps = Vec::new();
        for group in &unit {
            let reads: SmallVec<[usize; 8]> = group.reads.iter().map(|&access| self.slot(access)).collect();
            let mut donors = self.donors(at, group, |access| readers(access) == 1, &donatable);
            let writes: SmallVec<[usize; 2]> =
                group.writes.iter().map(|&access| self.place(access, &mut donors)).collect();
            // Temporaries that nothing reads any more, unless they were written over.
            for (&access, &slot) in group.reads.iter().zip(&reads) {
                let stays = self.lasting.contains(&access) || self.constants.contains(&access);
                let temporary = self.pending(access) && !stays;
                if temporary
                    && self.last_read[&access] == at
                    && !group.writes.iter().zip(&writes).any(|(&other, &to)| to == slot && other != access)
                    && !idle.contains(&slot)
                {
                    idle.push(slot);
                }
            }
            let bindings = reads.iter().chain(&writes).collect::<FxHashSet<_>>().len();
            bound = bound.saturating_add(bindings);
            let shares = bound <= self.bindings;
            if !shares {
                bound = bindings;
            }
            steps.push((reads, writes, shares));
        }
        self.idle.extend(idle);
        for (group, (reads, writes, shares)) in unit.into_iter().zip(steps) {
            let (items, item) = (group.items(), group.item);
            self.plan.steps.push(Step { kernel: group.kernel, reads, writes, items, item, shares });
        }
    }

    /// Operands that the kernel may write over: read for the last time, and only at the index that is written.
    fn donors(
        &self,
        at: usize,
        group: &Group,
        is_own: impl Fn(Access) -> bool,
        donatable: impl Fn(usize) -> bool,
    ) -> Vec<Donor> {
        let mut donors = Vec::new();
        for (read, &access) in group.reads.iter().enumerate() {
            let ours = match access {
                Access::Item(source) if !self.pending(access) => donatable(source.item) && self.whole(source),
                _ => true,
            };
            // What a result is a view of stays as it is.
            let free = ours && !self.lasting.contains(&access) && !self.constants.contains(&access);
            if free && self.last_read[&access] == at && is_own(access) && group.kernel.reads_in_step(read) {
                let fit = (self.bytes(access), self.storage(access));
                donors.push(Donor { slot: self.slot_of[&access], fit });
            }
        }
        // What goes on from step to step keeps its place; temporaries are for other temporaries.
        donors.sort_by_key(|donor| matches!(self.plan.slots[donor.slot], Slot::Fresh { .. }));
        donors
    }

    /// The slot that a kernel writes.
    fn place(&mut self, access: Access, donors: &mut Vec<Donor>) -> usize {
        if let Some(&slot) = self.slot_of.get(&access) {
            return slot; // an earlier dispatch of the same operation wrote part of it
        }
        let bytes = self.bytes(access);
        let lasting = self.lasting.contains(&access);
        let fit = (bytes, self.storage(access));
        let slot = if let Some(i) = donors.iter().position(|donor| donor.fit == fit) {
            donors.remove(i).slot
        } else if let Some(i) = self.idle_of(bytes).filter(|_| !lasting) {
            self.idle.swap_remove(i)
        } else {
            self.plan.slots.push(Slot::Fresh { bytes });
            self.plan.slots.len() - 1
        };
        self.slot_of.insert(access, slot);
        slot
    }

    /// The smallest idle slot that is large enough, and not twice as large.
    fn idle_of(&self, bytes: usize) -> Option<usize> {
        let size = |slot: usize| match self.plan.slots[slot] {
            Slot::Fresh { bytes } => bytes,
            Slot::Input(_) | Slot::Constant(_) => 0,
        };
        let fits = |slot: usize| size(slot) >= bytes && size(slot) <= 2 * bytes.max(256);
        (0..self.idle.len()).filter(|&i| fits(self.idle[i])).min_by_key(|&i| size(self.idle[i]))
    }

    /// The slot of a buffer that exists: an input's, or one that was written. Values of size 0 are never written.
    fn slot(&mut self, access: Access) -> usize {
        if let Some(&slot) = self.slot_of.get(&access) {
            return slot;
        }
        let slot = match access {
            Access::Item(source) if !self.pending(access) => Slot::Input(source),
            _ => Slot::Fresh { bytes: self.bytes(access) },
        };
        self.plan.slots.push(slot);
        self.slot_of.insert(access, self.plan.slots.len() - 1);
        self.plan.slots.len() - 1
    }

    fn pending(&self, access: Access) -> bool {
        match access {
            Access::Item(source) => self.cone.items[source.item].is_pending(),
            Access::Scratch(_) => true,
        }
    }

    fn bytes(&self, access: Access) -> usize {
        match access {
            Access::Item(source) => self.cone.spec(source).bytes(),
            Access::Scratch(i) => self.scratch[i],
        }
    }

    /// The type of its elements in a shader; memory between two kernels has none until then, and is no donor's match.
    fn storage(&self, access: Access) -> Option<&'static str> {
        match access {
            Access::Item(source) => Some(self.cone.spec(source).dtype.storage()),
            Access::Scratch(_) => None,
        }
    }

    /// Whether an input's value fills its storage from the start.
    fn whole(&self, source: Source) -> bool {
        self.cone.items[source.item]
            .values
            .as_ref()
            .is_some_and(|values| values[source.out as usize].view.is_contiguous())
    }
}
