//! A plan: what to run, as plain data. No buffers, no device, no user's numbers; it can be printed, compared, kept.

use std::fmt;

use smallvec::SmallVec;

use super::cone::Source;
use crate::dtype::DType;
use crate::graph::{Binary, Move, Reduce, Unary, View};
use crate::ops::Launch;
use crate::shape::Shape;

/// Kernels in order, the slots they work on, and where results lie.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    pub slots: Vec<Slot>,
    /// The items that have values afterwards.
    pub results: Vec<Placed>,
    /// What depends on nothing: it is run once, when the plan is made, and its slots are kept with it.
    pub constants: Option<Box<Plan>>,
}

/// One kernel.
#[derive(Debug)]
pub(crate) struct Step {
    pub kernel: Kernel,
    /// Slots that the kernel reads, as the kernel's loads number them.
    pub reads: SmallVec<[usize; 8]>,
    /// Slots that it writes.
    pub writes: SmallVec<[usize; 2]>,
    /// The item of each of them.
    pub items: SmallVec<[usize; 2]>,
    /// The item whose name and line stand for the kernel.
    pub item: usize,
    /// Whether it shares the dispatch of the step before it.
    pub shares: bool,
}

/// One buffer of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The storage of a value that is there already.
    Input(Source),
    /// Taken from the pool.
    Fresh { bytes: usize },
    /// A slot of the plan's constants.
    Constant(usize),
}

/// Where the outputs of an item lie.
#[derive(Debug)]
pub(crate) struct Placed {
    pub item: usize,
    pub outs: SmallVec<[(usize, View); 1]>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kernel {
    /// Every element of the program's space, once.
    Map(Program),
    /// The program's value combined over the inner dims of its space.
    Reduce(Reduction),
    /// A product, and what is done with each element before it is written.
    MatMul(MatMul, Option<Program>),
    /// A dispatch of a fused operation.
    Fused(Box<Launch>),
}

/// Straight-line code over an index space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    /// Collapsed: neighbouring dims that every view treats as one are one.
    pub space: Shape,
    pub loads: Vec<Load>,
    pub code: Vec<Inst>,
    /// The registers that are the results.
    pub results: SmallVec<[Reg; 2]>,
    /// Where results that a reduction writes place by place lie, if there are any.
    pub layout: Option<Box<View>>,
}

/// Reads one element of a buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Load {
    /// Which of the step's reads.
    pub read: usize,
    pub dtype: DType,
    pub view: View,
}

/// A register is the result of the instruction of this number.
pub(crate) type Reg = usize;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Inst {
    Load(usize),
    /// What the reduction or product has come to at this place: its n-th result.
    Core(usize, DType),
    /// The element at the index in a register, counted in `stride` from where the load's view points.
    Gather {
        item: usize,
        load: usize,
        index: Reg,
        size: usize,
        stride: isize,
    },
    Const(f64, DType),
    /// The user's number on this item.
    Scalar(usize, DType),
    /// An integer that the view gives to each place: an index, not an element.
    Index(View),
    /// The random number of this item whose linear index the view gives.
    Random(usize, View),
    Unary(Unary, Reg, DType),
    Binary(Binary, Reg, Reg, DType),
    Where(Reg, Reg, Reg),
    Cast(Reg, DType),
    /// Zero outside the view's mask.
    Mask(View, Reg, DType),
    /// A fault unless the index in the register is below the size.
    Check {
        item: usize,
        index: Reg,
        size: usize,
    },
}

impl Inst {
    /// The same with other names for its registers and its load.
    pub fn renamed(mut self, register: impl Fn(Reg) -> Reg, load: impl FnOnce(usize) -> usize) -> Inst {
        match &mut self {
            Inst::Load(i) => *i = load(*i),
            Inst::Gather { load: i, index, .. } => (*i, *index) = (load(*i), register(*index)),
            Inst::Unary(_, x, _) | Inst::Cast(x, _) | Inst::Mask(_, x, _) | Inst::Check { index: x, .. } => {
                *x = register(*x);
            }
            Inst::Binary(_, a, b, _) => (*a, *b) = (register(*a), register(*b)),
            Inst::Where(condition, a, b) => {
                (*condition, *a, *b) = (register(*condition), register(*a), register(*b));
            }
            Inst::Core(..) | Inst::Const(..) | Inst::Scalar(..) | Inst::Index(_) | Inst::Random(..) => {}
        }
        self
    }

