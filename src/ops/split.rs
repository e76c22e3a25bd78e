//! A tensor taken apart into many, which are views and cost nothing. Their gradients are put together at once: one by one,
//! padded and added up, each would be looked at for every element.

use super::cat::MAX_ADDED_TENSORS;
use super::{Fused, Io};
use crate::core::shape::{ShapeError, Spec, refuse};
use crate::tensor::Tensor;

impl Tensor {
    /// Pieces of `size` elements along `dim`; the last may be smaller.
    #[track_caller]
    pub fn split(&self, size: usize, dim: i64) -> Vec<Tensor> {
        let at = self.dim_of("split", dim);
        let length = self.shape()[at];
        if size == 0 && length != 0 {
            refuse!("split", "pieces of 0 elements of dim {dim} of {}", self.spec());
        }
        let count = if size == 0 { 1 } else { length.div_ceil(size).max(1) };
        let sizes: Vec<usize> = (0..count).map(|i| size.min(length - i * size)).collect();
        self.split_with_sizes(&sizes, dim)
    }

    /// Pieces of the sizes given along `dim`; their sum is the dim's.
    #[track_caller]
    pub fn split_with_sizes(&self, sizes: &[usize], dim: i64) -> Vec<Tensor> {
        let at = self.dim_of("split_with_sizes", dim);
        if sizes.iter().sum::<usize>() != self.shape()[at] {
            refuse!("split_with_sizes", "pieces of {sizes:?} are not dim {dim} of {}", self.spec());
        }
        self.pieces(sizes, at)
    }

    #[track_caller]
    fn pieces(&self, sizes: &[usize], dim: usize) -> Vec<Tensor> {
        if sizes.len() <= MAX_ADDED_TENSORS {
            return self.narrows(sizes, dim);
        }
        if sizes.len() <= Split::MAX_OUTPUTS {
            return Tensor::fused(Split { dim, sizes: sizes.to_vec() }, &[self]);
        }
        let groups = sizes.chunks(Split::MAX_OUTPUTS);
        let parts: Vec<usize> = groups.clone().map(|sizes| sizes.iter().sum()).collect();
        let parts = self.pieces(&parts, dim);
        parts.iter().zip(groups).flat_map(|(part, sizes)| part.pieces(sizes, dim)).collect()
    }

    /// One [`narrow`](Tensor::narrow) after the other.
    #[track_caller]
    fn narrows(&self, sizes: &[usize], dim: usize) -> Vec<Tensor> {
        let mut start = 0;
        let mut piece = |size: usize| {
            start += size;
            self.narrow(dim as i64, (start - size) as i64, size)
        };
        sizes.iter().map(|&size| piece(size)).collect()
    }

    /// The slices along `dim`, which goes away (PyTorch's
    /// [`unbind`](https://docs.pytorch.org/docs/stable/generated/torch.unbind.html)): [`stack`](Tensor::stack) puts them
    /// together again.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let x = Tensor::new([1.0, 2.0, 3.0, 4.0], [2, 2], &Device::cpu());
    /// let columns = x.unbind(1);
    /// assert_eq!(columns[0].to_vec::<f32>().unwrap(), [1.0, 3.0]);
    /// assert_eq!(columns[1].to_vec::<f32>().unwrap(), [2.0, 4.0]);
    /// ```
    #[track_caller]
    pub fn unbind(&self, dim: i64) -> Vec<Tensor> {
        let at = self.dim_of("unbind", dim);
        let slices = self.pieces(&vec![1; self.shape()[at]], at);
        slices.iter().map(|slice| slice.squeeze(at as i64)).collect()
    }

    /// At most `chunks` pieces of equal size along `dim`; the last may be smaller.
    #[track_caller]
    pub fn chunk(&self, chunks: usize, dim: i64) -> Vec<Tensor> {
        if chunks == 0 {
            refuse!("chunk", "{} in 0 pieces", self.spec());
        }
        let at = self.dim_of("chunk", dim);
        match self.shape()[at] {
            0 => vec![self.clone(); chunks],
            length => self.split(length.div_ceil(chunks), dim),
        }
    }
}

/// `x -> pieces of these sizes along dim`
#[derive(Clone, Debug)]
pub(crate) struct Split {
    pub dim: usize,
    pub sizes: Vec<usize>,
}

impl Split {
    /// The outputs of a node are numbered by a `u8`.
    pub const MAX_OUTPUTS: usize = u8::MAX as usize;
}

impl Fused for Split {
    fn name(&self) -> &'static str {
        "split"
    }

    fn attributes(&self) -> Vec<u64> {
        [self.dim].iter().chain(&self.sizes).map(|&x| x as u64).collect()
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let Spec { shape, dtype } = &inputs[0];
        let piece = |&size: &usize| Spec { shape: shape.with(self.dim, size), dtype: *dtype };
        Ok(self.sizes.iter().map(piece).collect())
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        inputs[0].narrows(&self.sizes, self.dim)
    }

    /// Of few pieces the sum of the padded ones is as good, and can be part of another kernel.
    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        if grads.iter().flatten().count() <= MAX_ADDED_TENSORS {
            return None;
        }
        let whole =
            grads.iter().zip(io.outputs).map(|(grad, x)| grad.clone().unwrap_or_else(|| x.zeros_like()));
        let whole: Vec<Tensor> = whole.collect();
        Some(vec![Some(Tensor::cat(&whole.iter().collect::<Vec<_>>(), self.dim as i64))])
    }
}
