//! The transformer block.

use super::summary::record_output;
use super::{Dropout, LayerNorm, Linear, Module, MultiheadAttention, RotaryEmbedding, Visitor};
use crate::graph::Device;
use crate::tensor::Tensor;

/// A transformer block with pre-norm (Xiong et al., 2020): `x + attention(norm1(x))`, then
/// `x + linear2(gelu(linear1(norm2(x))))`. The feed-forward part is four times as wide. It is PyTorch's
/// [`TransformerEncoderLayer`](https://docs.pytorch.org/docs/stable/generated/torch.nn.TransformerEncoderLayer.html)
/// with `norm_first=True`, `batch_first=True`, `activation="gelu"` and its names.
///
/// ```
/// use wgrad::nn::{Module, TransformerBlock};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let block = TransformerBlock::new(32, 4, &dev).causal().dropout(0.1);
/// assert_eq!(block.forward(&Tensor::zeros([2, 7, 32], &dev)).shape()[..], [2, 7, 32]);
/// ```
#[derive(Clone, Debug)]
pub struct TransformerBlock {
    /// The self-attention.
    pub self_attn: MultiheadAttention,
    /// `[4 embed, embed]`
    pub linear1: Linear,
    /// `[embed, 4 embed]`
    pub linear2: Linear,
    /// The norm before the attention.
    pub norm1: LayerNorm,
    /// The norm before the feed-forward part.
    pub norm2: LayerNorm,
    /// Dropout on the outputs of both parts, and inside the feed-forward part.
    pub dropout: Dropout,
    is_causal: bool,
}

impl TransformerBlock {
    /// Creates a block for `[batch, positions, embed]`, without a causal mask and without dropout.
    ///
    /// # Panics
    ///
    /// Panics if `num_heads` is 0, or if `embed_dim` is not divisible by `num_heads`.
    #[track_caller]
    pub fn new(embed_dim: usize, num_heads: usize, device: &Device) -> TransformerBlock {
        TransformerBlock {
            self_attn: MultiheadAttention::new(embed_dim, num_heads, device),
            linear1: Linear::new(embed_dim, 4 * embed_dim, device),
            linear2: Linear::new(4 * embed_dim, embed_dim, device),
            norm1: LayerNorm::new([embed_dim], device),
            norm2: LayerNorm::new([embed_dim], device),
            dropout: Dropout::new(0.0),
            is_causal: false,
        }
    }

    /// Lets each position attend only to itself and to earlier positions, as in a language model.
    pub fn causal(self) -> TransformerBlock {
        TransformerBlock { is_causal: true, ..self }
    }

    /// Sets the probability of dropout in training: on the attention weights ([`MultiheadAttention::dropout`]), after
    /// GELU, and on the outputs of both parts.
    ///
    /// # Panics
    ///
    /// Panics if `p` is not in [0, 1].
    #[track_caller]
    pub fn dropout(self, p: f64) -> TransformerBlock {
        TransformerBlock { self_attn: self.self_attn.dropout(p), dropout: Dropout::new(p), ..self }
    }

    /// Rotates queries and keys by their positions.
    pub fn rotary(self, rotary: RotaryEmbedding) -> TransformerBlock {
        TransformerBlock { self_attn: self.self_attn.rotary(rotary), ..self }
    }

    /// [`forward`](Module::forward) with a mask, as in [`MultiheadAttention::forward`].
    ///
    /// # Panics
    ///
    /// Panics if the input is not `[batch, positions, embed]`, if the mask does not fit the scores, or if both a mask
    /// and [`causal`](TransformerBlock::causal) are used.
    #[track_caller]
    pub fn forward_masked(&self, x: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let normal = self.norm1.forward(x);
        let attended = self.self_attn.forward(&normal, &normal, &normal, mask, self.is_causal);
        let x = x + self.dropout.forward(&attended);
        let inner = self.dropout.forward(&self.linear1.forward(&self.norm2.forward(&x)).gelu());
        record_output(self, &x + self.dropout.forward(&self.linear2.forward(&inner)))
    }
}

impl Module for TransformerBlock {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.forward_masked(x, None)
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("self_attn", &self.self_attn);
        visitor.module("linear1", &self.linear1);
        visitor.module("linear2", &self.linear2);
        visitor.module("norm1", &self.norm1);
        visitor.module("norm2", &self.norm2);
        visitor.module("dropout", &self.dropout);
    }
}
