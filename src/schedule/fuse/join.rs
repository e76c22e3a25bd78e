//! Kernels over one index space that were placed apart, as one: elementwise kernels, and with them a reduction, which
//! writes each of their results where it comes by. A reduction that shares something with one over fewer of its dims goes
//! on from the partial results that the other's kernel has of it.
//!
//! In: groups whose programs have the dims of their items. Out: fewer of them.

use std::cmp::Reverse;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::{Access, Group, Groups, stage};
use crate::graph::View;
use crate::limits::Limits;
use crate::schedule::absorb::MAX_CODE;
use crate::schedule::cone::{Cone, Source};
use crate::schedule::emit::position;
use crate::schedule::fours::MANY;
use crate::schedule::plan::{Inst, Kernel, Load, Program, Reduction, Reg};

/// Joins each kernel with those that it shares something with, the one that it shares most with first.
pub(super) fn join(list: Vec<Group>, groups: &mut Groups, cone: &Cone, limits: &Limits) -> Vec<Group> {
    let list = list.into_iter().map(Some).collect();
    let mut apart = Apart { groups: list, writer: FxHashMap::default(), limits };
    // What several dispatches of an operation write is there after the last, which is listed first.
    (0..apart.groups.len()).rev().for_each(|i| apart.note_writes(i));
    for at in 0..apart.groups.len() {
        while let Some((other, joined)) = apart.partner(at) {
            apart.groups[other] = None;
            apart.groups[at] = Some(joined);
            apart.note_writes(at);
        }
    }
    for i in 0..apart.groups.len() {
        if let Some((j, rest, joined)) = apart.with_fewer_dims(i, &mut groups.scratch) {
            (apart.groups[i], apart.groups[j]) = (Some(rest), Some(joined));
            [i, j].into_iter().for_each(|i| apart.note_writes(i));
        }
    }
    let mut joined: Vec<Group> = apart.groups.into_iter().flatten().collect();
    forget_unread(&mut joined, groups, cone);
    joined
}

/// What no kernel reads from memory any more, and nobody wants, is not written.
fn forget_unread(list: &mut [Group], groups: &mut Groups, cone: &Cone) {
    let read = list.iter().flat_map(|group| group.reads.iter().copied());
    let aliased = groups.aliases.values().flatten().map(|(source, _)| Access::Item(*source));
    let needed: FxHashSet<Access> = read.chain(aliased).collect();
    for group in list {
        let here = group.by_place().map_or(0, |(_, here)| here);
        for n in (0..here).rev() {
            let Access::Item(Source { item, .. }) = group.writes[n] else { continue };
            if needed.contains(&group.writes[n]) || cone.items[item].wanted {
                continue;
            }
            if let Kernel::Map(program) | Kernel::Reduce(Reduction { program, .. }) = &mut group.kernel {
                program.results.remove(n);
            }
            group.writes.remove(n);
            groups.written.remove(&item);
        }
        if let Kernel::Reduce(reduction) = &mut group.kernel {
            let here = reduction.results().0.len();
            reduction.program.layout.take_if(|_| here == 0);
        }
    }
}

/// Elements of a sum from which on its results are few, beside what is summed.
const FEW: usize = 16;

/// The kernels by now.
struct Apart<'a> {
    groups: Vec<Option<Group>>,
    /// Which of them writes a buffer.
    writer: FxHashMap<Access, usize>,
    limits: &'a Limits,
}

impl Group {
    /// The program over the kernel's index space, and how many of its results are written place by place.
    fn by_place(&self) -> Option<(&Program, usize)> {
        match &self.kernel {
            Kernel::Map(program) => Some((program, program.results.len())),
            Kernel::Reduce(reduction) => Some((&reduction.program, reduction.results().0.len())),
            Kernel::MatMul(..) | Kernel::Fused(_) => None,
        }
    }

    /// Whether what the kernel reads of another's results is each time what was written at the same place.
    fn reads_in_step(&self, other: &Group) -> bool {
        let (Some((program, _)), Some((_, here))) = (self.by_place(), other.by_place()) else { return false };
        let writes = |read: usize| other.writes.contains(&self.reads[read]);
        let at_hand =
            |load: &Load| other.writes[..here].contains(&self.reads[load.read]) && load.view.is_contiguous();
        let gathers =
            |inst: &Inst| matches!(inst, Inst::Gather { load, .. } if writes(program.loads[*load].read));
        let epilogue = self.kernel.epilogue();
        program.loads.iter().filter(|load| writes(load.read)).all(at_hand)
            && !program.code.iter().any(gathers)
            && !epilogue.is_some_and(|epilogue| epilogue.loads.iter().any(|load| writes(load.read)))
    }

    /// Whether the kernel reads anything that another writes.
    fn follows(&self, other: &Group) -> bool {
        self.reads.iter().any(|read| other.writes.contains(read))
    }

