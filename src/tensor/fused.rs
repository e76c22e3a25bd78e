//! Fused operations: what one is, and how it becomes a node.
//!
//! In: an operation, the crate's own (`ops`) or a user's, and its operands. Out: a node of the graph. Operations, their
//! shaders and their gradients are not known here.

use std::any::{Any, TypeId};
use std::fmt::Debug;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Tensor, same_device};
use crate::core::grad_mode::{is_grad_enabled, no_grad};
use crate::core::limits::Limits;
use crate::core::shape::{ShapeError, Spec, refuse};
use crate::graph::{Edge, Edges, FusedOp, Launch, Node, Op};

/// An operation with kernels of its own: WGSL, and its decomposition into primitives.
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

    /// What changes the shapes or the kernel's text: part of a plan's key, beside the operation's type.
    fn attributes(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Numbers of the user's (a rate, eps, p): uniforms, in no key. A launch names them by position.
    fn scalars(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Shapes and dtypes: the results, then what backward wants saved. The method that builds the operation panics
    /// with the mismatch in the user's line.
    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError>;

    /// Every output, the saved ones too, in primitives.
    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor>;

    /// A gradient for each input; `None` as a whole: differentiate `decomposition`. A rule that is handed a gradient of a
    /// saved output that it does not know returns `None`.
    fn backward(&self, _io: &Io, _grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        None
    }

    /// This operation with one more operand, the last, that is added to its only result; `None`: adding is another
    /// operation. A gradient rule's operation that can saves the pass that would add its gradient to others.
    fn with_addend(&self) -> Option<Arc<dyn Fused>> {
        None
    }

    /// Dispatches in order, for inputs and outputs of these specs; `None`: run `decomposition`. Every buffer is contiguous,
    /// and none is of size 0.
    fn launch(&self, _io: &[Spec], _limits: &Limits) -> Option<Vec<Launch>> {
        None
    }
}

/// What a gradient rule may use: the operation's inputs and outputs, as tensors.
pub struct Io<'a> {
    /// Its operands. [`Tensor::needs_grad`] tells which need a gradient.
    pub inputs: &'a [Tensor],
    /// Its results, then what it saved.
    pub outputs: &'a [Tensor],
}

impl Tensor {
    /// An operation with kernels of its own: all its outputs, in order. See [`Fused`].
    ///
    /// # Panics
    ///
    /// With what [`Fused::outputs`] says, in the caller's line.
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

/// As a node of the graph has it.
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
