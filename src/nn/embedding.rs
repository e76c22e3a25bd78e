//! Embeddings: a row for each of so many things.

use super::summary::record_output;
use super::{Module, Visitor};
use crate::core::shape::refuse;
use crate::graph::Device;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// Indices (i32 or u32) of any shape to the rows that they name: [`Tensor::embedding`] as a layer.
///
/// ```
/// use wgrad::nn::{Embedding, Module};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let words = Embedding::new(1000, 16, &dev);
/// assert_eq!(words.forward(&Tensor::new([3, 1, 4], [1, 3], &dev)).shape()[..], [1, 3, 16]);
/// ```
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[count, width]`
    pub weight: Var,
    padding: Option<i64>,
}

impl Embedding {
    /// So many rows of so many numbers, normal with mean 0 and deviation 1 (PyTorch's default).
    #[track_caller]
    pub fn new(num_embeddings: usize, embedding_dim: usize, device: &Device) -> Embedding {
        let weight = Tensor::randn([num_embeddings, embedding_dim], device);
        Embedding { weight: Var::parameter(weight), padding: None }
    }

    /// The same with a row that is 0 and learns nothing (PyTorch's `padding_idx`).
    #[track_caller]
    pub fn padding(self, row: usize) -> Embedding {
        let weight = self.weight.tensor();
        let (rows, width) = (weight.size(0), weight.size(1));
        if row >= rows {
            refuse!("Embedding", "there is no padding row {row} in {weight}");
        }
        let above = weight.narrow(0, 0, row);
        let below = weight.narrow(0, row as i64 + 1, rows - row - 1);
        self.weight.set(Tensor::cat(&[&above, &Tensor::zeros([1, width], weight.device()), &below], 0));
        Embedding { padding: Some(row as i64), ..self }
    }
}

impl Module for Embedding {
    #[track_caller]
    fn forward(&self, index: &Tensor) -> Tensor {
        let weight = self.weight.tensor();
        record_output(
            self,
            match self.padding {
                Some(row) => index.embedding_padded(&weight, row),
                None => index.embedding(&weight),
            },
        )
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.var("weight", &self.weight);
    }
}
