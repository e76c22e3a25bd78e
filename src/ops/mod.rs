//! Fused operations: one file each, with its WGSL of the same stem in `shaders/`.
//!
//! A fused operation carries its meaning in primitives. It runs that meaning where it has no kernel for a shape or a
//! device, and differentiates it where it has no rule: so nothing ever detaches silently, and the CPU reference, the
//! gradient and the test's oracle all come from one place.

pub(crate) mod cross_entropy;

use std::fmt::Debug;

use smallvec::SmallVec;

use crate::limits::Limits;
use crate::shape::{Mismatch, Spec};
use crate::tensor::Tensor;

/// An operation with kernels of its own: WGSL, and its meaning in primitives. To be read; building one outside of the
/// crate is to come.
pub trait Fused: Debug + Send + Sync {
    /// The name in messages and profiles, and the stem of its files.
    fn name(&self) -> &'static str;

    /// What changes the shapes or the kernel's text: part of a plan's key, beside the name.
    fn attributes(&self) -> SmallVec<[u64; 4]> {
        SmallVec::new()
    }

    /// Numbers of the user's (a rate, eps, p): uniforms, in no key. A launch names them by position.
    fn scalars(&self) -> SmallVec<[f64; 4]> {
        SmallVec::new()
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

    /// Dispatches in order; `None`: run `reference`. Every buffer is contiguous.
    fn launch(&self, _io: &[Spec], _limits: &Limits) -> Option<Vec<Launch>> {
        None
    }
}

/// What a gradient rule may use: the operation's inputs and outputs, as tensors.
pub struct Io<'a> {
    /// Its operands. [`Tensor::requires_grad_enabled`] says which need a gradient.
    pub inputs: &'a [Tensor],
    /// Its results, then what it saved.
    pub outputs: &'a [Tensor],
}

/// One dispatch of a fused operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Launch {
    /// The WGSL program. Binding 0 is the uniform block, the buffers follow from binding 1 on.
    pub source: &'static str,
    /// Values for its `override` constants.
    pub constants: SmallVec<[(&'static str, u32); 4]>,
    /// What each storage binding is.
    pub buffers: SmallVec<[Buffer; 6]>,
    /// The words of the uniform block, in the order of its members.
    pub uniforms: SmallVec<[Word; 8]>,
    /// Workgroups wanted: any number; they are spread over two dimensions.
    pub workgroups: u32,
    /// Operations, roughly: it bounds a submission's time.
    pub work: u64,
}

/// What a storage binding of a launch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Buffer {
    /// An operand, read.
    Input(usize),
    /// A result, written.
    Output(usize),
    /// The error word, an `atomic<u32>`: a kernel that meets an index out of range does `atomicMin` of its site.
    Fault,
}

/// A word of a launch's uniform block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// A size that is known from the shapes.
    Size(u32),
    /// The operation's scalar of this position, as f32.
    Scalar(usize),
    /// The number by which a fault is traced to the user's line.
    Site,
}
