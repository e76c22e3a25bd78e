//! Nodes of the graph, the edges between them, and the values cached on them.
//!
//! In: an operation, its sources and the specs of its outputs, all checked. Out: a node, which is pending until a run
//! sets its value. Independent of gradient rules, kernels and backends.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::device::Device;
use super::elementwise::{Binary, Unary};
use super::fused::FusedOp;
use super::handle::Handle;
use super::storage::{Storage, Value};
use super::view::{Move, View};
use crate::core::dtype::DType;
use crate::core::extremes::Extremes;
use crate::core::scoped::scoped;
use crate::core::shape::{Shape, Spec};
use crate::core::sync::lock;

/// Maximum depth of a pending chain, in nodes. A deeper chain is realized while it is built, which bounds the size of
/// plans.
pub(crate) const MAX_DEPTH: u32 = 2048;

/// The operations: about forty primitives, and fused operations, which have a decomposition into primitives.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Data from the host, with the extremes of integer data. The node has a value when it is created.
    Input(Option<Extremes>),
    /// A number written in this library. It is part of a plan's key, and `simplify` folds it.
    Const(f64),
    /// A number from the user. It is passed as a uniform and is not part of a plan's key. Two scalars are equal only if
    /// they are the same node.
    Scalar(f64),
    /// The index along a dim.
    Iota(usize),
    /// Random numbers, uniform in [0, 1): a function of the seed, the counter and the linear index.
    Random {
        seed: u64,
        counter: u64,
    },
    Unary(Unary),
    Binary(Binary),
    /// `where(condition, a, b)`
    Where,
    Cast(DType),
    Move(Move),
    /// A reduction over the listed dims, which are kept with size 1.
    Reduce(Reduce, SmallVec<[usize; 4]>),
    /// The matrix product `[batch.., M, K] x [batch.., K, N]`.
    MatMul,
    /// `(x, index)`: the element of `x` at position `index` along the dim.
    Gather(usize),
    /// `(index, src)`, with the attributes dim and size: for each position of the result along the dim, the sum of the
    /// elements of `src` whose index equals this position.
    ScatterAdd(usize, usize),
    Fused(Arc<dyn FusedOp>),
}

/// The operation by which a reduction combines elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reduce {
    Sum,
    Max,
}

impl Op {
    /// Returns the operation's name in messages, printed graphs and profiles.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input(_) => "input",
            Op::Const(_) => "const",
            Op::Scalar(_) => "scalar",
            Op::Iota(_) => "iota",
            Op::Random { .. } => "random",
            Op::Unary(op) => op.row().name,
            Op::Binary(op) => op.row().name,
            Op::Where => "where",
            Op::Cast(_) => "cast",
            Op::Move(movement) => movement.name(),
            Op::Reduce(Reduce::Sum, _) => "sum",
            Op::Reduce(Reduce::Max, _) => "amax",
            Op::MatMul => "matmul",
            Op::Gather(_) => "gather",
            Op::ScatterAdd(..) => "scatter_add",
            Op::Fused(op) => op.name(),
        }
    }
}

/// A reference to one output of a node.
#[derive(Clone)]
pub(crate) struct Edge {
    pub node: Arc<Node>,
    pub out: u8,
}

pub(crate) type Edges = SmallVec<[Edge; 3]>;

/// One operation of the graph. Ids increase with creation, and a node refers only to older nodes, so the order of ids
/// is a topological order.
pub(crate) struct Node {
    pub id: u64,
    pub op: Op,
    pub outs: SmallVec<[Spec; 1]>,
    pub device: Device,
    /// The user's line that built the node.
    pub at: &'static Location<'static>,
    /// Whether a backward pass propagates a gradient through this node to one of its sources.
    pub tracks: bool,
    /// An upper bound on the length of the longest pending chain that ends at this node. It is not updated when a
    /// source is computed.
    depth: AtomicU32,
    /// The number of [`Handle`]s on this node.
    held: AtomicU32,
    /// Whether the node is a leaf that requires a gradient.
    leaf: AtomicBool,
    /// Whether a backward pass has freed the graph of this node's sources.
    released: AtomicBool,
    /// Whether a run deferred computing the value until it is read.
    deferred: AtomicBool,
    /// The number of the recomputation that built the node ([`with_recomputation`]), or 0.
    pub recomputation: u64,
    state: Mutex<NodeState>,
}

thread_local! {
    static RECOMPUTATION: Cell<u64> = const { Cell::new(0) };
}

/// Marks the nodes that `f` builds as one recomputation, whose number must not be 0. The scheduler does not merge equal
/// nodes of different recomputations: merging would keep the forward pass's value in memory until the backward pass,
/// which recomputation avoids.
pub(crate) fn with_recomputation<R>(recomputation: u64, f: impl FnOnce() -> R) -> R {
    scoped(&RECOMPUTATION, recomputation, f)
}

#[derive(Default)]
pub(crate) struct NodeState {
    pub sources: Edges,
    /// The value of each output, once computed.
    pub values: Option<Arc<[Value]>>,
    /// The gradient that backward accumulated, for leaves and for nodes with `retain_grad`.
    pub grad: Option<Handle>,
    pub retain_grad: bool,
}