    /// Whether it gives the same: zero has two signs.
    pub fn is_same(&self, other: &Inst) -> bool {
        match (self, other) {
            (Inst::Const(x, dtype), Inst::Const(y, kind)) => x.to_bits() == y.to_bits() && dtype == kind,
            _ => self == other,
        }
    }
}

/// A reduction, or one stage of it: each of the program's last results by itself. Those before them are written place
/// by place, before all else that the kernel writes.
#[derive(Clone, Debug)]
pub(crate) struct Reduction {
    pub how: SmallVec<[Reduce; 2]>,
    pub program: Program,
    /// The dims of the program's space that are reduced: in a plan the last ones.
    pub dims: SmallVec<[usize; 4]>,
    /// Parts into which each output's elements are cut; each writes a partial result, after those of the parts before it.
    pub splits: usize,
    /// Invocations that share one partial result.
    pub lanes: u32,
    /// What is done with the results before they are written; without it they are written as they are.
    pub epilogue: Option<Program>,
}

/// `C[z] = A[z] B[z]` with any strides; `splits` partial products over parts of K follow one another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MatMul {
    /// Two batch dims, the outer one first.
    pub batch: [usize; 2],
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Matrix,
    pub b: Matrix,
    pub splits: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Matrix {
    /// Which of the step's reads.
    pub read: usize,
    pub offset: usize,
    pub batch: [usize; 2],
    pub row: usize,
    pub col: usize,
}

impl Reduction {
    /// The first dim of the program's space that is reduced.
    pub fn inner(&self) -> usize {
        self.program.space.rank() - self.dims.len()
    }

    /// The results that are written place by place, and those that are reduced.
    pub fn results(&self) -> (&[Reg], &[Reg]) {
        self.program.results.split_at(self.program.results.len() - self.how.len())
    }

    /// Elements that each part takes: fours stay fours. Parts a power of two apart would take turns in the same few
    /// lines of a cache.
    pub fn part(&self) -> usize {
        let length: usize = self.program.space[self.inner()..].iter().product();
        let part = length.div_ceil(self.splits).next_multiple_of(4);
        if self.splits > 1 && part.is_multiple_of(1024) { part + 16 } else { part }
    }
}

impl MatMul {
    /// Steps of K that each part takes: fours stay fours.
    pub fn part(&self) -> usize {
        self.k.div_ceil(self.splits).next_multiple_of(16)
    }
}

impl Matrix {
    pub fn transposed(self) -> Matrix {
        Matrix { row: self.col, col: self.row, ..self }
    }
}

impl Kernel {
    /// With dims in the order in which it goes through them, and as few as can be.
    pub fn collapse(&mut self) {
        match self {
            Kernel::Map(program) => {
                program.collapse(usize::MAX);
            }
            Kernel::Reduce(Reduction { program, dims, .. }) => {
                let outer: SmallVec<[usize; 4]> =
                    (0..program.space.rank()).filter(|dim| !dims.contains(dim)).collect();
                program.permute(&[&outer[..], dims].concat());
                let inner = program.collapse(outer.len());
                *dims = (inner..program.space.rank()).collect();
            }
            Kernel::MatMul(..) | Kernel::Fused(_) => {}
        }
        if let Some(epilogue) = self.epilogue_mut() {
            epilogue.collapse(usize::MAX);
        }
    }

    /// What is done with the results before they are written.
    pub fn epilogue(&self) -> Option<&Program> {
        match self {
            Kernel::Reduce(Reduction { epilogue, .. }) | Kernel::MatMul(_, epilogue) => epilogue.as_ref(),
            Kernel::Map(_) | Kernel::Fused(_) => None,
        }
    }

