//! Regions: which operations share a kernel.
//!
//! The policy: the pass visits items from consumers to producers. The roots of regions are outputs, items that a kernel reads
//! from memory, and reductions, matrix products, scatters and fused operations with a kernel. A region grows from its root
//! (`grow`): it includes an elementwise or movement producer if all consumers of the producer are in the region, or if
//! recomputing it reads no more memory than reading it. A producer that must be materialized anyway, and is computed at the
//! same index of the same iteration space, is written by this region. The number of storage buffers and `MAX_REGION_ITEMS`
//! bound the growth. Movement and scalars are always included: they are index arithmetic and uniforms.
//! Matrix products and fused operations read their operands from memory (`operands`), products by strides. An elementwise
//! region that consumes a reduction, a scatter or a product at the same index becomes its epilogue (`epilogue`): one kernel
//! computes both. Elementwise regions over one iteration space that share an operand become one region, and so do
//! reductions over one iteration space; an epilogue may consume several of them.
//!
//! Legality depends on views only: a region must read every operand through one strided view (`access`). If strides cannot
//! express the movement between a region and an operand, the item at which they fail becomes a boundary, which is
//! materialized. So `lower` cannot fail.
//!
//! In: the simplified graph. Out: regions, consumers before producers. Knows no instruction and no slot.

mod display;
mod elementwise;
mod grow;
mod operands;
mod reduction;

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use self::grow::is_fusible;
use super::access::{Computed, RegionReads};
use super::pending::{Item, PendingGraph};
use crate::core::limits::Limits;
use crate::core::shape::Shape;
use crate::graph::{Move, Op, View};
use crate::ir::{BufferId, Output};

pub(crate) use grow::MAX_REGION_ITEMS;

/// Regions, and the items that need none.
pub(crate) struct Regions {
    /// Consumers before producers.
    pub list: Vec<Region>,
    /// Outputs that are views of other items' memory: the source and the view of each of their outputs.
    pub aliases: FxHashMap<usize, SmallVec<[(Output, View); 1]>>,
    /// Items without elements, which no kernel writes.
    pub empty: FxHashSet<usize>,
    /// Items that some region reads from memory.
    pub materialized: Vec<bool>,
    /// Bytes of each buffer that holds a copied operand.
    pub scratch: Vec<usize>,
}

/// The items of one kernel, or of the dispatches of a fused operation.
pub(crate) enum Region {
    Elementwise {
        body: Body,
        writes: Items,
    },
    /// Reductions of one iteration space, or one scatter.
    Reduce {
        accumulators: Items,
        prologue: Body,
        epilogue: Option<EpilogueRegion>,
    },
    MatMul {
        item: usize,
        operands: [(BufferId, View); 2],
        epilogue: Option<EpilogueRegion>,
    },
    Fused {
        item: usize,
        inputs: SmallVec<[BufferId; 4]>,
    },
    /// A contiguous copy of an input that is a view.
    Copy {
        source: Output,
        view: View,
        to: BufferId,
    },
}

pub(crate) type Items = SmallVec<[usize; 2]>;

/// Elementwise computation at each index of an iteration space.
pub(crate) struct Body {
    pub space: Shape,
    pub results: SmallVec<[Output; 2]>,
    pub computed: Computed,
    pub access: RegionReads,
}

/// An elementwise computation that reads accumulators at its own index.
pub(crate) struct EpilogueRegion {
    pub body: Body,
    pub writes: Items,
    /// How many of the region's accumulators it reads; these are the first ones.
    pub consumed: usize,
}

impl Region {
    /// The item that labels the region in logs and errors.
    pub fn item(&self) -> usize {
        match self {
            Region::Elementwise { writes, .. } => writes[0],
            Region::Reduce { accumulators, .. } => accumulators[0],
            Region::MatMul { item, .. } | Region::Fused { item, .. } => *item,
            Region::Copy { source, .. } => source.item,
        }
    }

    fn epilogue(&self) -> Option<&EpilogueRegion> {
        match self {
            Region::Reduce { epilogue, .. } | Region::MatMul { epilogue, .. } => epilogue.as_ref(),
            Region::Elementwise { .. } | Region::Fused { .. } | Region::Copy { .. } => None,
        }
    }

