//! Programs: straight-line code that a kernel runs at every index of its iteration space.

use smallvec::SmallVec;

use super::BufferId;
use crate::core::dtype::DType;
use crate::core::shape::Shape;
use crate::graph::{Binary, Move, Unary, View};

/// Straight-line code over an iteration space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    /// The iteration space. Before `split_reductions` collapses it, it has the dims of the items that the program
    /// computes.
    pub space: Shape,
    pub loads: Vec<Load>,
    pub code: Vec<Inst>,
    /// The registers of the results.
    pub results: SmallVec<[Reg; 2]>,
    /// The memory layout of the elementwise outputs of a reduction, if it has any.
    pub layout: Option<Box<View>>,
}

/// A read of one element of a buffer, at the offset that the view gives for the current index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Load {
    /// The index of the buffer among the kernel's reads.
    pub read: usize,
    pub dtype: DType,
    pub view: View,
}

/// A register: the result of the instruction with this number.
pub(crate) type Reg = usize;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Inst {
    Load(usize),
    /// The n-th accumulator of the reduction or matrix product at the current index. Used only in epilogues.
    Accumulator(usize, DType),
    /// An indexed load. Its offset is the offset of the load plus `stride` times the index in a register.
    Gather {
        item: usize,
        load: usize,
        index: Reg,
        size: usize,
        stride: isize,
    },
    Const(f64, DType),
    /// The user's scalar of the given item.
    Scalar(usize, DType),
    /// The offset that the view gives for the current index, as an integer. It is used as a coordinate and no memory is
    /// read.
    Index(View),
    /// The random number of the given item at the linear index that the view gives.
    Random(usize, View),
    Unary(Unary, Reg, DType),
    Binary(Binary, Reg, Reg, DType),
    Where(Reg, Reg, Reg),
    Cast(Reg, DType),
    /// The value of a register, or zero outside the view's mask (valid range).
    Mask(View, Reg, DType),
    /// Reports a fault unless the index in the register is less than `size`.
    Check {
        item: usize,
        index: Reg,
        size: usize,
    },
}

impl Inst {
    /// Replaces the registers and the load that an instruction uses.
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
            Inst::Accumulator(..)
            | Inst::Const(..)
            | Inst::Scalar(..)
            | Inst::Index(_)
            | Inst::Random(..) => {}
        }
        self
    }

    /// Whether two instructions compute the same value. Constants are compared by their bits, because 0 == -0.
    pub fn is_same(&self, other: &Inst) -> bool {
        match (self, other) {
            (Inst::Const(x, dtype), Inst::Const(y, kind)) => x.to_bits() == y.to_bits() && dtype == kind,
            _ => self == other,
        }
    }
}

impl Program {
    /// Creates a program that copies several buffers, each through the same view.
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

    /// Adds the n-th accumulator to the results of this epilogue.
    pub fn store_accumulator(&mut self, n: usize, dtype: DType) {
        let known =
            self.code.iter().position(|inst| matches!(inst, Inst::Accumulator(other, _) if *other == n));
        self.results.push(known.unwrap_or(self.code.len()));
        if known.is_none() {
            self.code.push(Inst::Accumulator(n, dtype));
        }
    }

    /// Renumbers the buffers of the loads from the list `from` to the list `to`. Appends missing buffers to `to`.
    pub fn rebind(&mut self, from: &[BufferId], to: &mut Vec<BufferId>) {
        for load in &mut self.loads {
            load.read = index_of(to, from[load.read]);
        }
    }

    /// Appends a program over the same space. If `available` returns a register for a buffer, that register replaces
    /// the loads of the buffer. Returns the register of each appended instruction.
    pub fn append(
        &mut self,
        other: &Program,
        reads: &mut Vec<BufferId>,
        other_reads: &[BufferId],
        available: impl Fn(BufferId) -> Option<Reg>,
    ) -> Vec<Reg> {
        let mut registers: Vec<Reg> = Vec::with_capacity(other.code.len());
        for inst in &other.code {
            let known = match inst {
                Inst::Load(i) => available(other_reads[other.loads[*i].read]),
                _ => None,
            };
            let register = known.unwrap_or_else(|| {
                let load = |i: usize| {
                    let load = &other.loads[i];
                    let read = index_of(reads, other_reads[load.read]);
                    index_of(&mut self.loads, Load { read, ..load.clone() })
                };
                let inst = inst.clone().renamed(|register| registers[register], load);
                self.code.iter().position(|known| known.is_same(&inst)).unwrap_or_else(|| {
                    self.code.push(inst);
                    self.code.len() - 1
                })
            });
            registers.push(register);
        }
        registers
    }

