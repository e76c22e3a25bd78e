//! `Tensor`: what users hold. Every shape, dim and dtype is checked here, in the user's line.
//!
//! In: calls. Out: nodes. Nothing is computed until a value is read or a step is taken.

pub(crate) mod activation;
pub(crate) mod creation;
pub(crate) mod elementwise;
pub(crate) mod fused;
pub(crate) mod indexing;
pub(crate) mod linalg;
pub(crate) mod loss;
pub(crate) mod movement;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod reading;
pub(crate) mod rearrange;
pub(crate) mod reduction;
pub(crate) mod scan;
pub(crate) mod var;

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

pub(crate) use elementwise::Const;
pub use elementwise::Operand;

use crate::core::dtype::DType;
use crate::core::grad_mode::is_grad_enabled;
use crate::core::shape::{Shape, Spec, refuse};
use crate::graph::{Accepts, Device, Edge, Handle, Move, Node, Op, print};

/// An n-dimensional array on a device, or the promise of one: a handle on a node of the graph.
///
/// Cloning is cheap and shares the value. Operations build the graph and return at once; a value is computed when it
/// is read ([`item`](Tensor::item), [`to_vec`](Tensor::to_vec), [`realize`](Tensor::realize)) or an optimizer steps.
///
/// ```
/// use wgrad::{Device, Tensor};
/// let x = Tensor::new([1.0, 2.0, 3.0], [3], &Device::cpu()).requires_grad();
/// let y = (&x * &x).sum();
/// y.backward();
/// assert_eq!(y.item().unwrap(), 14.0);
/// assert_eq!(x.grad().unwrap().to_vec::<f32>().unwrap(), [2.0, 4.0, 6.0]);
/// ```
#[derive(Clone)]
pub struct Tensor(pub(crate) Handle);

impl Tensor {
    pub(crate) fn from_node(node: Arc<Node>, out: u8) -> Tensor {
        Tensor(Handle::new(node, out))
    }

    pub(crate) fn from_edge(edge: &Edge) -> Tensor {
        Tensor::from_node(edge.node.clone(), edge.out)
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.0.node
    }

    /// Which of the node's outputs it is.
    pub(crate) fn out(&self) -> u8 {
        self.0.out
    }

    pub(crate) fn edge(&self) -> Edge {
        self.0.edge()
    }

    /// Whether both are handles on one output.
    pub(crate) fn same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(self.node(), other.node()) && self.out() == other.out()
    }

    /// A pending node of one output.
    #[track_caller]
    pub(crate) fn build(op: Op, sources: &[&Tensor], spec: Spec) -> Tensor {
        let device = &sources[0].node().device;
        // An operand that is only stretched is read through strides and not written; where strides cannot say it, the
        // run fails with `Error::TooLarge`.
        if !matches!(op, Op::Move(Move::Expand(_))) {
            spec.check_size(op.name(), device);
        }
        let tracks = is_grad_enabled() && spec.dtype.is_float() && sources.iter().any(|x| x.needs_grad());
        let edges = sources.iter().map(|x| x.edge()).collect();
        Tensor::from_node(Node::new(op, edges, [spec].into(), device, tracks), 0)
    }

    /// A leaf without sources.
    #[track_caller]
    pub(crate) fn leaf(op: Op, spec: Spec, device: &Device) -> Tensor {
        spec.check_size("tensor", device);
        let node = Node::new(op, SmallVec::new(), [spec].into(), device, false);
        Tensor::from_node(node, 0)
    }

    /// Whether a gradient flows to this tensor.
    pub fn needs_grad(&self) -> bool {
        self.dtype().is_float() && self.node().needs_grad()
    }

    /// The graph behind this tensor as text, oldest node first: what has been computed and forgotten is not in it.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let x = Tensor::ones([2], &Device::cpu());
    /// let lines = (x.exp() * 2.0).graph();
    /// assert!(lines.lines().any(|line| line.contains("exp")));
    /// ```
    pub fn graph(&self) -> String {
        print(self.node())
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.node().outs[self.out() as usize]
    }

    /// Sizes of the dimensions, outermost first.
    pub fn shape(&self) -> &Shape {
        self.node().shape(self.out())
    }

    /// The size of one dim; negative dims count from the end.
    #[track_caller]
    pub fn size(&self, dim: i64) -> usize {
        let dim = self.shape().dim("size", dim);
        self.shape().get(dim).copied().unwrap_or(1)
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape().rank()
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape().numel()
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.spec().dtype
    }

    /// Where the tensor lives.
    pub fn device(&self) -> &Device {
        &self.node().device
    }
}

impl Spec {
    /// Refuses what no binding of the device can hold, when it is built rather than when it runs.
    #[track_caller]
    pub(crate) fn check_size(&self, op: &str, device: &Device) {
        if let Some(limit) = device.binding_limit()
            && self.bytes() as u64 > limit
        {
            refuse!(
                op,
                "{self} takes {} bytes, over the {limit} bytes that a storage binding of this adapter can hold \
                 (max_storage_buffer_binding_size)",
                self.bytes()
            );
        }
    }
}

/// The one device that all operands live on.
#[track_caller]
pub(crate) fn same_device<'a>(op: &str, operands: &[&'a Tensor]) -> &'a Device {
    let Some(first) = operands.first() else { refuse!(op, "no operands") };
    if let Some(other) = operands.iter().find(|x| x.device() != first.device()) {
        refuse!(
            op,
            "operands live on different devices: {} on {} and {} on {}",
            first.spec(),
            first.device(),
            other.spec(),
            other.device()
        );
    }
    first.device()
}

/// Refuses operands on several devices, or of a dtype that the operation is not defined for.
#[track_caller]
pub(crate) fn check_operands(op: &str, accepts: Accepts, operands: &[&Tensor]) {
    same_device(op, operands);
    if let Some(wrong) = operands.iter().find(|x| !accepts.dtype(x.dtype())) {
        refuse!(op, "not defined for {}", wrong.spec());
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Tensor({} on {}, {})", self.spec(), self.device(), self.node().op.name())
    }
}
