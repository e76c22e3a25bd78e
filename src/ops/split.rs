//! A tensor taken apart into many, which are views and cost nothing. Their gradients are put together at once: one by one,
//! padded and added up, each would be looked at for every element.

use super::{Fused, Io};
use crate::core::shape::{Mismatch, Spec};
use crate::tensor::Tensor;
use crate::tensor::rearrange::FEW;

/// `x -> pieces of these sizes along dim`
#[derive(Clone, Debug)]
pub(crate) struct Split {
    pub dim: usize,
    pub sizes: Vec<usize>,
}

impl Split {
    /// The outputs of a node are numbered by a `u8`.
    pub const MOST: usize = u8::MAX as usize;
}

impl Fused for Split {
    fn name(&self) -> &'static str {
        "split"
    }

    fn attributes(&self) -> Vec<u64> {
        [self.dim].iter().chain(&self.sizes).map(|&x| x as u64).collect()
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, Mismatch> {
        let Spec { shape, dtype } = &inputs[0];
        let piece = |&size: &usize| Spec { shape: shape.with(self.dim, size), dtype: *dtype };
        Ok(self.sizes.iter().map(piece).collect())
    }

    fn reference(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        inputs[0].narrows(&self.sizes, self.dim)
    }

    /// Of few pieces the sum of the padded ones is as good, and can be part of another kernel.
    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        if grads.iter().flatten().count() <= FEW {
            return None;
        }
        let whole =
            grads.iter().zip(io.outputs).map(|(grad, x)| grad.clone().unwrap_or_else(|| x.zeros_like()));
        let whole: Vec<Tensor> = whole.collect();
        Some(vec![Some(Tensor::cat(&whole.iter().collect::<Vec<_>>(), self.dim as i64))])
    }
}