    /// The items that the region reads from memory.
    fn reads(&self) -> impl Iterator<Item = usize> {
        let (body, buffers): (Option<&Body>, SmallVec<[BufferId; 4]>) = match self {
            Region::Elementwise { body, .. } | Region::Reduce { prologue: body, .. } => {
                (Some(body), SmallVec::new())
            }
            Region::MatMul { operands, .. } => (None, operands.iter().map(|(buffer, _)| *buffer).collect()),
            Region::Fused { inputs, .. } => (None, inputs.clone()),
            Region::Copy { source, .. } => (None, SmallVec::from_elem(BufferId::Item(*source), 1)),
        };
        let bodies = body.into_iter().chain(self.epilogue().map(|epilogue| &epilogue.body));
        let buffers = buffers.into_iter().filter_map(|buffer| match buffer {
            BufferId::Item(output) => Some(output.item),
            BufferId::Scratch(_) => None,
        });
        bodies.flat_map(|body| &body.access.reads).map(|output| output.item).chain(buffers)
    }

    /// The items that the region computes and that others may consume.
    fn computes(&self) -> Items {
        let own: &[usize] = match self {
            Region::Elementwise { writes, .. } => writes,
            Region::Reduce { accumulators, .. } => accumulators,
            Region::MatMul { item, .. } | Region::Fused { item, .. } => std::slice::from_ref(item),
            Region::Copy { .. } => &[],
        };
        own.iter().chain(self.epilogue().iter().flat_map(|epilogue| &epilogue.writes)).copied().collect()
    }
}

/// Without `fuse` each item is a region.
pub(super) fn regions(graph: &PendingGraph, limits: &Limits, fuse: bool) -> Regions {
    let outputs = (0..graph.items.len()).filter(|&i| graph.items[i].is_pending() && graph.items[i].is_output);
    let mut planner = Planner {
        graph,
        limits,
        fuse,
        cheap: grow::cheap(graph),
        boundaries: FxHashSet::default(),
        region_of: vec![None; graph.items.len()],
        unplaced: outputs.collect(),
        oldest: usize::MAX,
        regions: Regions {
            list: Vec::new(),
            aliases: FxHashMap::default(),
            empty: FxHashSet::default(),
            materialized: vec![false; graph.items.len()],
            scratch: Vec::new(),
        },
    };
    planner.materialize_sources_of_aliases();
    for item in (0..graph.items.len()).rev() {
        planner.place(item);
    }
    planner.regions
}

/// The state of the pass, which visits consumers before producers.
struct Planner<'a> {
    graph: &'a PendingGraph,
    limits: &'a Limits,
    fuse: bool,
    /// Items that a region may recompute instead of reading them.
    cheap: Vec<bool>,
    /// Items that are not computed inside other regions: strides cannot express their movement, or the region would be too
    /// large.
    boundaries: FxHashSet<usize>,
    /// The region that computes each item.
    region_of: Vec<Option<usize>>,
    /// Outputs and materialized items that have no region yet.
    unplaced: BTreeSet<usize>,
    /// The oldest item that has a region.
    oldest: usize,
    regions: Regions,
}

