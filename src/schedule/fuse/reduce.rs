//! Reductions and scatters: siblings in one kernel.

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::map::{Cores, Epilogue};
use super::{Access, Fuser};
use crate::dtype::DType;
use crate::graph::{Move, Op, Reduce};
use crate::schedule::absorb::Start;
use crate::schedule::cone::Source;
use crate::schedule::emit::{Blocked, Emitter};
use crate::schedule::plan::{Kernel, Program, Reduction};

/// Reductions of one index space before they are placed.
pub(super) struct Combined {
    pub items: SmallVec<[usize; 2]>,
    how: SmallVec<[Reduce; 2]>,
    program: Program,
    pub reads: Vec<Access>,
    /// The dims of the program's space that are reduced.
    dims: SmallVec<[usize; 4]>,
}

impl Fuser<'_> {
    /// What reductions or a scatter combine, with what they absorb, and the siblings that they take along. Their epilogue
    /// reads `later`.
    pub(super) fn reduction(&mut self, cores: &[usize], later: &[Access]) -> Combined {
        let all = self.with_siblings(cores, later);
        loop {
            let combined = match &self.cone.items[cores[0]].node.op {
                Op::ScatterAdd(dim, _) => self.scattered(cores[0], *dim),
                _ => self.reduced(&all),
            };
            match combined {
                Err(blocked) => self.unblock(blocked),
                Ok(combined) => return combined,
            }
        }
    }

    /// Whether two reductions have one index space and read something in common.
    pub(super) fn alike(&self, a: usize, b: usize) -> bool {
        let items = &self.cone.items;
        let [Op::Reduce(_, dims), Op::Reduce(_, others)] = [a, b].map(|item| &items[item].node.op) else {
            return false;
        };
        let [one, other] = [a, b].map(|item| &self.cone.spec(items[item].sources[0]).shape);
        dims == others && one == other && !self.reads_of(a).is_disjoint(&self.reads_of(b))
    }

    /// What a reduction of its own would read.
    fn reads_of(&self, item: usize) -> FxHashSet<usize> {
        self.grow(&Start::new(item, &self.cone.items[item].sources, false)).loads
    }

    /// The reductions, and others that are alike and may be computed with them.
    fn with_siblings(&self, cores: &[usize], later: &[Access]) -> Cores {
        let items = &self.cone.items;
        let mut all = Cores::from_slice(cores);
        let Op::Reduce(_, dims) = &items[cores[0]].node.op else { return all };
        if !self.enabled {
            return all;
        }
        let mut loads: FxHashSet<usize> = cores.iter().flat_map(|&core| self.reads_of(core)).collect();
        let later = later.iter().filter_map(|access| match access {
            Access::Item(source) => Some(source.item),
            Access::Scratch(_) => None,
        });
        let later: SmallVec<[usize; 8]> = later.collect();
        let alike = |op: &Op| matches!(op, Op::Reduce(_, others) if others == dims);
        for other in self.siblings(cores[0], alike).filter(|other| !cores.contains(other)) {
            let more = self.reads_of(other);
            let buffers = self.buffers(loads.union(&more)) + all.len() + 3; // a result here, one for later, the error word
            let room = buffers <= self.limits.storage_buffers as usize;
            if !room || !cores.iter().any(|&core| self.alike(core, other)) {
                continue;
            }
            let both: FxHashSet<usize> = loads.union(&more).copied().collect();
            let needed = both.iter().chain(&later).copied().collect();
            let targets: Cores = all.iter().copied().chain([other]).collect();
            if self.needed(&needed, &targets).is_empty() {
                (all, loads) = (targets, both);
            }
        }
        all
    }

    fn reduced(&mut self, all: &[usize]) -> Result<Combined, Blocked> {
        let (items, item) = (&self.cone.items, all[0]);
        let Op::Reduce(_, dims) = &items[item].node.op else { unreachable!("a reduction") };
        let sources: SmallVec<[Source; 2]> = all.iter().map(|&item| items[item].sources[0]).collect();
        let space = &self.cone.spec(sources[0]).shape;
        let inside = self.absorb(&Start::new(item, &sources, false));
        let mut emitter = Emitter::new(self, &inside.items);
        let mut results = SmallVec::new();
        for &source in &sources {
            results.push(emitter.value(source, 0, space.clone())?);
        }
        let how = all.iter().map(|&item| match items[item].node.op {
            Op::Reduce(how, _) => how,
            _ => unreachable!("a sibling is a reduction"),
        });
        let (how, (program, reads)) = (how.collect(), emitter.finish(results));
        Ok(Combined { items: all.into(), how, program, reads, dims: dims.clone() })
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
        Ok(Combined { items, how, program, reads, dims: SmallVec::from_elem(out.rank(), 1) })
    }

    /// Gives the group that has the results.
    pub(super) fn push_reduction(&mut self, combined: Combined, epilogue: Option<Epilogue>) -> usize {
        let Combined { items, how, program, mut reads, dims } = combined;
        let dtypes: SmallVec<[DType; 2]> =
            program.results.iter().map(|&result| program.dtype(result)).collect();
        let own = items.iter().map(|&item| Access::Item(Source { item, out: 0 }));
        self.finish(items.iter().copied().skip(epilogue.as_ref().map_or(0, |epilogue| epilogue.cores)));
        let (epilogue, writes) = Epilogue::onto(epilogue, &mut reads, own, &dtypes);
        let reduction = Reduction { how, program, dims, splits: 1, lanes: 1, epilogue };
        self.push(Kernel::Reduce(reduction), reads, writes, items[0])
    }
}