    /// How many elements at each place two kernels both read, or one of them writes and the other reads.
    fn shares(&self, other: &Group) -> usize {
        let (Some((ours, _)), Some((theirs, _))) = (self.by_place(), other.by_place()) else { return 0 };
        if ours.space != theirs.space || ours.is_constant() || theirs.is_constant() {
            return 0;
        }
        let written =
            |group: &Group, load: &Load, writer: &Group| writer.writes.contains(&group.reads[load.read]);
        let common = |load: &&Load| {
            let read = |other_load: &Load| {
                other.reads[other_load.read] == self.reads[load.read] && other_load.view == load.view
            };
            written(self, load, other) || theirs.loads.iter().any(read)
        };
        ours.loads.iter().filter(common).count()
            + theirs.loads.iter().filter(|load| written(other, load, self)).count()
    }
}

impl Apart<'_> {
    fn note_writes(&mut self, i: usize) {
        self.writer.extend(self.groups[i].iter().flat_map(|group| &group.writes).map(|&access| (access, i)));
    }

    /// Another kernel that a kernel can be one with, and that one.
    fn partner(&self, i: usize) -> Option<(usize, Group)> {
        let group = self.groups[i].as_ref()?;
        let elementwise = |group: &Group| matches!(group.kernel, Kernel::Map(_));
        let fits = |other: &Group| elementwise(group) || elementwise(other);
        self.sharing(i, fits)
            .into_iter()
            .find_map(|(j, other)| Some((j, self.joined((i, group), (j, other))?)))
    }

    /// The kernels that share something with another, those that share most first.
    fn sharing(&self, i: usize, fits: impl Fn(&Group) -> bool) -> Vec<(usize, &Group)> {
        let Some(group) = &self.groups[i] else { return Vec::new() };
        let others = self.groups.iter().enumerate().filter(|(j, _)| *j != i);
        let others = others.filter_map(|(j, other)| Some((j, other.as_ref()?)));
        let shares = others.map(|(j, other)| (group.shares(other), j, other));
        let mut shares: Vec<_> = shares.filter(|(shared, _, other)| *shared > 0 && fits(other)).collect();
        shares.sort_by_key(|&(shared, ..)| Reverse(shared));
        shares.into_iter().map(|(_, j, other)| (j, other)).collect()
    }

    /// For a reduction: another one over fewer of its dims, what is left to be done once that one's kernel has partial
    /// results of it, and that kernel.
    fn with_fewer_dims(&self, i: usize, scratch: &mut Vec<usize>) -> Option<(usize, Group, Group)> {
        let group = self.groups[i].as_ref()?;
        let Kernel::Reduce(Reduction { dims, program: Program { space, .. }, .. }) = &group.kernel else {
            return None;
        };
        let fits = |other: &Group| match &other.kernel {
            Kernel::Reduce(Reduction { dims: fewer, .. }) => {
                let length: usize = fewer.iter().map(|&dim| space[dim]).product();
                fewer.len() < dims.len() && fewer.iter().all(|dim| dims.contains(dim)) && length >= FEW
            }
            _ => false,
        };
        if space.numel() < MANY {
            return None;
        }
        self.sharing(i, fits).into_iter().find_map(|(j, other)| {
            let Kernel::Reduce(Reduction { dims: fewer, .. }) = &other.kernel else { return None };
            let kept: Vec<usize> = (0..space.rank()).filter(|dim| !fewer.contains(dim)).collect();
            let partial = View::contiguous(&kept.iter().map(|&dim| space[dim]).collect());
            let left: Vec<usize> = (0..kept.len()).filter(|&n| dims.contains(&kept[n])).collect();
            let known = scratch.len();
            let [rest, mut first] = stage::halves(group.clone(), partial, &left, scratch);
            if let Kernel::Reduce(reduction) = &mut first.kernel {
                (reduction.dims, first.item) = (fewer.clone(), other.item);
            }
            // What waits for the result itself has to wait for what is left, too.
            let waits = other.follows(&rest);
            let joined = if waits { None } else { self.joined((i, &first), (j, other)) };
            if joined.is_none() {
                scratch.truncate(known);
            }
            Some((j, rest, joined?))
        })
    }

    /// Two kernels as one, if neither waits for the other to have come further.
    fn joined(&self, (i, a): (usize, &Group), (j, b): (usize, &Group)) -> Option<Group> {
        let (first, second) = if a.follows(b) { (b, a) } else { (a, b) };
        let fits = second.reads_in_step(first) && !self.is_behind(i, j) && !self.is_behind(j, i);
        fits.then(|| joined(first, second, self.limits))?
    }

    /// Whether a kernel comes after another by way of a third.
    fn is_behind(&self, later: usize, earlier: usize) -> bool {
        let mut seen = FxHashSet::default();
        let mut stack: Vec<usize> = self.sources(later).filter(|&i| i != earlier).collect();
        while let Some(i) = stack.pop() {
            if i == earlier {
                return true;
            }
            if seen.insert(i) {
                stack.extend(self.sources(i));
            }
        }
        false
    }

    /// The kernels that must come before.
    fn sources(&self, i: usize) -> impl Iterator<Item = usize> {
        let group = self.groups[i].as_ref().expect("it is still there");
        // The dispatches of an operation follow one another; the later ones are listed first.
        let before = self.groups.get(i + 1).and_then(Option::as_ref).filter(|other| other.item == group.item);
        let read = group.reads.iter().filter_map(|access| self.writer.get(access).copied());
        read.chain(before.map(|_| i + 1)).filter(move |&j| j != i)
    }
}

