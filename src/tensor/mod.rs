//! [`Tensor`], the type that users hold. Shapes, dims and dtypes are checked here, at the caller's line.
//!
//! Input: method calls. Output: graph nodes. Nothing is computed until a value is read or an optimizer steps.

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

/// An n-dimensional array on a device. It is a handle to a graph node, whose value may not be computed yet.
///
/// Cloning is cheap and shares the value. Operations extend the graph and return at once. A value is computed when it
/// is read ([`item`](Tensor::item), [`to_vec`](Tensor::to_vec), [`realize`](Tensor::realize)) or when an optimizer
/// steps.
///
/// Methods panic at the caller's line if shapes, dims, dtypes or devices do not fit, or if the result exceeds the
/// device's storage binding limit.
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

    /// The index of the output that this handle refers to.
    pub(crate) fn out(&self) -> u8 {
        self.0.out
    }

    pub(crate) fn edge(&self) -> Edge {
        self.0.edge()
    }

    /// Whether both handles refer to the same output of the same node.
    pub(crate) fn same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(self.node(), other.node()) && self.out() == other.out()
    }

    /// Builds a pending node with one output.
    #[track_caller]
    pub(crate) fn build(op: Op, sources: &[&Tensor], spec: Spec) -> Tensor {
        let device = &sources[0].node().device;
        // An expanded operand is read through strides and is not written to memory. If strides cannot express it, the
        // run fails with `Error::TooLarge`.
        if !matches!(op, Op::Move(Move::Expand(_))) {
            spec.check_size(op.name(), device);
        }
        let tracks = is_grad_enabled() && spec.dtype.is_float() && sources.iter().any(|x| x.needs_grad());
        let edges = sources.iter().map(|x| x.edge()).collect();
        Tensor::from_node(Node::new(op, edges, [spec].into(), device, tracks), 0)
    }

    /// Builds a node without sources.
    #[track_caller]
    pub(crate) fn leaf(op: Op, spec: Spec, device: &Device) -> Tensor {
        spec.check_size("tensor", device);
        let node = Node::new(op, SmallVec::new(), [spec].into(), device, false);
        Tensor::from_node(node, 0)
    }

    /// Whether the tensor needs a gradient: it is a leaf that requires one, or it depends on such a leaf.
    pub fn needs_grad(&self) -> bool {
        self.dtype().is_float() && self.node().needs_grad()
    }

    /// The pending graph of this tensor as text, oldest node first. Nodes that were computed and freed are not shown.
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

    /// The sizes of the dims, outermost first.
    pub fn shape(&self) -> &Shape {
        self.node().shape(self.out())
    }

    /// The size of one dim. A negative dim counts from the end.
    ///
    /// # Panics
    ///
    /// Panics if `dim` is out of range.
    #[track_caller]
    pub fn size(&self, dim: i64) -> usize {
        let dim = self.shape().dim("size", dim);
        self.shape().get(dim).copied().unwrap_or(1)
    }

    /// The number of dims.
    pub fn rank(&self) -> usize {
        self.shape().rank()
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.shape().numel()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.spec().dtype
    }

    /// The device that holds the tensor.
    pub fn device(&self) -> &Device {
        &self.node().device
    }
}

impl Spec {
    /// Panics if a tensor exceeds the device's storage binding limit: at the line that builds it, not when it runs.
    #[track_caller]
    pub(crate) fn check_size(&self, op: &str, device: &Device) {
        if let Some(limit) = device.binding_limit()
            && self.bytes() as u64 > limit
        {
            refuse!(
                op,
                "{self} takes {} bytes, more than the {limit} bytes of this adapter's storage binding limit \
                 (max_storage_buffer_binding_size)",
                self.bytes()
            );
        }
    }
}

/// The device of all operands. Panics if there are no operands or if their devices differ.
#[track_caller]
pub(crate) fn same_device<'a>(op: &str, operands: &[&'a Tensor]) -> &'a Device {
    let Some(first) = operands.first() else { refuse!(op, "expects at least one operand") };
    if let Some(other) = operands.iter().find(|x| x.device() != first.device()) {
        refuse!(
            op,
            "operands are on different devices: {} on {} and {} on {}",
            first.spec(),
            first.device(),
            other.spec(),
            other.device()
        );
    }
    first.device()
}

/// Panics if the operands are on different devices, or if the operation does not support a dtype.
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
