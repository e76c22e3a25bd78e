//! Reductions and scatters: siblings in one kernel, long ones in two stages.

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::map::Epilogue;
use super::{Access, Fuser};
use crate::dtype::DType;
use crate::graph::{Move, Op, Reduce, View};
use crate::schedule::absorb::Start;
use crate::schedule::cone::Source;
use crate::schedule::emit::{Blocked, Emitter};
use crate::schedule::plan::{Kernel, Program, Reduction};
use crate::schedule::split::stages;
use crate::shape::Shape;

/// Reductions of one index space before they are placed.
pub(super) struct Combined {
    pub items: SmallVec<[usize; 2]>,
    how: SmallVec<[Reduce; 2]>,
    program: Program,
    pub reads: Vec<Access>,
    /// The first dim of the program's space that is reduced.
    boundary: usize,
}

impl Fuser<'_> {
    /// What a reduction or scatter combines, with what it absorbs, and the siblings that it takes along. Its epilogue
    /// reads `later`.
    pub(super) fn reduction(&mut self, item: usize, later: &[Access]) -> Combined {
        let siblings = self.reduced_siblings(item, later);
        loop {
            let combined = match &self.cone.items[item].node.op {
                Op::ScatterAdd(dim, _) => self.scattered(item, *dim),
                _ => self.reduced(item, &siblings),
            };
            match combined {
                Err(blocked) => self.unblock(blocked),
                Ok(combined) => return combined,
            }
        }
    }

    /// Reductions of the same index space that read something in common.
    fn reduced_siblings(&self, item: usize, later: &[Access]) -> SmallVec<[usize; 2]> {
        let items = &self.cone.items;
        let mut siblings = SmallVec::new();
        let Op::Reduce(_, dims) = &items[item].node.op else { return siblings };
        if !self.enabled {
            return siblings;
        }
        let shape = |item: usize| &self.cone.spec(items[item].sources[0]).shape;
        let loads = |item: usize| self.grow(&Start::new(item, &items[item].sources, false)).loads;
        let mut all = loads(item);
        for other in self.siblings(item, |op| matches!(op, Op::Reduce(_, others) if others == dims)) {
            let more = loads(other);
            let buffers = self.buffers(all.union(&more)) + siblings.len() + 4; // two results here, one for later, the error word
            let apart = shape(other) != shape(item) || more.is_disjoint(&all);
            if apart || buffers > self.limits.storage_buffers as usize {
                continue;
            }
            let both: FxHashSet<usize> = all.union(&more).copied().collect();
            let mut loads = both.clone();
            loads.extend(later.iter().filter_map(|access| match access {
                Access::Item(source) => Some(source.item),
                Access::Scratch(_) => None,
            }));
            let targets: SmallVec<[usize; 4]> =
                [item, other].into_iter().chain(siblings.iter().copied()).collect();
            if self.needed(&loads, &targets).is_empty() {
                siblings.push(other);
                all = both;
            }
        }
        siblings
    }

    fn reduced(&mut self, item: usize, siblings: &[usize]) -> Result<Combined, Blocked> {
        let items = &self.cone.items;
        let Op::Reduce(_, dims) = &items[item].node.op else { unreachable!("a reduction") };
        let all: SmallVec<[usize; 2]> = std::iter::once(item).chain(siblings.iter().copied()).collect();
        let sources: SmallVec<[Source; 2]> = all.iter().map(|&item| items[item].sources[0]).collect();
        let shape = self.cone.spec(sources[0]).shape.clone();
        let outer: SmallVec<[usize; 4]> = (0..shape.rank()).filter(|dim| !dims.contains(dim)).collect();
        let boundary = outer.len();
        let order: SmallVec<[usize; 4]> = outer.into_iter().chain(dims.iter().copied()).collect();
        let space: Shape = order.iter().map(|&dim| shape[dim]).collect();
        let inside = self.absorb(&Start::new(item, &sources, false));
        let mut emitter = Emitter::new(self, &inside.items);
        let mut results = SmallVec::new();
        for &source in &sources {
            let path = emitter.step(0, Move::Permute(order.clone()), source.item);
            results.push(emitter.value(source, path, space.clone())?);
        }
        let how = all.iter().map(|&item| match items[item].node.op {
            Op::Reduce(how, _) => how,
            _ => unreachable!("a sibling is a reduction"),
        });
        let (how, (program, reads)) = (how.collect(), emitter.finish(results));
        Ok(Combined { items: all, how, program, reads, boundary })
    }

    /// A sum over all places of the index that equal the output's index: no atomics, one order, the same bits.
    fn scattered(&mut self, item: usize, dim: usize) -> Result<Combined, Blocked> {
        let [index, src] = self.cone.items[item].sources[..] else { unreachable!("index and src") };
        let out = self.cone.items[item].spec(0).shape.clone();
        let shape = self.cone.spec(index).shape.clone();
        let last = (0..shape.rank()).filter(|&d| d != dim).chain([dim]).collect();
        let room = shape.with(dim, 1).insert(shape.rank(), shape[dim]);
        let space = out.insert(out.rank(), shape[dim]);
        let inside = self.absorb(&Start::new(item, &[index, src], false));
        let mut emitter = Emitter::new(self, &inside.items);
        let mut path = |source: Source| {
            let path = emitter.step(0, Move::Expand(space.clone()), source.item);
            let path = emitter.step(path, Move::Reshape(room.clone()), source.item);
            (source, emitter.step(path, Move::Permute(SmallVec::clone(&last)), source.item))
        };
        let (index, src) = (path(index), path(src));
        let result = emitter.scattered(item, index, src, dim, space.clone())?;
        let (program, reads) = emitter.finish(SmallVec::from_elem(result, 1));
        let (items, how) = (SmallVec::from_elem(item, 1), SmallVec::from_elem(Reduce::Sum, 1));
        Ok(Combined { items, how, program, reads, boundary: out.rank() })
    }

    /// One stage, or two where one would loop too long or leave most of the device idle. Gives the group that has the
    /// results.
    pub(super) fn push_reduction(&mut self, combined: Combined, epilogue: Option<Epilogue>) -> usize {
        let Combined { items, how, mut program, mut reads, boundary } = combined;
        let item = items[0];
        let dtypes: SmallVec<[DType; 2]> =
            program.results.iter().map(|&result| program.dtype(result)).collect();
        let inner = program.collapse(boundary);
        let outputs: usize = program.space[..inner].iter().product();
        let length: usize = program.space[inner..].iter().product();
        let (splits, lanes) = stages(self.limits, outputs, length, program.rows_are_contiguous(inner));
        let own = items.iter().map(|&item| Access::Item(Source { item, out: 0 }));
        self.finish(items.iter().copied().skip(usize::from(epilogue.is_some())));
        let first = |splits, epilogue| {
            Kernel::Reduce(Reduction { how: how.clone(), program, inner, splits, lanes, epilogue })
        };
        if splits == 1 {
            let (epilogue, writes) = Epilogue::onto(epilogue, &mut reads, own, &dtypes);
            return self.push(first(1, epilogue), reads, writes, item);
        }
        let scratch = dtypes.iter().map(|dtype| {
            self.out.scratch.push(outputs * splits * dtype.bytes());
            Access::Scratch(self.out.scratch.len() - 1)
        });
        let scratch: SmallVec<[Access; 2]> = scratch.collect();
        let mut partial = scratch.to_vec();
        let (epilogue, writes) = Epilogue::onto(epilogue, &mut partial, own, &dtypes);
        // Every first part of an output comes before the second parts: neighbours are written side by side.
        let parts =
            View::contiguous(&[splits, outputs].into()).apply(&Move::Permute(SmallVec::from_slice(&[1, 0])));
        let program = Program::copies(parts.expect("strides can say a transpose"), &dtypes);
        let lanes = stages(self.limits, outputs, splits, program.rows_are_contiguous(1)).1;
        // Groups are listed newest first here.
        let second =
            Kernel::Reduce(Reduction { how: how.clone(), program, inner: 1, splits: 1, lanes, epilogue });
        let group = self.push(second, partial, writes, item);
        self.push(first(splits, None), reads, scratch, item);
        group
    }
}
