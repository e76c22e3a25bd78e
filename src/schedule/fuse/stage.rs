//! Kernels as they run: over as few dims as can be, and long reductions in two stages.

use smallvec::SmallVec;

use super::{Access, Group};
use crate::dtype::DType;
use crate::graph::{Move, View};
use crate::limits::Limits;
use crate::schedule::emit::position;
use crate::schedule::plan::{Kernel, Program, Reduction};
use crate::schedule::split::stages;

impl Program {
    /// Reads what it reads now `from` one list of buffers from another, which takes in what it lacks.
    pub(super) fn read_from(&mut self, from: &[Access], to: &mut Vec<Access>) {
        for load in &mut self.loads {
            load.read = position(to, from[load.read]);
        }
    }
}

/// The group, in two stages where one would loop too long or leave most of the device idle; the second one comes first.
/// `scratch` has the bytes of each buffer between kernels.
pub(super) fn staged(mut group: Group, limits: &Limits, scratch: &mut Vec<usize>) -> SmallVec<[Group; 2]> {
    group.kernel.collapse();
    let Kernel::Reduce(reduction) = &mut group.kernel else { return SmallVec::from_iter([group]) };
    let (inner, program) = (reduction.inner(), &reduction.program);
    let outputs: usize = program.space[..inner].iter().product();
    let length: usize = program.space[inner..].iter().product();
    let (splits, lanes) =
        stages(limits, outputs, length, program.elements(), program.rows_are_contiguous(inner));
    (reduction.splits, reduction.lanes) = (splits, lanes);
    if splits == 1 {
        return SmallVec::from_iter([group]);
    }
    // Every first part of an output comes before the second parts: neighbours are written side by side.
    let parts =
        View::contiguous(&[splits, outputs].into()).apply(&Move::Permute(SmallVec::from_slice(&[1, 0])));
    let [second, first] = halves(group, parts.expect("strides can say a transpose"), &[1], scratch);
    let mut both = staged(second, limits, scratch);
    both.push(first);
    both
}

/// A reduction as one of partial results, which lie as the view says, over some of its dims, and before it the kernel
/// that has those for results.
pub(super) fn halves(
    mut group: Group,
    partial: View,
    dims: &[usize],
    scratch: &mut Vec<usize>,
) -> [Group; 2] {
    let Kernel::Reduce(reduction) = &mut group.kernel else { unreachable!("a reduction") };
    let (here, reduced) = reduction.results();
    let (here, program) = (here.len(), &reduction.program);
    let dtypes: SmallVec<[DType; 2]> = reduced.iter().map(|&result| program.dtype(result)).collect();
    let between = dtypes.iter().map(|dtype| {
        scratch.push(partial.shape.numel() * dtype.bytes());
        Access::Scratch(scratch.len() - 1)
    });
    let between: Vec<Access> = between.collect();
    let (mut ours, mut reads, mut epilogue) = (Vec::new(), between.clone(), reduction.epilogue.take());
    epilogue.iter_mut().for_each(|epilogue| epilogue.read_from(&group.reads, &mut reads));
    reduction.program.read_from(&group.reads, &mut ours);
    let second = Reduction {
        how: reduction.how.clone(),
        program: Program::copies(partial, &dtypes),
        dims: SmallVec::from_slice(dims),
        splits: 1,
        lanes: 1,
        epilogue,
    };
    let writes = group.writes.drain(here..).collect();
    let second = Group { kernel: Kernel::Reduce(second), reads, writes, item: group.item };
    group.reads = ours;
    group.writes.extend(between);
    [second, group]
}
