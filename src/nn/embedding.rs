//! Embeddings: a lookup table of rows.

use super::summary::record_output;
use super::{Module, Visitor};
use crate::core::shape::refuse;
use crate::graph::Device;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// Maps indices (i32 or u32) of any shape to rows of the weight: [`Tensor::embedding`] as a layer.
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
    /// `[num_embeddings, embedding_dim]`
    pub weight: Var,
    padding: Option<i64>,
}

impl Embedding {
    /// Creates the weight `[num_embeddings, embedding_dim]`, drawn from N(0, 1) (PyTorch's default).
    ///
    /// # Panics
    ///
    /// Panics if the weight exceeds the device's storage binding limit.
    #[track_caller]
    pub fn new(num_embeddings: usize, embedding_dim: usize, device: &Device) -> Embedding {
        let weight = Tensor::randn([num_embeddings, embedding_dim], device);
        Embedding { weight: Var::parameter(weight), padding: None }
    }

    /// Sets a row to 0 and excludes it from training (PyTorch's `padding_idx`).
    ///
    /// # Panics
    ///
    /// Panics if `row` is out of range.
    #[track_caller]
    pub fn padding(self, row: usize) -> Embedding {
        let weight = self.weight.tensor();
        let (rows, width) = (weight.size(0), weight.size(1));
        if row >= rows {
            refuse!("Embedding", "padding row {row} is out of range for the weight {weight}");
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
