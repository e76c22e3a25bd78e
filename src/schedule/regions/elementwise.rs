//! Elementwise regions. Each has its own kernel or is the epilogue of reductions, of a scatter or of a matrix product.

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::grow::{Grown, Seed, is_fusible};
use super::reduction::Reduced;
use super::{Body, EpilogueRegion, Items, Planner, Region};
use crate::core::shape::Shape;
use crate::graph::{Move, Op};
use crate::ir::Output;
use crate::schedule::access::{Boundary, Computed, Paths, trace};

/// Maximum number of other items that a region tries to write, which limits the cost of the search.
const MAX_SIBLINGS: usize = 16;

/// The accumulators of a region with an epilogue.
enum Accumulators {
    Product(usize),
    Reductions(Box<Reduced>),
}

impl Accumulators {
    fn items(&self) -> &[usize] {
        match self {
            Accumulators::Product(product) => std::slice::from_ref(product),
            Accumulators::Reductions(reduced) => &reduced.accumulators,
        }
    }
}

impl Planner<'_> {
    /// Creates the region of an elementwise item, as an epilogue if possible.
    pub(super) fn place_elementwise(&mut self, item: usize) {
        let (grown, body) = loop {
            let grown = self.grow(&self.seed(item));
            match self.elementwise_body(item, &grown, &[]) {
                Ok(body) => break (grown, body),
                Err(Boundary(other)) => self.add_boundary(other),
            }
        };
        if let Some((accumulators, epilogue)) = self.as_epilogue(item, &grown) {
            let loads = grown.loads.iter().filter(|load| !accumulators.items().contains(load));
            loads.for_each(|&load| self.materialize(load));
            match accumulators {
                Accumulators::Product(product) => self.place_matmul(product, Some(epilogue)),
                Accumulators::Reductions(reduced) => self.place_reduced(*reduced, Some(epilogue)),
            }
            return;
        }
        grown.loads.iter().for_each(|&load| self.materialize(load));
        let writes = std::iter::once(item).chain(grown.also_written).collect();
        self.push(Region::Elementwise { body, writes });
    }

    /// Returns the computation of a region whose first result is the item. Fails if strides cannot express a path.
    fn elementwise_body(&self, item: usize, grown: &Grown, accumulators: &[usize]) -> Result<Body, Boundary> {
        let it = self.item(item);
        let first = match it.op() {
            // A reshape keeps the row-major order, so the region writes the source's elements in order.
            Op::Move(Move::Reshape(_)) => it.sources[0],
            _ => Output { item, out: 0 },
        };
        let mut items = grown.items.clone();
        items.extend((first.item == item).then_some(item));
        let computed = self.computed(items);
        let also = grown.also_written.iter().map(|&item| Output { item, out: 0 });
        let results: SmallVec<[Output; 2]> = std::iter::once(first).chain(also).collect();
        self.body(self.graph.spec(first).shape.clone(), results, computed, accumulators)
    }

    /// Returns a body whose results are computed at the iteration space's own index (path 0).
    pub(super) fn body(
        &self,
        space: Shape,
        results: SmallVec<[Output; 2]>,
        computed: Computed,
        accumulators: &[usize],
    ) -> Result<Body, Boundary> {
        let at_start: SmallVec<[(Output, usize); 2]> = results.iter().map(|&result| (result, 0)).collect();
        let access = trace(self.graph, &space, &at_start, Paths::default(), &computed, accumulators)?;
        Ok(Body { space, results, computed, access })
    }

    /// Returns the items that a region computes, and the memory that each gather among them reads.
    pub(super) fn computed(&self, items: FxHashSet<usize>) -> Computed {
        let gathers = items.iter().filter(|&&item| matches!(self.item(item).op(), Op::Gather(_)));
        let reads = gathers.map(|&item| (item, self.resolve_view(self.item(item).sources[0])));
        Computed { gathers: reads.collect(), items }
    }

    /// Returns the seed of the item's region: the item, and other items over the same iteration space that must also be
    /// written and that share an operand with the item or read reductions that can share a region.
    fn seed(&self, item: usize) -> Seed<'_> {
        let mut seed = Seed::new(item, &self.item(item).sources, true);
        // Excludes gathers, which read an operand that other items do not read, and reshapes, which are computed over
        // the source's iteration space.
        let fits = |op: &Op| is_fusible(op) && !matches!(op, Op::Gather(_) | Op::Move(Move::Reshape(_)));
        if !self.fuse || !fits(self.item(item).op()) {
            return seed;
        }
        let mut grown = self.grow(&seed);
        // If the region of `other` would write several items, this region writes all of them or none.
        let mut refused: Vec<usize> = Vec::new();
        for other in self.siblings(item, fits) {
            if grown.items.contains(&other) {
                continue;
            }
            let sources = &self.item(other).sources;
            let reads = self.grow(&Seed::new(other, sources, false)).loads;
            let mut theirs: Vec<usize> = vec![other];
            if reads.is_disjoint(&grown.loads) {
                let alone = self.grow(&Seed::new(other, sources, true));
                if refused.contains(&other) || !self.consume_siblings((item, &grown), (other, &alone)) {
                    continue;
                }
                theirs.extend(alone.also_written);
            }
            let mut wider = seed.clone();
            wider.siblings.push(other);
            let both = self.grow(&wider);
            let lossless =
                grown.also_written.iter().chain(&theirs).all(|item| both.also_written.contains(item));
            if lossless && self.dependencies(&both.loads, &[item]).is_empty() {
                (seed, grown) = (wider, both);
            } else if theirs.len() > 1 {
                refused.extend(theirs);
            }
        }
        seed
    }

    /// Whether two elementwise regions can be epilogues of reductions that can share a region.
    fn consume_siblings(&self, one: (usize, &Grown), other: (usize, &Grown)) -> bool {
        let ours = self.unplaced_reductions(one.0, one.1);
        let theirs = self.unplaced_reductions(other.0, other.1);
        ours.iter().any(|&a| theirs.iter().any(|&b| self.same_iteration_space(a, b)))
    }

    /// Returns earlier items of the same shape that must be written and have no region yet, latest first. Excludes
    /// items of another pass: if an item recomputed by `autograd::checkpoint` and an item of the forward pass shared a
    /// region, both would have to stay in memory.
    pub(super) fn siblings(&self, item: usize, kind: impl Fn(&Op) -> bool) -> impl Iterator<Item = usize> {
        let (shape, recomputation) = (&self.item(item).spec(0).shape, self.item(item).node.recomputation);
        self.unplaced
            .range(..item)
            .rev()
            .copied()
            .filter(move |&other| {
                let other = self.item(other);
                !other.is_alias
                    && kind(other.op())
                    && other.spec(0).shape == *shape
                    && other.node.recomputation == recomputation
            })
            .take(MAX_SIBLINGS)
    }

    /// Returns the loads of a region that are reductions, scatters or matrix products without a region and have as many
    /// elements as the region, latest first.
    fn unplaced_reductions(&self, item: usize, grown: &Grown) -> SmallVec<[usize; 4]> {
        let fits = |&n: &usize| {
            let other = self.item(n);
            let reduces = matches!(other.op(), Op::Reduce(..) | Op::ScatterAdd(..) | Op::MatMul);
            let same_size = || other.spec(0).shape.numel() == self.item(item).spec(0).shape.numel();
            other.is_pending() && reduces && same_size() && !self.has_region(n)
        };
        let mut reductions: SmallVec<[usize; 4]> = grown.loads.iter().copied().filter(fits).collect();
        reductions.sort_unstable_by(|a, b| b.cmp(a));
        reductions
    }

    /// Returns the accumulators that the region can be an epilogue of, and the epilogue. Starts from the latest reduction
    /// or matrix product in topological order. Tries it together with the other reductions over its iteration space,
    /// and then alone.
    fn as_epilogue(&self, item: usize, grown: &Grown) -> Option<(Accumulators, EpilogueRegion)> {
        if !self.fuse {
            return None;
        }
        let unplaced = self.unplaced_reductions(item, grown);
        unplaced.iter().find_map(|&newest| {
            let siblings =
                unplaced.iter().copied().filter(|&n| n != newest && self.same_iteration_space(newest, n));
            let all: Items = std::iter::once(newest).chain(siblings).collect();
            let with_siblings = if all.len() > 1 { self.epilogue(item, grown, &all) } else { None };
            with_siblings.or_else(|| self.epilogue(item, grown, &[newest]))
        })
    }

    /// Returns the region as an epilogue of the `consumed` reductions or matrix product, if that is possible.
    fn epilogue(
        &self,
        item: usize,
        grown: &Grown,
        consumed: &[usize],
    ) -> Option<(Accumulators, EpilogueRegion)> {
        if !self.can_consume(item, grown, consumed) {
            return None;
        }
        let body = self.elementwise_body(item, grown, consumed).ok()?;
        // A gather would read an accumulator at indices that other invocations compute.
        if body.access.reads.iter().any(|read| consumed.contains(&read.item)) {
            return None;
        }
        let writes: Items = std::iter::once(item).chain(grown.also_written.iter().copied()).collect();
        let epilogue = EpilogueRegion { body, writes, consumed: consumed.len() };
        let transposed = epilogue.body.access.transposed;
        if let Op::MatMul = self.item(consumed[0]).op() {
            let fits = !transposed || self.is_last_use(consumed[0], grown);
            return fits.then_some((Accumulators::Product(consumed[0]), epilogue));
        }
        let reduced = if transposed { None } else { self.reduced(consumed, Some(&epilogue)) };
        Some((Accumulators::Reductions(Box::new(reduced?)), epilogue))
    }

    /// True if the buffers can be bound and neither the accumulators' sources nor the region's other operands depend on
    /// an accumulator or on a result of the region.
    fn can_consume(&self, item: usize, grown: &Grown, accumulators: &[usize]) -> bool {
        let mut others = grown.loads.clone();
        others.retain(|load| !accumulators.contains(load));
        // Two operands and two results of the reduction or product, and the fault flag buffer.
        let buffers = self.buffers(&others) + grown.also_written.len() + 5;
        let sources = accumulators.iter().flat_map(|&accumulator| &self.item(accumulator).sources);
        others.extend(sources.map(|source| source.item));
        let targets: SmallVec<[usize; 8]> =
            accumulators.iter().chain([&item]).chain(&grown.also_written).copied().collect();
        buffers <= self.limits.storage_buffers as usize && self.dependencies(&others, &targets).is_empty()
    }

    /// True if no other region needs the product: the product and the values computed from it are used only in this
    /// region, except for the results that this region writes.
    fn is_last_use(&self, product: usize, grown: &Grown) -> bool {
        let mut made: FxHashSet<usize> = std::iter::once(product).collect();
        let mut sorted: Vec<usize> = grown.items.iter().copied().collect();
        sorted.sort_unstable();
        for item in sorted {
            if self.item(item).sources.iter().any(|source| made.contains(&source.item))
                && !grown.also_written.contains(&item)
            {
                made.insert(item);
            }
        }
        let used_here_alone = |item: usize| grown.uses.get(&item) == Some(&self.item(item).uses);
        let must_write = |item: usize| self.item(item).is_output || self.is_materialized(item);
        made.into_iter().all(|item| used_here_alone(item) && !must_write(item))
    }
}