impl Planner<'_> {
    fn item(&self, item: usize) -> &Item {
        &self.graph.items[item]
    }

    /// Whether the item is read from memory by some region.
    fn is_materialized(&self, item: usize) -> bool {
        self.regions.materialized[item]
    }

    fn has_region(&self, item: usize) -> bool {
        self.region_of[item].is_some() || self.regions.empty.contains(&item)
    }

    /// Marks the item as materialized: its region writes it, and another reads it.
    fn materialize(&mut self, item: usize) {
        if self.item(item).is_pending() {
            self.regions.materialized[item] = true;
            if !self.has_region(item) {
                self.unplaced.insert(item);
            }
        }
    }

    /// Makes an item a boundary: it is not computed inside other regions.
    fn add_boundary(&mut self, item: usize) {
        let is_new = self.item(item).is_pending() && self.boundaries.insert(item);
        assert!(is_new, "{} is a boundary and still computed inside a region", self.item(item).op().name());
        self.materialize(item);
    }

    fn push(&mut self, region: Region) {
        let index = self.regions.list.len();
        for item in region.computes() {
            self.region_of[item] = Some(index);
            self.unplaced.remove(&item);
            self.oldest = self.oldest.min(item);
        }
        self.regions.list.push(region);
    }

    /// Materializes the values that outputs are aliases or views of, before any region grows.
    fn materialize_sources_of_aliases(&mut self) {
        for (i, item) in self.graph.items.iter().enumerate() {
            if !item.is_pending() || !item.is_output {
                continue;
            }
            let own: SmallVec<[Output; 3]> = SmallVec::from_elem(Output { item: i, out: 0 }, 1);
            for &source in if item.is_alias { &item.sources } else { &own } {
                if let Some((base, view)) = self.through_movement(source, false)
                    && self.is_whole(base, &view)
                {
                    self.materialize(base.item);
                }
            }
        }
    }

    /// Creates the region of an item, if it needs one. All consumers have regions already.
    fn place(&mut self, item: usize) {
        let it = self.item(item);
        if !it.is_pending() || !(self.is_materialized(item) || it.is_output) || self.has_region(item) {
            return;
        }
        if it.is_alias {
            let outs: SmallVec<[(Output, View); 1]> =
                it.sources.iter().map(|&source| self.aliased_memory(source)).collect();
            return self.make_alias(item, outs);
        }
        if !self.is_materialized(item)
            && let Op::Move(_) = it.op()
            && let Some(alias) = self.movement_alias(item)
        {
            return self.make_alias(item, SmallVec::from_elem(alias, 1));
        }
        if it.node.outs.iter().all(|spec| spec.shape.numel() == 0) {
            self.regions.empty.insert(item);
            self.unplaced.remove(&item);
            return;
        }
        match it.op() {
            Op::Reduce(..) | Op::ScatterAdd(..) => self.place_reduction(item),
            Op::MatMul => self.place_matmul(item, None),
            Op::Fused(_) => self.place_fused(item),
            _ => self.place_elementwise(item),
        }
    }

    fn make_alias(&mut self, item: usize, outs: SmallVec<[(Output, View); 1]>) {
        outs.iter().for_each(|(source, _)| self.materialize(source.item));
        self.unplaced.remove(&item);
        self.regions.aliases.insert(item, outs);
    }

    /// The memory of an output that is an alias.
    fn aliased_memory(&self, source: Output) -> (Output, View) {
        let item = self.item(source.item);
        let moved =
            item.is_pending() && !self.is_materialized(source.item) && matches!(item.op(), Op::Move(_));
        let alias = if moved { self.movement_alias(source.item) } else { None };
        alias.unwrap_or_else(|| (source, self.graph.layout(source)))
    }

    /// The memory that a movement item is a view of, if strides can express it.
    fn movement_alias(&self, item: usize) -> Option<(Output, View)> {
        let (base, view) = self.through_movement(Output { item, out: 0 }, false)?;
        let at = self.item(base.item);
        let in_memory = !at.is_pending() || self.is_materialized(base.item) || !is_fusible(at.op());
        ((in_memory || self.is_whole(base, &view)) && view.mask.is_none()).then_some((base, view))
    }

    /// Whether a view has all elements of an item in order.
    fn is_whole(&self, base: Output, view: &View) -> bool {
        view.is_contiguous() && view.shape.numel() == self.graph.spec(base).shape.numel()
    }

    /// The item behind a chain of movement, and the chain as a view of its memory. With `stop_at_materialized` a movement
    /// item that is in memory itself ends the chain.
    fn through_movement(&self, source: Output, stop_at_materialized: bool) -> Option<(Output, View)> {
        let mut chain: Vec<&Move> = Vec::new();
        let mut base = source;
        loop {
            let item = self.item(base.item);
            match item.op() {
                Op::Move(movement)
                    if item.is_pending()
                        && !item.is_alias
                        && !(stop_at_materialized && self.is_materialized(base.item)) =>
                {
                    chain.push(movement);
                    base = item.sources[0];
                }
                _ => break,
            }
        }
        let mut view = self.graph.layout(base);
        for movement in chain.into_iter().rev() {
            view = view.apply(movement)?;
        }
        Some((base, view))
    }

    /// The memory of an operand: the item that it belongs to, and the view of it.
    fn resolve_view(&self, source: Output) -> (Output, View) {
        match self.through_movement(source, true) {
            Some((base, view)) if view.mask.is_none() => (base, view),
            _ => (source, self.graph.layout(source)),
        }
    }
}