    /// [`epilogue`](Self::epilogue), to be changed.
    pub fn epilogue_mut(&mut self) -> Option<&mut Program> {
        match self {
            Kernel::Reduce(Reduction { epilogue, .. }) | Kernel::MatMul(_, epilogue) => epilogue.as_mut(),
            Kernel::Map(_) | Kernel::Fused(_) => None,
        }
    }

    /// Whether the kernel reads this only at the place that it writes, so that it may write over it.
    pub fn reads_in_step(&self, read: usize) -> bool {
        match self {
            Kernel::Map(program) => program.reads_in_step(read),
            // The epilogue comes after what is written place by place.
            Kernel::Reduce(Reduction { program, epilogue, .. }) if program.layout.is_some() => {
                let epilogues = |epilogue: &Program| epilogue.loads.iter().any(|load| load.read == read);
                program.reads_in_step(read) && !epilogue.as_ref().is_some_and(epilogues)
            }
            Kernel::Reduce(Reduction { program, epilogue: Some(epilogue), .. }) => {
                program.loads.iter().all(|load| load.read != read) && epilogue.reads_in_step(read)
            }
            Kernel::MatMul(MatMul { a, b, .. }, Some(epilogue)) => {
                a.read != read && b.read != read && epilogue.reads_in_step(read)
            }
            Kernel::Reduce(_) | Kernel::MatMul(..) | Kernel::Fused(_) => false,
        }
    }
}

impl Plan {
    /// The steps of each dispatch.
    pub fn dispatches(&self) -> impl Iterator<Item = &[Step]> {
        self.steps.chunk_by(|_, next| next.shares)
    }

    /// Bytes of all slots that a run takes from the pool.
    pub fn fresh_bytes(&self) -> u64 {
        let fresh =
            self.slots.iter().map(|slot| if let Slot::Fresh { bytes } = slot { *bytes as u64 } else { 0 });
        fresh.sum()
    }

    /// Bytes that are kept with it.
    pub fn constant_bytes(&self) -> u64 {
        self.constants.as_ref().map_or(0, |plan| plan.fresh_bytes())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let fresh = self.slots.iter().filter(|slot| matches!(slot, Slot::Fresh { .. })).count();
        let (kernels, dispatches) = (self.steps.len(), self.dispatches().count());
        let (results, bytes) = (self.results.len(), self.fresh_bytes());
        write!(f, "{kernels} kernels in {dispatches} dispatches, ")?;
        write!(f, "{results} results, {fresh} buffers of {bytes} bytes in all")
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Kernel::Map(program) => write!(f, "elementwise {:?}: {}", program.space, program),
            Kernel::Reduce(reduction) => {
                let Reduction { how, program, splits, epilogue, .. } = reduction;
                let (outer, reduced) = program.space.split_at(reduction.inner());
                write!(f, "reduce {how:?} {outer:?} of {reduced:?} in {splits} parts: {program}")?;
                match reduction.results().0.len() {
                    0 => {}
                    written => write!(f, ", {written} written place by place")?,
                }
                epilogue.as_ref().map_or(Ok(()), |epilogue| write!(f, ", then {epilogue}"))
            }
            Kernel::MatMul(MatMul { batch, m, n, k, splits, .. }, epilogue) => {
                write!(f, "matmul {} x [{m}, {k}] x [{k}, {n}] in {splits} parts", batch[0] * batch[1])?;
                epilogue.as_ref().map_or(Ok(()), |epilogue| write!(f, ", then {epilogue}"))
            }
            Kernel::Fused(launch) => write!(f, "fused, {} workgroups", launch.workgroups),
        }
    }
}

impl fmt::Display for Program {
    /// The names of its operations.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names = self.code.iter().filter_map(|inst| match inst {
            Inst::Unary(op, ..) => Some(op.row().name),
            Inst::Binary(op, ..) => Some(op.row().name),
            Inst::Where(..) => Some("where"),
            Inst::Cast(..) => Some("cast"),
            Inst::Gather { .. } => Some("gather"),
            Inst::Random(..) => Some("random"),
            _ => None,
        });
        f.write_str(&names.collect::<Vec<_>>().join(" "))
    }
}

