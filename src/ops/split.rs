//! Splitting of a tensor into chunks, which are views of the tensor. The gradients of many chunks are concatenated in
//! one operation. In a sum of padded gradients, each element would read the gradients of all chunks.

use super::cat::MAX_ADDED_TENSORS;
use super::{Fused, Io};
use crate::core::shape::{ShapeError, Spec, refuse};
use crate::tensor::Tensor;

impl Tensor {
    /// Splits the tensor into chunks of `size` elements along `dim`. The last chunk may be smaller.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is a scalar, if `dim` is out of range, or if `size` is 0 and the dim is not empty.
    #[track_caller]
    pub fn split(&self, size: usize, dim: i64) -> Vec<Tensor> {
        let at = self.dim_of("split", dim);
        let length = self.shape()[at];
        if size == 0 && length != 0 {
            refuse!("split", "size must be >= 1 to split dim {dim} of {}", self.spec());
        }
        let count = if size == 0 { 1 } else { length.div_ceil(size).max(1) };
        let sizes: Vec<usize> = (0..count).map(|i| size.min(length - i * size)).collect();
        self.split_with_sizes(&sizes, dim)
    }

    /// Splits the tensor into chunks of the given sizes along `dim`. The sizes must add up to the size of the dim.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is a scalar, if `dim` is out of range, or if the sizes do not add up to the size of the
    /// dim.
    #[track_caller]
    pub fn split_with_sizes(&self, sizes: &[usize], dim: i64) -> Vec<Tensor> {
        let at = self.dim_of("split_with_sizes", dim);
        if sizes.iter().sum::<usize>() != self.shape()[at] {
            refuse!("split_with_sizes", "the sizes {sizes:?} do not add up to dim {dim} of {}", self.spec());
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

    /// Applies [`narrow`](Tensor::narrow) repeatedly.
    #[track_caller]
    fn narrows(&self, sizes: &[usize], dim: usize) -> Vec<Tensor> {
        let mut start = 0;
        let mut piece = |size: usize| {
            start += size;
            self.narrow(dim as i64, (start - size) as i64, size)
        };
        sizes.iter().map(|&size| piece(size)).collect()
    }

    /// Splits the tensor into its slices along `dim`, without that dim (PyTorch's
    /// [`unbind`](https://docs.pytorch.org/docs/stable/generated/torch.unbind.html)). [`stack`](Tensor::stack) is the
    /// inverse.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let x = Tensor::new([1.0, 2.0, 3.0, 4.0], [2, 2], &Device::cpu());
    /// let columns = x.unbind(1);
    /// assert_eq!(columns[0].to_vec::<f32>().unwrap(), [1.0, 3.0]);
    /// assert_eq!(columns[1].to_vec::<f32>().unwrap(), [2.0, 4.0]);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the tensor is a scalar, or if `dim` is out of range.
    #[track_caller]
    pub fn unbind(&self, dim: i64) -> Vec<Tensor> {
        let at = self.dim_of("unbind", dim);
        let slices = self.pieces(&vec![1; self.shape()[at]], at);
        slices.iter().map(|slice| slice.squeeze(at as i64)).collect()
    }

    /// Splits the tensor into at most `chunks` parts of equal size along `dim`. The last chunk may be smaller.
    ///
    /// # Panics
    ///
    /// Panics if `chunks` is 0, if the tensor is a scalar, or if `dim` is out of range.
    #[track_caller]
    pub fn chunk(&self, chunks: usize, dim: i64) -> Vec<Tensor> {
        if chunks == 0 {
            refuse!("chunk", "chunks must be >= 1 to split {}", self.spec());
        }
        let at = self.dim_of("chunk", dim);
        match self.shape()[at] {
            0 => vec![self.clone(); chunks],
            length => self.split(length.div_ceil(chunks), dim),
        }
    }
}

/// `x -> chunks of these sizes along dim`
#[derive(Clone, Debug)]
pub(crate) struct Split {
    pub dim: usize,
    pub sizes: Vec<usize>,
}

impl Split {
    /// Maximum number of outputs of a node, because outputs are numbered by a `u8`.
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

    /// Concatenates the gradients of many chunks. For few chunks, the sum of padded gradients is as fast, and it can be
    /// fused with other operations.
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
