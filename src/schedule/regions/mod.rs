//! Divides the graph into regions.
//!
//! Policy: the pass visits items from consumers to producers. The root of a region is an output of the run or an item
//! that a kernel reads from memory. Reductions, matrix products, scatters and fused operations with a kernel are always
//! roots or accumulators. A region grows from its root (`grow`): it includes an elementwise or movement producer if all
//! consumers of the producer are in the region, or if recomputing the producer reads no more memory than loading its
//! result. If a producer must be materialized anyway and is computed at the same index of the same iteration space, the
//! region also writes it. The number of storage buffers and `MAX_REGION_ITEMS` limit the growth. Movement operations
//! and scalars are always included, because they are only index arithmetic and uniforms. Matrix products and fused
//! operations read their operands from memory (`operands`); matrix products read them through strides. An elementwise
//! region that consumes a reduction, a scatter or a matrix product at the same index becomes its epilogue (`epilogue`),
//! so that one kernel computes both. Elementwise regions over the same iteration space that share an operand become one
//! region. So do reductions over the same iteration space, and one epilogue may consume several of them.
//!
//! Legality depends only on views: a region must read each operand through strided views, one per path (`access`). If
//! strides cannot express a path to an operand, the item where the composition fails becomes a boundary and is
//! materialized. Therefore `lower` cannot fail.
//!
//! In: the simplified graph. Out: regions, consumers before producers. Independent of instructions and memory slots.

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

/// The regions, and the items that need no region.
pub(crate) struct Regions {
    /// The regions, consumers before producers.
    pub list: Vec<Region>,
    /// Items that are views of other items' memory, with the source and the view of each of their outputs.
    pub aliases: FxHashMap<usize, SmallVec<[(Output, View); 1]>>,
    /// Items that have no elements. No kernel writes them.
    pub empty: FxHashSet<usize>,
    /// True for each item that some region reads from memory.
    pub materialized: Vec<bool>,
    /// The size in bytes of each scratch buffer, which stores a contiguous copy of an operand.
    pub scratch: Vec<usize>,
}

/// The items that one kernel computes, or one fused operation, which may have several dispatches.
pub(crate) enum Region {
    Elementwise {
        body: Body,
        writes: Items,
    },
    /// Reductions over the same iteration space, or one scatter.
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
    /// A contiguous copy of an input whose value is a strided view.
    Copy {
        source: Output,
        view: View,
        to: BufferId,
    },
}

pub(crate) type Items = SmallVec<[usize; 2]>;

/// An elementwise computation at each index of an iteration space.
pub(crate) struct Body {
    pub space: Shape,
    pub results: SmallVec<[Output; 2]>,
    pub computed: Computed,
    pub access: RegionReads,
}

/// An elementwise computation that reads accumulators at the index that it computes.
pub(crate) struct EpilogueRegion {
    pub body: Body,
    pub writes: Items,
    /// The number of accumulators that the epilogue reads: the first `consumed` of the region.
    pub consumed: usize,
}

impl Region {
    /// Returns the item that labels the region in logs and errors.
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

    /// Returns the items that the region reads from memory.
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

    /// Returns the items that the region computes and that other regions may consume.
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

/// Divides the graph into regions. Without `fuse` each item has its own region.
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
    /// True for each item that a region may recompute instead of loading its result.
    cheap: Vec<bool>,
    /// Items that are not computed inside other regions, because strides cannot express a path through them or because
    /// the region would be too large.
    boundaries: FxHashSet<usize>,
    /// The index of the region that computes each item.
    region_of: Vec<Option<usize>>,
    /// Outputs and materialized items that have no region yet.
    unplaced: BTreeSet<usize>,
    /// The first item, in topological order, that has a region.
    oldest: usize,
    regions: Regions,
}

impl Planner<'_> {
    fn item(&self, item: usize) -> &Item {
        &self.graph.items[item]
    }

    /// Whether some region reads the item from memory.
    fn is_materialized(&self, item: usize) -> bool {
        self.regions.materialized[item]
    }

    fn has_region(&self, item: usize) -> bool {
        self.region_of[item].is_some() || self.regions.empty.contains(&item)
    }

    /// Marks the item as materialized: its region writes it to memory and another region reads it.
    fn materialize(&mut self, item: usize) {
        if self.item(item).is_pending() {
            self.regions.materialized[item] = true;
            if !self.has_region(item) {
                self.unplaced.insert(item);
            }
        }
    }

    /// Makes an item a boundary: other regions read it from memory instead of computing it.
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

    /// Materializes each item of which an output of the run is an alias, so that the output can share its memory. Called before any region grows.
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

    /// Creates the region of an item if it needs one. The regions of all its consumers exist already.
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

    /// Returns the memory of an output that is an alias: the item that owns the memory, and the view of it.
    fn aliased_memory(&self, source: Output) -> (Output, View) {
        let item = self.item(source.item);
        let moved =
            item.is_pending() && !self.is_materialized(source.item) && matches!(item.op(), Op::Move(_));
        let alias = if moved { self.movement_alias(source.item) } else { None };
        alias.unwrap_or_else(|| (source, self.graph.layout(source)))
    }

    /// Returns the memory that a movement item is a view of, if strides can express the view.
    fn movement_alias(&self, item: usize) -> Option<(Output, View)> {
        let (base, view) = self.through_movement(Output { item, out: 0 }, false)?;
        let at = self.item(base.item);
        let in_memory = !at.is_pending() || self.is_materialized(base.item) || !is_fusible(at.op());
        ((in_memory || self.is_whole(base, &view)) && view.mask.is_none()).then_some((base, view))
    }

    /// Whether a view contains all elements of an item in row-major order.
    fn is_whole(&self, base: Output, view: &View) -> bool {
        view.is_contiguous() && view.shape.numel() == self.graph.spec(base).shape.numel()
    }

    /// Follows a chain of movement items to its source. Returns the source and the chain as a view of its memory, or
    /// `None` if strides cannot express the chain. If `stop_at_materialized` is true, a materialized movement item ends
    /// the chain.
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

    /// Returns the memory of an operand: the item that owns the memory, and the view of it.
    fn resolve_view(&self, source: Output) -> (Output, View) {
        match self.through_movement(source, true) {
            Some((base, view)) if view.mask.is_none() => (base, view),
            _ => (source, self.graph.layout(source)),
        }
    }
}
