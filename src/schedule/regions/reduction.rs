//! Regions of reductions and scatters. Siblings are reductions over the same iteration space that share an operand;
//! they share a region.

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::grow::{Grown, Seed};
use super::{Body, EpilogueRegion, Items, Planner, Region};
use crate::graph::Op;
use crate::ir::Output;
use crate::schedule::access::{Boundary, scatter_paths, trace};

/// Reductions over the same iteration space, or a scatter, before their region is created.
pub(super) struct Reduced {
    pub accumulators: Items,
    prologue: Body,
    /// Items that must be materialized, because strides cannot express the paths through them.
    boundaries: Vec<usize>,
}

impl Planner<'_> {
    /// Creates the region of a reduction or scatter without an epilogue.
    pub(super) fn place_reduction(&mut self, item: usize) {
        let reduced = self.reduced(&[item], None).expect("without an epilogue every reduction fits");
        self.place_reduced(reduced, None);
    }

    pub(super) fn place_reduced(&mut self, reduced: Reduced, epilogue: Option<EpilogueRegion>) {
        let Reduced { accumulators, prologue, boundaries } = reduced;
        boundaries.into_iter().for_each(|item| self.add_boundary(item));
        prologue.access.reads.iter().for_each(|read| self.materialize(read.item));
        self.push(Region::Reduce { accumulators, prologue, epilogue });
    }

    /// Adds siblings and a prologue to the reductions `first` (or to a scatter). Returns `None` if the kernel with its
    /// epilogue would bind too many buffers.
    pub(super) fn reduced(&self, first: &[usize], epilogue: Option<&EpilogueRegion>) -> Option<Reduced> {
        let later = epilogue.map_or(&[][..], |epilogue| &epilogue.body.access.reads);
        let accumulators = self.with_siblings(first, later);
        let (prologue, boundaries) = self.prologue(&accumulators);
        if let Some(epilogue) = epilogue {
            let must_write = |&&item: &&usize| self.is_materialized(item) || self.item(item).is_output;
            let written = epilogue.writes.len() + first.iter().filter(must_write).count();
            let siblings = accumulators.len() - first.len();
            // One buffer for an accumulator that a later region may need in memory, and the fault flag buffer.
            let buffers = prologue.access.reads.len() + later.len() + written + siblings + 2;
            if buffers > self.limits.storage_buffers as usize {
                return None;
            }
        }
        Some(Reduced { accumulators, prologue, boundaries })
    }

    /// Whether two reductions have the same iteration space and share an operand.
    pub(super) fn same_iteration_space(&self, a: usize, b: usize) -> bool {
        let [Op::Reduce(_, dims), Op::Reduce(_, others)] = [a, b].map(|item| self.item(item).op()) else {
            return false;
        };
        let [one, other] = [a, b].map(|item| &self.graph.spec(self.item(item).sources[0]).shape);
        dims == others && one == other && !self.reads_of(a).is_disjoint(&self.reads_of(b))
    }

    /// Returns the operands of a reduction when it has no siblings.
    fn reads_of(&self, item: usize) -> FxHashSet<usize> {
        self.grow(&Seed::new(item, &self.item(item).sources, false)).loads
    }

    /// Returns the reductions and their siblings. `later` are the operands of the epilogue.
    fn with_siblings(&self, reductions: &[usize], later: &[Output]) -> Items {
        let mut all = Items::from_slice(reductions);
        let Op::Reduce(_, dims) = self.item(reductions[0]).op() else { return all };
        if !self.fuse {
            return all;
        }
        let mut loads: FxHashSet<usize> = reductions.iter().flat_map(|&item| self.reads_of(item)).collect();
        let same_dims = |op: &Op| matches!(op, Op::Reduce(_, others) if others == dims);
        for other in self.siblings(reductions[0], same_dims).filter(|other| !reductions.contains(other)) {
            let more = self.reads_of(other);
            // The result, an accumulator that a later region may need in memory, and the fault flag buffer.
            let buffers = self.buffers(loads.union(&more)) + all.len() + 3;
            let fits = buffers <= self.limits.storage_buffers as usize;
            if !fits || !reductions.iter().any(|&item| self.same_iteration_space(item, other)) {
                continue;
            }
            let both: FxHashSet<usize> = loads.union(&more).copied().collect();
            let read = both.iter().copied().chain(later.iter().map(|output| output.item)).collect();
            let targets: Items = all.iter().copied().chain([other]).collect();
            if self.dependencies(&read, &targets).is_empty() {
                (all, loads) = (targets, both);
            }
        }
        all
    }

    /// Returns the prologue, which computes the elements to be reduced, and the items that must be materialized for it.
    fn prologue(&self, accumulators: &[usize]) -> (Body, Vec<usize>) {
        let first = self.item(accumulators[0]);
        let sources: SmallVec<[Output; 2]> = match first.op() {
            Op::ScatterAdd(..) => first.sources.iter().copied().collect(),
            _ => accumulators.iter().map(|&item| self.item(item).sources[0]).collect(),
        };
        let mut boundaries = Vec::new();
        loop {
            let grown = self.grow_within(&Seed::new(accumulators[0], &sources, false), &boundaries);
            let body = match first.op() {
                Op::ScatterAdd(dim, _) => self.scatter_body(accumulators[0], *dim, &sources, &grown),
                _ => {
                    let space = self.graph.spec(sources[0]).shape.clone();
                    self.body(space, sources.clone(), self.computed(grown.items), &[])
                }
            };
            match body {
                Ok(body) => return (body, boundaries),
                Err(Boundary(item)) => {
                    assert!(!boundaries.contains(&item), "a boundary is computed inside a region");
                    boundaries.push(item);
                }
            }
        }
    }

    /// Returns the prologue of a scatter: for each output element and each position along `dim`, it reads the index and
    /// `src` at that position.
    fn scatter_body(
        &self,
        item: usize,
        dim: usize,
        sources: &SmallVec<[Output; 2]>,
        grown: &Grown,
    ) -> Result<Body, Boundary> {
        let (paths, ends, space) = scatter_paths(self.graph, item, dim);
        let computed = self.computed(grown.items.clone());
        let results = [(sources[0], ends[0]), (sources[1], ends[1])];
        let access = trace(self.graph, &space, &results, paths, &computed, &[])?;
        Ok(Body { space, results: sources.clone(), computed, access })
    }
}
