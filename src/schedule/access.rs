//! Computes the strided views through which a region reads its operands.
//!
//! A region reads an operand through the view obtained by applying the movement operations of a path to the operand's
//! memory layout. [`trace`] follows all paths of a region. It returns the operands, or the item that must be
//! materialized because strides cannot express a path through it. `lower` follows the same paths and emits the
//! instructions.

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::pending::PendingGraph;
use crate::core::shape::Shape;
use crate::graph::{Move, Op, View};
use crate::ir::{Output, index_of};

/// Maximum number of values that a region loads and computes at each index. An item is computed once per path, and the
/// number of paths can grow exponentially.
const MAX_VALUES: usize = 512;

/// The items that a region computes, and the memory that each gather among them reads.
#[derive(Clone, Default)]
pub(crate) struct Computed {
    pub items: FxHashSet<usize>,
    pub gathers: FxHashMap<usize, (Output, View)>,
}

/// The operands that a region reads from memory.
#[derive(Clone, Default)]
pub(crate) struct RegionReads {
    pub reads: Vec<Output>,
    /// Whether the region reads its accumulators with their last two dims exchanged.
    pub transposed: bool,
}

/// The item that must be materialized before a region can be computed.
pub(super) struct Boundary(pub usize);

/// The number of a path. Path 0 is empty: the iteration space itself. The last step of path `i` is step `i - 1`.
pub(super) type PathId = usize;

/// The paths of one region, as a tree of steps.
#[derive(Default)]
pub(super) struct Paths {
    steps: Vec<PathStep>,
    /// The path that extends each path by each movement item.
    known: FxHashMap<(PathId, usize), PathId>,
}

/// One movement operation on a path.
struct PathStep {
    parent: PathId,
    movement: Move,
    /// The item to materialize if strides cannot express the path.
    boundary: usize,
}

impl Paths {
    /// Extends a path by a movement operation. Returns the new path.
    pub fn extend(&mut self, parent: PathId, movement: Move, boundary: usize) -> PathId {
        self.steps.push(PathStep { parent, movement, boundary });
        self.steps.len()
    }

    /// Returns the path extended by a movement item.
    pub fn through(&mut self, graph: &PendingGraph, item: usize, path: PathId) -> PathId {
        if let Some(&inner) = self.known.get(&(path, item)) {
            return inner;
        }
        let Op::Move(movement) = graph.items[item].op() else {
            unreachable!("only movement items have a next path")
        };
        // In general the movement item itself can be materialized. For windows of a padded source (with a validity
        // range), the source must be materialized.
        let boundary = if let Move::Windows(_) = movement { graph.items[item].sources[0].item } else { item };
        let inner = self.extend(path, movement.clone(), boundary);
        self.known.insert((path, item), inner);
        inner
    }

    /// Returns the view obtained by applying a path's movement operations to a layout.
    pub fn view(&self, layout: View, mut path: PathId) -> Result<View, Boundary> {
        let mut view = layout;
        while path > 0 {
            let step = &self.steps[path - 1];
            view = view.apply(&step.movement).ok_or(Boundary(step.boundary))?;
            path = step.parent;
        }
        Ok(view)
    }

    /// Whether the path contains padding, so that some indices of the iteration space are outside the item.
    pub fn pads(&self, mut path: PathId) -> bool {
        while path > 0 {
            let step = &self.steps[path - 1];
            if matches!(step.movement, Move::Pad(_)) {
                return true;
            }
            path = step.parent;
        }
        false
    }
}

impl PendingGraph {
    /// Returns the memory layout of an output: the view of an input's value, or contiguous, because kernels write
    /// contiguous results.
    pub fn layout(&self, output: Output) -> View {
        match &self.items[output.item].values {
            Some(values) => values[output.out as usize].view.clone(),
            None => View::contiguous(&self.spec(output).shape),
        }
    }
}

/// Returns a view whose offset at each index is the coordinate along a dim.
pub(super) fn coordinate(shape: &Shape, dim: usize) -> View {
    let strides = (0..shape.rank()).map(|d| isize::from(d == dim)).collect();
    View { shape: shape.clone(), strides, offset: 0, mask: None }
}

/// Returns the memory that a gather reads, as a view over the output's coordinates whose stride along the dim is 0, and
/// the dim's size and stride.
pub(super) fn gathered(view: &View, out: &Shape, dim: usize) -> (View, usize, isize) {
    let (size, stride) = (view.shape[dim], view.strides[dim]);
    let mut view = view.clone();
    view.strides[dim] = 0;
    view.shape = out.clone();
    (view, size, stride)
}

/// The order in which an epilogue reads its accumulators. It must be the same for all of them.
#[derive(PartialEq)]
enum ConsumeOrder {
    InOrder,
    Transposed,
}

