//! The order of the kernels: each after those that write what it reads. What nothing waits for (an update of a
//! parameter) comes as soon as it can, so that its operands' memory is free again; small kernels of one kind that do not
//! wait for one another come together, for one dispatch.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Access, Group};
use crate::schedule::plan::{Kernel, Program, Reduction};

/// Places of a kernel that is small: its operands may well stay in memory until its like can run too.
const SMALL: usize = 1 << 18;

/// Kernels in one dispatch at the most: each adds its text to the shader.
const MOST: usize = 16;

/// Units of groups that may share a dispatch, each after those that write what it reads. The groups come newest first; a
/// kernel that writes an older item besides its own may have to move forward.
pub(super) fn in_order(mut groups: Vec<Group>, share: bool) -> Vec<Vec<Group>> {
    groups.reverse();
    let waits = Waits::new(&groups);
    let alone: Vec<Vec<usize>> = (0..groups.len()).map(|i| vec![i]).collect();
    let mut order: Vec<usize> = waits.list(&alone).concat();
    let levels = waits.levels(&order);
    waits.bring_forward(&mut order, &levels, &groups);
    let units =
        if share { units(&groups, &order, &levels) } else { order.iter().map(|&i| vec![i]).collect() };
    let units = waits.list(&units);
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    let mut take = |i: usize| groups[i].take().expect("listed once");
    units.into_iter().map(|unit| unit.into_iter().map(&mut take).collect()).collect()
}

/// Which kernels each kernel waits for.
struct Waits {
    needed: Vec<Vec<usize>>,
}

impl Waits {
    fn new(groups: &[Group]) -> Waits {
        let mut writer: FxHashMap<Access, usize> = FxHashMap::default();
        for (i, group) in groups.iter().enumerate() {
            writer.extend(group.writes.iter().map(|&access| (access, i)));
        }
        let needed = groups.iter().enumerate().map(|(i, group)| {
            let written = group.reads.iter().filter_map(|access| writer.get(access).copied());
            // The dispatches of an operation follow one another.
            let before = i.checked_sub(1).filter(|&j| groups[j].item == group.item);
            written.chain(before).filter(|&j| j != i).collect()
        });
        Waits { needed: needed.collect() }
    }

    /// The units, each after those that it waits for, and else as they come.
    fn list(&self, units: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let mut unit_of = vec![0; self.needed.len()];
        for (u, unit) in units.iter().enumerate() {
            unit.iter().for_each(|&i| unit_of[i] = u);
        }
        let mut order = Vec::new();
        let mut listed = vec![false; units.len()];
        let mut stack: Vec<usize> = (0..units.len()).rev().collect();
        let most = 2 * self.needed.len() + self.needed.iter().map(Vec::len).sum::<usize>();
        while let Some(&u) = stack.last() {
            assert!(stack.len() <= most, "two kernels wait for one another");
            let before = stack.len();
            if !listed[u] {
                let needed = units[u].iter().flat_map(|&i| &self.needed[i]).map(|&j| unit_of[j]);
                stack.extend(needed.filter(|&v| !listed[v] && v != u));
            }
            if stack.len() == before {
                stack.pop();
                if !std::mem::replace(&mut listed[u], true) {
                    order.push(units[u].clone());
                }
            }
        }
        order
    }

    /// How many kernels at the most wait for each, one after the other. Those of one level do not wait for one another,
    /// however they are put together.
    fn levels(&self, order: &[usize]) -> Vec<usize> {
        let mut levels = vec![0; order.len()];
        for &i in order.iter().rev() {
            for &j in &self.needed[i] {
                levels[j] = levels[j].max(levels[i] + 1);
            }
        }
        levels
    }

    /// Has what nothing waits for, and what comes just before it, follow the last kernel that it waits for, or that
    /// reads an operand which it may write over.
    fn bring_forward(&self, order: &mut [usize], levels: &[usize], groups: &[Group]) {
        let is_late = |i: usize| levels[i] < 2;
        let written: FxHashSet<Access> =
            groups.iter().flat_map(|group| group.writes.iter().copied()).collect();
        let mut last_read: FxHashMap<Access, usize> = FxHashMap::default();
        for (at, &i) in order.iter().enumerate().filter(|(_, i)| !is_late(**i)) {
            last_read.extend(groups[i].reads.iter().map(|&access| (access, at)));
        }
        let mut place = vec![0; order.len()];
        for (at, &i) in order.iter().enumerate() {
            let operands = groups[i].reads.iter().filter(|access| !written.contains(access));
            let read = operands.filter_map(|access| last_read.get(access).copied());
            let ready = self.needed[i].iter().map(|&j| place[j]).chain(read).max();
            place[i] = if is_late(i) { ready.unwrap_or_default() } else { at };
        }
        order.sort_by_key(|&i| place[i]);
    }
}

/// The kernels in order; small ones of one kind and level stand where the last of them did.
fn units(groups: &[Group], order: &[usize], levels: &[usize]) -> Vec<Vec<usize>> {
    let mut open: FxHashMap<(usize, String), usize> = FxHashMap::default();
    let mut units: Vec<Vec<usize>> = Vec::new();
    for &i in order {
        let Some(kind) = kind(&groups[i].kernel) else {
            units.push(vec![i]);
            continue;
        };
        let unit = open.insert((levels[i], kind), units.len());
        let mut unit = unit.map_or(Vec::new(), |at| match units[at].len() {
            MOST.. => Vec::new(),
            _ => std::mem::take(&mut units[at]),
        });
        unit.push(i);
        units.push(unit);
    }
    units.retain(|unit| !unit.is_empty());
    units
}

/// What kernels that share a dispatch have in common, so that their texts are alike; nothing of those that never do.
fn kind(kernel: &Kernel) -> Option<String> {
    let small = |program: &Program| program.space.numel() <= SMALL && !program.can_fault();
    match kernel {
        Kernel::Map(program) => {
            (small(program) && !program.is_constant()).then(|| format!("{program}; {}", program.loads.len()))
        }
        Kernel::Reduce(reduction) => {
            let Reduction { how, program, lanes, epilogue, .. } = reduction;
            let small = small(program) && epilogue.as_ref().is_none_or(small);
            let rows = program.rows_are_contiguous(reduction.inner());
            let epilogue = epilogue.as_ref().map(|program| program.to_string());
            // Lanes hand over what they have in workgroup memory, which is shared by what is of one type.
            let dtypes = program.results.iter().map(|&result| program.dtype(result)).collect::<Vec<_>>();
            let handed = (dtypes, reduction.fours().is_some());
            small.then(|| format!("{how:?} {handed:?} {program} {lanes} {rows} {epilogue:?}"))
        }
        Kernel::MatMul(..) | Kernel::Fused(_) => None,
    }
}