impl Node {
    #[track_caller]
    pub fn new(
        op: Op,
        sources: Edges,
        outs: SmallVec<[Spec; 1]>,
        device: &Device,
        tracks: bool,
    ) -> Arc<Node> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let operands = if device.is_eager() { sources.clone() } else { Edges::new() };
        let depth = 1 + sources.iter().map(|edge| edge.node.pending_depth()).max().unwrap_or(0);
        let node = Arc::new(Node {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            op,
            outs,
            device: device.clone(),
            at: Location::caller(),
            tracks,
            depth: AtomicU32::new(depth),
            held: AtomicU32::new(0),
            leaf: AtomicBool::new(false),
            released: AtomicBool::new(false),
            deferred: AtomicBool::new(false),
            recomputation: RECOMPUTATION.get(),
            state: Mutex::new(NodeState { sources, ..NodeState::default() }),
        });
        if device.is_eager() && !matches!(node.op, Op::Input(_)) {
            device.realize_eagerly(&node, &operands);
        }
        if depth > MAX_DEPTH && node.measure_depth() > MAX_DEPTH {
            device.realize_deep(&node);
        }
        node
    }

    /// Recomputes the depth of this node and of all pending nodes that it depends on.
    fn measure_depth(self: &Arc<Node>) -> u32 {
        let mut measured: FxHashSet<u64> = FxHashSet::default();
        let mut stack: Vec<(Arc<Node>, bool)> = vec![(self.clone(), false)];
        while let Some((node, entered)) = stack.pop() {
            if measured.contains(&node.id) || node.is_computed() {
                continue;
            }
            let sources = node.sources();
            if entered {
                let deepest = sources.iter().map(|edge| edge.node.pending_depth()).max().unwrap_or(0);
                node.depth.store(1 + deepest, Ordering::Relaxed);
                measured.insert(node.id);
            } else {
                stack.push((node, true));
                stack.extend(sources.into_iter().map(|edge| (edge.node, false)));
            }
        }
        self.depth.load(Ordering::Relaxed)
    }

    /// Creates an input node, which has a value when it is created.
    #[track_caller]
    pub fn input(
        spec: Spec,
        storage: Arc<dyn Storage>,
        known: Option<Extremes>,
        device: &Device,
    ) -> Arc<Node> {
        let view = View::contiguous(&spec.shape);
        let node = Node::new(Op::Input(known), Edges::new(), [spec].into(), device, false);
        node.state().values = Some([Value { storage, view }].into());
        node
    }

    pub fn state(&self) -> MutexGuard<'_, NodeState> {
        lock(&self.state)
    }

    pub fn sources(&self) -> Edges {
        self.state().sources.clone()
    }

    /// Returns the sources of a pending node if there is no other reference to the node.
    pub fn sole_sources(self: &mut Arc<Node>) -> Option<&mut Edges> {
        let state = Arc::get_mut(self)?.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.values.is_none().then_some(&mut state.sources)
    }

    pub fn value(&self, out: u8) -> Option<Value> {
        self.state().values.as_ref().map(|values| values[out as usize].clone())
    }

    pub fn is_computed(&self) -> bool {
        self.state().values.is_some()
    }

    /// Sets the node's values, and drops the sources unless a later backward pass needs them.
    pub fn complete(&self, values: Arc<[Value]>, keeps_sources: bool) {
        self.state().values = Some(values);
        if !keeps_sources || self.is_released() {
            self.release();
        }
    }

    /// Whether a later backward pass may need the sources: true if a path to a leaf has not been freed.
    pub fn keeps_sources(&self) -> bool {
        self.tracks
            && !self.is_released()
            && self.sources().iter().any(|edge| edge.node.needs_grad() && !edge.node.is_released())
    }

    pub fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    /// Frees the graph of this node's sources: a later backward pass through it is an error. A computed node drops its
    /// sources immediately; a pending node drops them when it is computed. A leaf drops its sources but is not marked,
    /// because new graphs may be built on it.
    pub fn release(&self) {
        self.released.store(self.tracks, Ordering::Release);
        let mut state = self.state();
        let forgotten =
            if state.values.is_none() { Edges::new() } else { std::mem::take(&mut state.sources) };
        drop(state);
        drop_edges(forgotten);
    }

    /// Whether an earlier run deferred computing the value until it is read.
    pub fn was_deferred(&self) -> bool {
        self.deferred.load(Ordering::Relaxed)
    }

    pub fn set_deferred(&self) {
        self.deferred.store(true, Ordering::Relaxed);
    }

    pub fn is_leaf(&self) -> bool {
        self.leaf.load(Ordering::Acquire)
    }

    pub fn set_leaf(&self) {
        self.leaf.store(true, Ordering::Release);
    }

    pub fn needs_grad(&self) -> bool {
        self.tracks || self.is_leaf()
    }

    pub fn held(&self) -> u32 {
        self.held.load(Ordering::Acquire)
    }

    pub fn hold(&self) {
        self.held.fetch_add(1, Ordering::AcqRel);
    }

    pub fn unhold(&self) {
        self.held.fetch_sub(1, Ordering::AcqRel);
    }

    fn pending_depth(&self) -> u32 {
        if self.is_computed() { 0 } else { self.depth.load(Ordering::Relaxed) }
    }

    pub fn shape(&self, out: u8) -> &Shape {
        &self.outs[out as usize].shape
    }
}

/// Drops a graph without recursion, because a long chain would overflow the stack.
fn drop_edges(edges: Edges) {
    let mut stack: Vec<Edge> = edges.into_iter().collect();
    while let Some(edge) = stack.pop() {
        if let Some(node) = Arc::into_inner(edge.node) {
            stack.extend(std::mem::take(&mut node.state().sources));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop_edges(std::mem::take(&mut state.sources));
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "%{} = {}", self.id, self.op.name())?;
        for (i, edge) in self.state().sources.iter().enumerate() {
            write!(f, "{}%{}", if i == 0 { " " } else { ", " }, edge.node.id)?;
        }
        write!(f, " : {:?} at {}", self.outs, self.at)
    }
}