/// Returns the operands of a region that computes `results`, each result at the end of its path.
pub(super) fn trace(
    graph: &PendingGraph,
    space: &Shape,
    results: &[(Output, PathId)],
    paths: Paths,
    computed: &Computed,
    accumulators: &[usize],
) -> Result<RegionReads, Boundary> {
    let mut tracer = Tracer {
        graph,
        space,
        results,
        computed,
        accumulators,
        paths,
        known: FxHashMap::with_capacity_and_hasher(2 * computed.items.len(), FxBuildHasher),
        values: 0,
        access: RegionReads::default(),
        order: None,
    };
    for &(result, path) in results {
        tracer.visit(result, path)?;
    }
    tracer.access.transposed = tracer.order == Some(ConsumeOrder::Transposed);
    Ok(tracer.access)
}

struct Tracer<'a> {
    graph: &'a PendingGraph,
    space: &'a Shape,
    results: &'a [(Output, PathId)],
    computed: &'a Computed,
    accumulators: &'a [usize],
    paths: Paths,
    /// Whether each value is already zero outside the path's valid range.
    known: FxHashMap<(Output, PathId), bool>,
    values: usize,
    access: RegionReads,
    order: Option<ConsumeOrder>,
}

impl Tracer<'_> {
    /// Follows a value along a path. Returns whether the value is already zero outside the path's valid range: a load
    /// returns zero there, and a computed value needs a mask instruction.
    fn visit(&mut self, source: Output, path: PathId) -> Result<bool, Boundary> {
        if let Some(&masked) = self.known.get(&(source, path)) {
            return Ok(masked);
        }
        let masked = if self.computed.items.contains(&source.item) {
            self.compute(source.item, path)?
        } else if self.accumulators.contains(&source.item) {
            self.accumulate(source, path)?;
            false
        } else {
            self.paths.view(self.graph.layout(source), path)?;
            self.values += 1;
            index_of(&mut self.access.reads, source);
            true
        };
        self.known.insert((source, path), masked);
        Ok(masked)
    }

    fn compute(&mut self, item: usize, path: PathId) -> Result<bool, Boundary> {
        let is_result = self.results.iter().any(|(result, _)| result.item == item);
        if self.values > MAX_VALUES && !is_result {
            return Err(Boundary(item));
        }
        let graph = self.graph;
        let it = &graph.items[item];
        match it.op() {
            Op::Move(movement) => {
                let inner = self.paths.through(graph, item, path);
                let masked = self.visit(it.sources[0], inner)?;
                if !masked && matches!(movement, Move::Pad(_)) {
                    self.paths.view(View::contiguous(&graph.spec(it.sources[0]).shape), inner)?;
                    return Ok(true);
                }
                return Ok(masked);
            }
            Op::Iota(dim) => drop(self.paths.view(coordinate(&it.spec(0).shape, *dim), path)?),
            Op::Random { .. } => drop(self.paths.view(View::contiguous(&it.spec(0).shape), path)?),
            Op::Gather(dim) => self.gather(item, *dim, path)?,
            _ => {
                for &source in &it.sources {
                    self.visit(source, path)?;
                }
            }
        }
        self.values += 1;
        Ok(false)
    }

    fn gather(&mut self, item: usize, dim: usize, path: PathId) -> Result<(), Boundary> {
        let it = &self.graph.items[item];
        let out = &it.spec(0).shape;
        if out.numel() == 0 {
            return Ok(()); // the region reads only the padding around the gather's empty result
        }
        let (base, view) = &self.computed.gathers[&item];
        self.paths.view(gathered(view, out, dim).0, path)?;
        index_of(&mut self.access.reads, *base);
        let masked = self.visit(it.sources[1], path)?;
        if self.paths.pads(path) && !masked {
            self.paths.view(View::contiguous(out), path)?;
        }
        Ok(())
    }

    fn accumulate(&mut self, source: Output, path: PathId) -> Result<(), Boundary> {
        let layout = self.graph.layout(source);
        let view = self.paths.view(layout.clone(), path)?;
        let order = if view.is_contiguous() && view.shape.numel() == self.space.numel() {
            ConsumeOrder::InOrder
        } else if view.shape == *self.space && layout.transposed().is_some_and(|other| other == view) {
            ConsumeOrder::Transposed
        } else {
            return Err(Boundary(source.item));
        };
        if self.order.as_ref().is_some_and(|other| *other != order) {
            return Err(Boundary(source.item));
        }
        self.order = Some(order);
        Ok(())
    }
}

/// Returns the paths from a scatter's iteration space to the index and to `src`, and the iteration space: every element
/// of the output times every position of the index along the dim.
pub(super) fn scatter_paths(graph: &PendingGraph, item: usize, dim: usize) -> (Paths, [PathId; 2], Shape) {
    let it = &graph.items[item];
    let shape = &graph.spec(it.sources[0]).shape;
    let out = &it.spec(0).shape;
    let space = out.insert(out.rank(), shape[dim]);
    let last = (0..shape.rank()).filter(|&d| d != dim).chain([dim]).collect();
    let with_position = shape.with(dim, 1).insert(shape.rank(), shape[dim]);
    let moves = [Move::Expand(space.clone()), Move::Reshape(with_position), Move::Permute(last)];
    let mut paths = Paths::default();
    let ends = [it.sources[0], it.sources[1]].map(|source| {
        moves.iter().fold(0, |path, movement| paths.extend(path, movement.clone(), source.item))
    });
    (paths, ends, space)
}