impl Program {
    /// The same places in another order of the dims.
    fn permute(&mut self, order: &[usize]) {
        self.space = order.iter().map(|&dim| self.space[dim]).collect();
        let permute = Move::Permute(SmallVec::from_slice(order));
        self.views_mut()
            .for_each(|view| *view = view.apply(&permute).expect("strides can say a permutation"));
    }

    /// Merges neighbouring dims that all views treat as one, and drops dims of size 1. Dims on both sides of `inner`
    /// stay apart; the boundary in the collapsed space is returned.
    pub fn collapse(&mut self, inner: usize) -> usize {
        let space = self.space.clone();
        let kept: Vec<usize> = (0..space.rank()).filter(|&dim| space[dim] != 1).collect();
        // Groups of dims that become one.
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for dim in kept {
            let joins = groups.last().is_some_and(|group| {
                let last = group[group.len() - 1];
                (last < inner) == (dim < inner) && self.views().all(|view| merges(view, last, dim))
            });
            match groups.last_mut().filter(|_| joins) {
                Some(group) => group.push(dim),
                None => groups.push(vec![dim]),
            }
        }
        let boundary = groups.iter().filter(|group| group[0] < inner).count();
        self.space = groups.iter().map(|group| group.iter().map(|&dim| space[dim]).product()).collect();
        let collapsed = self.space.clone();
        self.views_mut().for_each(|view| {
            // A masked dim of size 1 is all there or not there at all; then nothing is.
            let empty = view.mask.as_ref().is_some_and(|mask| mask.iter().any(|(low, high)| low >= high));
            let mask = view.mask.as_ref().map(|mask| {
                groups.iter().zip(collapsed.iter()).map(|(group, &size)| match &group[..] {
                    _ if empty => (0, 0),
                    [dim] => mask[*dim],
                    _ => (0, size),
                })
            });
            let mask: Option<SmallVec<[(usize, usize); 4]>> = mask.map(Iterator::collect);
            let full = mask.as_ref().is_some_and(|mask| {
                !empty && mask.iter().zip(collapsed.iter()).all(|(&range, &size)| range == (0, size))
            });
            view.mask = mask.filter(|_| !full);
            view.strides = groups.iter().map(|group| view.strides[group[group.len() - 1]]).collect();
            view.shape = collapsed.clone();
        });
        boundary
    }

    /// Reads the view's elements and nothing else.
    pub fn copy(view: View, dtype: DType) -> Program {
        Program::copies(view, &[dtype])
    }

    /// Reads the view's elements of several buffers.
    pub fn copies(view: View, dtypes: &[DType]) -> Program {
        let load = |(read, &dtype): (usize, &DType)| Load { read, dtype, view: view.clone() };
        Program {
            space: view.shape.clone(),
            loads: dtypes.iter().enumerate().map(load).collect(),
            code: (0..dtypes.len()).map(Inst::Load).collect(),
            results: (0..dtypes.len()).collect(),
            layout: None,
        }
    }

    /// Writes the n-th result of the reduction or product itself too.
    pub fn write_core(&mut self, n: usize, dtype: DType) {
        let known = self.code.iter().position(|inst| matches!(inst, Inst::Core(other, _) if *other == n));
        self.results.push(known.unwrap_or(self.code.len()));
        if known.is_none() {
            self.code.push(Inst::Core(n, dtype));
        }
    }

    /// What is read is read at the place that is written, and nowhere else.
    pub fn reads_in_step(&self, read: usize) -> bool {
        let mut loads = self.loads.iter().filter(|load| load.read == read);
        let layout = self.layout.as_deref().cloned().unwrap_or_else(|| View::contiguous(&self.space));
        loads.all(|load| load.view == layout)
    }

    /// Elements of the largest operand: those that are read again count once.
    pub fn elements(&self) -> usize {
        let of = |view: &View| {
            let sizes = view.shape.iter().zip(&view.strides);
            sizes.filter(|&(_, &stride)| stride != 0).map(|(size, _)| size).product()
        };
        self.loads.iter().map(|load| of(&load.view)).max().unwrap_or(0)
    }

