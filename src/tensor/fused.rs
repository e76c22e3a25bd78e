//! Fused operations: the [`Fused`] trait, and how a fused operation becomes a node.
//!
//! Input: an operation of the crate (`ops`) or of a user, and its operands. Output: a graph node. This module does not
//! know any particular operation, shader or gradient.

use std::any::{Any, TypeId};
use std::fmt::Debug;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Tensor, same_device};
use crate::core::grad_mode::{is_grad_enabled, no_grad};
use crate::core::limits::Limits;
use crate::core::shape::{ShapeError, Spec, refuse};
use crate::graph::{Edge, Edges, FusedOp, Launch, Node, Op};

/// An operation with its own WGSL kernels, and its decomposition into primitives.
///
/// ```
/// use wgrad::ops::{Buffer, Fused, Launch, Tolerance, Word, check};
/// use wgrad::{Device, Limits, ShapeError, Spec, Tensor};
///
/// /// `x² + c` of a vector.
/// #[derive(Clone, Debug)]
/// struct SquarePlus(f64);
///
/// impl Fused for SquarePlus {
///     fn name(&self) -> &'static str {
///         "square_plus"
///     }
///     fn scalars(&self) -> Vec<f64> {
///         vec![self.0]
///     }
///     fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
///         Ok(vec![inputs[0].clone()])
///     }
///     fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
///         vec![inputs[0].square() + self.0]
///     }
///     fn launch(&self, io: &[Spec], _limits: &Limits) -> Option<Vec<Launch>> {
///         let n = io[0].shape.numel() as u32;
///         let source = "
///             struct Params { n: u32, c: f32 }
///             @group(0) @binding(0) var<uniform> params: Params;
///             @group(0) @binding(1) var<storage, read> x: array<f32>;
///             @group(0) @binding(2) var<storage, read_write> y: array<f32>;
///
///             @compute @workgroup_size(64)
///             fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
///                     @builtin(local_invocation_index) lane: u32) {
///                 let i = (group.y * groups.x + group.x) * 64u + lane;
///                 if (i < params.n) { y[i] = x[i] * x[i] + params.c; }
///             }";
///         let launch = Launch::new(source)
///             .buffers([Buffer::Input(0), Buffer::Output(0)])
///             .uniforms([Word::Size(n), Word::Scalar(0)])
///             .workgroups(n.div_ceil(64));
///         Some(vec![launch])
///     }
/// }
///
/// let x = Tensor::new([1.0, -2.0, 3.0], [3], &Device::auto());
/// let y = Tensor::fused(SquarePlus(0.5), &[&x]).remove(0);
/// assert_eq!(y.to_vec::<f32>()?, [1.5, 4.5, 9.5]);
/// check(SquarePlus(0.5), &[&x], Tolerance { atol: 0.0, rtol: 1e-6 })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Fused: Any + Debug + Send + Sync {
    /// The name in messages and profiles.
    fn name(&self) -> &'static str;

    /// Numbers that determine the shapes or the kernel source. They are part of a plan's key, together with the
    /// operation's type.
    fn attributes(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Numbers from the user (a learning rate, eps, p). They are passed as uniforms and are not part of the key. A
    /// launch refers to them by index.
    fn scalars(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Shapes and dtypes of the outputs: the results, then the tensors saved for the backward pass.
    ///
    /// # Errors
    ///
    /// Returns a message if the inputs do not fit the operation. [`Tensor::fused`] panics with it at the caller's line.
    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError>;

    /// The decomposition: computes every output, including the saved ones, with primitives.
    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor>;

    /// One gradient per input. Return `None` to differentiate `decomposition` instead, for example if a gradient of a saved
    /// output arrives that the rule does not handle.
    fn backward(&self, _io: &Io, _grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        None
    }

    /// This operation with one more operand, the last, which is added to its single result. `None` means that the
    /// addition is a separate operation. A gradient operation that supports it saves a pass over memory when gradients
    /// are accumulated.
    fn with_addend(&self) -> Option<Arc<dyn Fused>> {
        None
    }

    /// The dispatches, in order, for these inputs and outputs. `None` means that `decomposition` runs instead. Every buffer
    /// is contiguous and not empty.
    fn launch(&self, _io: &[Spec], _limits: &Limits) -> Option<Vec<Launch>> {
        None
    }
}

/// The inputs and outputs of an operation, for its gradient rule.
pub struct Io<'a> {
    /// The operands. [`Tensor::needs_grad`] tells which of them need a gradient.
    pub inputs: &'a [Tensor],
    /// The results, then the saved tensors.
    pub outputs: &'a [Tensor],
}

impl Tensor {
    /// Applies a fused operation and returns all its outputs, in order. See [`Fused`].
    ///
    /// # Panics
    ///
    /// Panics with the message of [`Fused::outputs`] if the inputs do not fit, if there are no inputs, if the inputs
    /// are on different devices, or if an output exceeds the device's storage binding limit.
    #[track_caller]
    pub fn fused(op: impl Fused, inputs: &[&Tensor]) -> Vec<Tensor> {
        Tensor::fused_shared(Arc::new(op), inputs)
    }

    #[track_caller]
    pub(crate) fn fused_shared(op: Arc<dyn Fused>, inputs: &[&Tensor]) -> Vec<Tensor> {
        let device = same_device(op.name(), inputs);
        let specs: SmallVec<[Spec; 4]> = inputs.iter().map(|x| x.spec().clone()).collect();
        let outs = match op.outputs(&specs) {
            Ok(outs) => outs,
            Err(ShapeError(message)) => refuse!(op.name(), "{message}"),
        };
        outs.iter().for_each(|out| out.check_size(op.name(), device));
        let tracks = is_grad_enabled()
            && outs.iter().any(|spec| spec.dtype.is_float())
            && inputs.iter().any(|x| x.needs_grad());
        let count = outs.len() as u8;
        let edges = inputs.iter().map(|x| x.edge()).collect();
        let node = Node::new(Op::Fused(Arc::new(op)), edges, outs.into(), device, tracks);
        (0..count).map(|out| Tensor::from_node(node.clone(), out)).collect()
    }
}

/// The interface that the scheduler sees.
impl FusedOp for Arc<dyn Fused> {
    fn name(&self) -> &'static str {
        self.as_ref().name()
    }

    fn op_type(&self) -> TypeId {
        let op: &dyn Any = self.as_ref();
        op.type_id()
    }

    fn attributes(&self) -> Vec<u64> {
        self.as_ref().attributes()
    }

    fn scalars(&self) -> Vec<f64> {
        self.as_ref().scalars()
    }

    fn decompose(&self, inputs: &[Edge]) -> Edges {
        let inputs: Vec<Tensor> = inputs.iter().map(Tensor::from_edge).collect();
        no_grad(|| self.decomposition(&inputs)).iter().map(Tensor::edge).collect()
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        self.as_ref().launch(io, limits)
    }
}

/// The operation of a fused node, with its gradient rule.
pub(crate) fn as_fused(op: &Arc<dyn FusedOp>) -> &dyn Fused {
    let op: &dyn Any = op.as_ref();
    let op: &Arc<dyn Fused> = op.downcast_ref().expect("Tensor::fused builds every fused node");
    op.as_ref()
}