/// The second kernel goes on where the first has come to; if both reduce, then over the same dims, and one of them has no
/// epilogue. `None`: the adapter or the compiler could not take it, or it would be slower.
fn joined(first: &Group, second: &Group, limits: &Limits) -> Option<Group> {
    let ((one, here), (other, there)) = (first.by_place()?, second.by_place()?);
    let (mut program, mut reads) = (one.clone(), first.reads.clone());
    let at_hand = first.writes[..here].iter().copied().zip(one.results.iter().copied()).collect();
    let registers = program.go_on(other, &mut reads, &second.reads, &at_hand);
    let others: SmallVec<[Reg; 2]> = other.results.iter().map(|&result| registers[result]).collect();
    // What reduces comes first, and of that what an epilogue goes on from.
    let mut parts = [(first, here, &one.results[..]), (second, there, &others[..])];
    parts.sort_by_key(|(group, ..)| {
        (!matches!(group.kernel, Kernel::Reduce(_)), group.kernel.epilogue().is_none())
    });
    let mut results: SmallVec<[Reg; 2]> = SmallVec::new();
    let mut writes: SmallVec<[Access; 2]> = SmallVec::new();
    for (group, here, registers) in parts {
        results.extend_from_slice(&registers[..here]);
        writes.extend_from_slice(&group.writes[..here]);
    }
    let here = results.len();
    let mut whole: Option<Reduction> = None;
    for (group, here, registers) in parts {
        let Kernel::Reduce(part) = &group.kernel else { continue };
        results.extend_from_slice(&registers[here..]);
        writes.extend_from_slice(&group.writes[here..]);
        match &mut whole {
            None => {
                let whole = whole.insert(part.clone());
                whole.epilogue.iter_mut().for_each(|epilogue| epilogue.read_from(&group.reads, &mut reads));
            }
            Some(whole) => {
                for (n, &result) in (whole.how.len()..).zip(&registers[here..]) {
                    let dtype = program.dtype(result);
                    whole.epilogue.iter_mut().for_each(|epilogue| epilogue.write_core(n, dtype));
                }
                whole.how.extend_from_slice(&part.how);
            }
        }
    }
    program.results = results;
    let code = program.code.len();
    let mut buffers = reads.len() + writes.len() + 1; // the error word
    let kernel = match whole {
        None => Kernel::Map(program),
        Some(mut reduction) => {
            program.layout = (here > 0).then(|| Box::new(View::contiguous(&program.space)));
            reduction.program = program;
            // A second stage may read a buffer for each of its results.
            let sums = reduction.how.len();
            buffers = buffers.max(sums + writes.len() - here + 1);
            buffers += if reduction.epilogue.is_some() { sums } else { 0 };
            Kernel::Reduce(reduction)
        }
    };
    let fits = buffers <= limits.storage_buffers as usize && code <= MAX_CODE;
    let fast = fits && is_as_fast(&kernel, [&first.kernel, &second.kernel], one.space.numel());
    fast.then(|| Group { kernel, reads, writes, item: parts[0].0.item })
}

/// Whether a kernel goes by fours if one of its parts does, and over rows if the part that reduces does.
fn is_as_fast(kernel: &Kernel, parts: [&Kernel; 2], places: usize) -> bool {
    let collapsed = |kernel: &Kernel| {
        let mut kernel = kernel.clone();
        kernel.collapse();
        kernel
    };
    let over_rows = |kernel: &Kernel| match kernel {
        Kernel::Reduce(reduction) => Some(reduction.program.rows_are_contiguous(reduction.inner())),
        _ => None,
    };
    let (kernel, parts) = (collapsed(kernel), parts.map(collapsed));
    let slower =
        places >= MANY && kernel.fours().is_none() && parts.iter().any(|part| part.fours().is_some());
    !slower && parts.iter().filter_map(over_rows).all(|rows| over_rows(&kernel) == Some(rows))
}

impl Program {
    /// Appends another program over the same space, to which what is `at_hand` need not be read. Gives its registers.
    fn go_on(
        &mut self,
        other: &Program,
        reads: &mut Vec<Access>,
        others: &[Access],
        at_hand: &FxHashMap<Access, Reg>,
    ) -> Vec<Reg> {
        let mut registers: Vec<Reg> = Vec::with_capacity(other.code.len());
        for inst in &other.code {
            let known = match inst {
                Inst::Load(i) => at_hand.get(&others[other.loads[*i].read]).copied(),
                _ => None,
            };
            let register = known.unwrap_or_else(|| {
                let load = |i: usize| {
                    let load = &other.loads[i];
                    let read = position(reads, others[load.read]);
                    position(&mut self.loads, Load { read, ..load.clone() })
                };
                let inst = inst.clone().renamed(|register| registers[register], load);
                let same = |known: &Inst| known.is_same(&inst);
                self.code.iter().position(same).unwrap_or_else(|| {
                    self.code.push(inst);
                    self.code.len() - 1
                })
            });
            registers.push(register);
        }
        registers
    }
}