    /// Neighbours in the innermost dim, from `inner` on, are neighbours in every buffer: invocations side by side then
    /// read side by side.
    pub fn rows_are_contiguous(&self, inner: usize) -> bool {
        let last = self.space.rank().checked_sub(1).filter(|&last| last >= inner);
        last.is_some_and(|last| self.in_memory().all(|view| view.strides[last].abs() <= 1))
    }

    /// The dtype in a register.
    pub fn dtype(&self, register: Reg) -> DType {
        match &self.code[register] {
            Inst::Load(load) | Inst::Gather { load, .. } => self.loads[*load].dtype,
            Inst::Const(_, dtype)
            | Inst::Scalar(_, dtype)
            | Inst::Core(_, dtype)
            | Inst::Unary(_, _, dtype)
            | Inst::Mask(_, _, dtype) => *dtype,
            Inst::Index(_) => DType::I32,
            Inst::Random(..) => DType::F32,
            Inst::Binary(op, _, _, dtype) => {
                if op.row().compares {
                    DType::Bool
                } else {
                    *dtype
                }
            }
            Inst::Where(_, a, _) => self.dtype(*a),
            Inst::Cast(_, to) => *to,
            Inst::Check { .. } => DType::U32,
        }
    }

    /// Where operands, and results that a reduction writes place by place, lie in memory.
    pub fn in_memory(&self) -> impl Iterator<Item = &View> {
        self.loads.iter().map(|load| &load.view).chain(self.layout.as_deref())
    }

    fn views(&self) -> impl Iterator<Item = &View> {
        self.in_memory().chain(self.code.iter().filter_map(|inst| match inst {
            Inst::Index(view) | Inst::Random(_, view) | Inst::Mask(view, ..) => Some(view),
            _ => None,
        }))
    }

    fn views_mut(&mut self) -> impl Iterator<Item = &mut View> {
        self.loads.iter_mut().map(|load| &mut load.view).chain(self.layout.as_deref_mut()).chain(
            self.code.iter_mut().filter_map(|inst| match inst {
                Inst::Index(view) | Inst::Random(_, view) | Inst::Mask(view, ..) => Some(view),
                _ => None,
            }),
        )
    }

    /// Depends on nothing that a run brings.
    pub fn is_constant(&self) -> bool {
        let varies = |inst: &Inst| matches!(inst, Inst::Scalar(..) | Inst::Random(..) | Inst::Core(..));
        self.loads.is_empty() && !self.code.iter().any(varies)
    }

    /// The kernel meets indices that only the device knows.
    pub fn can_fault(&self) -> bool {
        self.code.iter().any(|inst| matches!(inst, Inst::Gather { .. } | Inst::Check { .. }))
    }
}

fn merges(view: &View, outer: usize, inner: usize) -> bool {
    let full = |dim: usize| view.mask.as_ref().is_none_or(|mask| mask[dim] == (0, view.shape[dim]));
    full(outer) && full(inner) && view.strides[outer] == view.strides[inner] * view.shape[inner] as isize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dims_collapse_as_far_as_every_view_allows() {
        let whole = View::contiguous(&[2, 3, 4].into());
        let row = View::contiguous(&[1, 1, 4].into()).apply(&Move::Expand([2, 3, 4].into())).unwrap();
        let load = |view: &View| Load { read: 0, dtype: DType::F32, view: view.clone() };
        let program = |views: &[&View]| Program {
            space: [2, 3, 4].into(),
            loads: views.iter().map(|v| load(v)).collect(),
            ..Program::default()
        };
        let mut same = program(&[&whole, &whole]);
        assert_eq!((same.collapse(3), &same.space[..]), (1, &[24][..]));
        let mut rows = program(&[&whole, &row]);
        assert_eq!((rows.collapse(3), &rows.space[..]), (2, &[6, 4][..]));
        let mut reduced = program(&[&whole]);
        assert_eq!((reduced.collapse(1), &reduced.space[..]), (1, &[2, 12][..]));
    }
}
