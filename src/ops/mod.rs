//! Fused operations: one file each, with its WGSL of the same stem in `shaders/`.
//!
//! A fused operation carries its meaning in primitives. It runs that meaning where it has no kernel for a shape or a
//! device, and differentiates it where it has no rule: so nothing ever detaches silently, and the CPU reference, the
//! gradient and the test's oracle all come from one place.
//!
//! The trait is public: an operation of your own is a WGSL file and its meaning, built with [`Tensor::fused`] and
//! proven by [`check`]. `examples/custom_op` is one, with a backward kernel that uses what the forward one saved.

pub(crate) mod attention;
pub(crate) mod cat;
mod check;
pub(crate) mod conv;
mod conv_weight;
pub(crate) mod cross_entropy;
mod launch;
pub(crate) mod layer_norm;
pub(crate) mod max_pool;
mod rows;
pub(crate) mod softmax;
pub(crate) mod split;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

#[cfg(test)]
pub(crate) use check::check_shared;
pub use check::{Tolerance, check};
pub(crate) use launch::validate;
pub use launch::{Buffer, Launch, Word};

use crate::core::limits::Limits;
use crate::core::shape::{Mismatch, Spec};
use crate::tensor::Tensor;

/// An operation with kernels of its own: WGSL, and its meaning in primitives.
///
/// ```
/// use wgrad::ops::{Buffer, Fused, Launch, Tolerance, Word, check};
/// use wgrad::{Device, Limits, Mismatch, Spec, Tensor};
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
///     fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, Mismatch> {
///         Ok(vec![inputs[0].clone()])
///     }
///     fn reference(&self, inputs: &[Tensor]) -> Vec<Tensor> {
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
    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, Mismatch>;

    /// Every output, the saved ones too, in primitives.
    fn reference(&self, inputs: &[Tensor]) -> Vec<Tensor>;

    /// A gradient for each input; `None` as a whole: differentiate `reference`. A rule that is handed a gradient of a
    /// saved output that it does not know returns `None`.
    fn backward(&self, _io: &Io, _grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        None
    }

    /// This operation with one more operand, the last, that is added to its only result; `None`: adding is another
    /// operation. A gradient rule's operation that can saves the pass that would add its gradient to others.
    fn plus(&self) -> Option<Arc<dyn Fused>> {
        None
    }

    /// Dispatches in order, for inputs and outputs of these specs; `None`: run `reference`. Every buffer is contiguous,
    /// and none is of size 0.
    fn launch(&self, _io: &[Spec], _limits: &Limits) -> Option<Vec<Launch>> {
        None
    }
}

/// An operation on inputs of some shapes, for the tests. Every operation has some in its own file.
#[cfg(test)]
pub(crate) struct Sample {
    pub op: Arc<dyn Fused>,
    pub inputs: Vec<Draw>,
    /// For outputs and gradients of about 1.
    pub tolerance: Tolerance,
}

/// An input that is drawn at random.
#[cfg(test)]
#[derive(Clone)]
pub(crate) enum Draw {
    Floats(crate::core::shape::Shape, std::ops::Range<f32>),
    /// True for some two of three.
    Bools(crate::core::shape::Shape),
    /// Integers from 0 to below a number.
    Below(crate::core::shape::Shape, usize),
}

#[cfg(test)]
impl Draw {
    pub fn spec(&self) -> Spec {
        match self {
            Draw::Floats(shape, _) => Spec::new(shape.clone(), crate::DType::F32),
            Draw::Bools(shape) => Spec::new(shape.clone(), crate::DType::Bool),
            Draw::Below(shape, _) => Spec::new(shape.clone(), crate::DType::I32),
        }
    }
}

#[cfg(test)]
pub(crate) fn samples() -> Vec<Sample> {
    [
        attention::samples(),
        cat::samples(),
        conv::samples(),
        conv_weight::samples(),
        cross_entropy::samples(),
        layer_norm::samples(),
        max_pool::samples(),
        softmax::samples(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a gradient rule may use: the operation's inputs and outputs, as tensors.
pub struct Io<'a> {
    /// Its operands. [`Tensor::requires_grad_enabled`] tells which need a gradient.
    pub inputs: &'a [Tensor],
    /// Its results, then what it saved.
    pub outputs: &'a [Tensor],
}