    /// Permutes the dims of the iteration space.
    pub fn permute(&mut self, order: &[usize]) {
        self.space = order.iter().map(|&dim| self.space[dim]).collect();
        let permute = Move::Permute(SmallVec::from_slice(order));
        self.views_mut()
            .for_each(|view| *view = view.apply(&permute).expect("strides express a permutation"));
    }

    /// Collapses the iteration space: merges adjacent dims if all views allow it, and removes dims of size 1. Does not
    /// merge dims before `inner` with later dims. Returns the position of `inner` in the collapsed space.
    pub fn collapse(&mut self, inner: usize) -> usize {
        let space = self.space.clone();
        let kept: Vec<usize> = (0..space.rank()).filter(|&dim| space[dim] != 1).collect();
        // Each group of dims is merged into one dim.
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
            // The valid range of a dim of size 1 covers all elements or none.
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

    /// Whether the program reads each element of a buffer only at the index at which it writes its results.
    pub fn reads_same_index(&self, read: usize) -> bool {
        let mut loads = self.loads.iter().filter(|load| load.read == read);
        let layout = self.layout.as_deref().cloned().unwrap_or_else(|| View::contiguous(&self.space));
        loads.all(|load| load.view == layout)
    }

    /// Returns the number of elements of the largest operand. An element that is read several times counts once.
    pub fn largest_operand(&self) -> usize {
        let of = |view: &View| {
            let sizes = view.shape.iter().zip(&view.strides);
            sizes.filter(|&(_, &stride)| stride != 0).map(|(size, _)| size).product()
        };
        self.loads.iter().map(|load| of(&load.view)).max().unwrap_or(0)
    }

    /// Whether the innermost dim is not before `inner` and is contiguous (or has stride 0) in every buffer, so that
    /// adjacent invocations access adjacent memory.
    pub fn rows_are_contiguous(&self, inner: usize) -> bool {
        let last = self.space.rank().checked_sub(1).filter(|&last| last >= inner);
        last.is_some_and(|last| self.memory_views().all(|view| view.strides[last].abs() <= 1))
    }

    /// Returns the dtype of a register.
    pub fn dtype(&self, register: Reg) -> DType {
        match &self.code[register] {
            Inst::Load(load) | Inst::Gather { load, .. } => self.loads[*load].dtype,
            Inst::Const(_, dtype)
            | Inst::Scalar(_, dtype)
            | Inst::Accumulator(_, dtype)
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

    /// Returns all views of memory: the views of the loads and the layout of a reduction's elementwise outputs.
    pub fn memory_views(&self) -> impl Iterator<Item = &View> {
        self.loads.iter().map(|load| &load.view).chain(self.layout.as_deref())
    }

    fn views(&self) -> impl Iterator<Item = &View> {
        self.memory_views().chain(self.code.iter().filter_map(|inst| match inst {
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

    /// Whether the results are the same in every run.
    pub fn is_constant(&self) -> bool {
        let varies =
            |inst: &Inst| matches!(inst, Inst::Scalar(..) | Inst::Random(..) | Inst::Accumulator(..));
        self.loads.is_empty() && !self.code.iter().any(varies)
    }

    /// Whether every operand is read contiguously or is one element.
    pub fn is_plain(&self) -> bool {
        self.loads.iter().all(|load| load.view.is_contiguous() || load.view.is_uniform())
    }

    /// Whether the computation uses the coordinates of the current index.
    pub fn uses_coordinates(&self) -> bool {
        self.code.iter().any(|inst| matches!(inst, Inst::Index(_) | Inst::Random(..) | Inst::Mask(..)))
    }

    /// Whether the program uses computed indices, which can only be checked on the device.
    pub fn can_fault(&self) -> bool {
        self.code.iter().any(|inst| matches!(inst, Inst::Gather { .. } | Inst::Check { .. }))
    }
}

fn merges(view: &View, outer: usize, inner: usize) -> bool {
    let full = |dim: usize| view.mask.as_ref().is_none_or(|mask| mask[dim] == (0, view.shape[dim]));
    full(outer) && full(inner) && view.strides[outer] == view.strides[inner] * view.shape[inner] as isize
}

/// Returns the position of an entry in a list. Appends the entry if it is missing.
pub(crate) fn index_of<T: PartialEq>(list: &mut Vec<T>, entry: T) -> usize {
    list.iter().position(|other| *other == entry).unwrap_or_else(|| {
        list.push(entry);
        list.len() - 1
    })
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
