//! Multi-head attention, and rotary position embeddings.

use super::linear::value;
use super::summary::record_output;
use super::{Dropout, Linear, Module, Visitor, init};
use crate::core::shape::refuse;
use crate::graph::Device;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// Multi-head attention, `concat(heads) W_o` with `head = attention(q W_q, k W_k, v W_v)` (Vaswani et al., 2017). It is
/// PyTorch's [`MultiheadAttention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html)
/// with `batch_first=True`, and it does not return the attention weights.
///
/// [`Module::forward`] is self-attention without a mask.
///
/// ```
/// use wgrad::nn::MultiheadAttention;
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let attention = MultiheadAttention::new(16, 4, &dev);
/// let x = Tensor::zeros([2, 5, 16], &dev);
/// assert_eq!(attention.forward(&x, &x, &x, None, true).shape()[..], [2, 5, 16]);
/// ```
#[derive(Clone, Debug)]
pub struct MultiheadAttention {
    /// `[3 embed, embed]`: the projections of queries, keys and values.
    pub in_proj_weight: Var,
    /// `[3 embed]`
    pub in_proj_bias: Option<Var>,
    /// `[embed, embed]`
    pub out_proj: Linear,
    num_heads: usize,
    dropout: Dropout,
    rotary: Option<RotaryEmbedding>,
}

impl MultiheadAttention {
    /// Creates `num_heads` heads of width `embed_dim / num_heads`. As in PyTorch, the input projection starts with
    /// Xavier uniform weights and the biases start with zeros.
    ///
    /// # Panics
    ///
    /// Panics if `num_heads` is 0, or if `embed_dim` is not divisible by `num_heads`.
    #[track_caller]
    pub fn new(embed_dim: usize, num_heads: usize, device: &Device) -> MultiheadAttention {
        if num_heads == 0 || !embed_dim.is_multiple_of(num_heads) {
            refuse!("MultiheadAttention", "embed_dim {embed_dim} must be divisible by num_heads {num_heads}");
        }
        let zeros = |sizes: usize| Some(Var::parameter(Tensor::zeros([sizes], device)));
        let in_proj_weight = Var::parameter(Tensor::zeros([3 * embed_dim, embed_dim], device));
        init::xavier_uniform(&in_proj_weight, 1.0);
        let out_proj = Linear { bias: zeros(embed_dim), ..Linear::new(embed_dim, embed_dim, device) };
        MultiheadAttention {
            in_proj_weight,
            in_proj_bias: zeros(3 * embed_dim),
            out_proj,
            num_heads,
            dropout: Dropout::new(0.0),
            rotary: None,
        }
    }

    /// Removes the biases.
    pub fn without_bias(self) -> MultiheadAttention {
        MultiheadAttention { in_proj_bias: None, out_proj: self.out_proj.without_bias(), ..self }
    }

    /// Sets the probability of dropout on the attention weights, in training. With dropout the matrix of queries by
    /// keys is materialized; without dropout it is not.
    ///
    /// # Panics
    ///
    /// Panics if `p` is not in [0, 1].
    #[track_caller]
    pub fn dropout(self, p: f64) -> MultiheadAttention {
        MultiheadAttention { dropout: Dropout::new(p), ..self }
    }

    /// Rotates queries and keys by their positions.
    pub fn rotary(self, rotary: RotaryEmbedding) -> MultiheadAttention {
        MultiheadAttention { rotary: Some(rotary), ..self }
    }

    /// Attends from each query `[batch, queries, embed]` to keys and values `[batch, keys, embed]`.
    ///
    /// A bool `mask` is true where a query may attend to a key (PyTorch's module uses the opposite convention, its
    /// function the same one); a float mask is added to the scores. Both broadcast to `[batch, heads, queries, keys]`.
    /// With `is_causal`, query `i` attends to the keys 0 to `i`.
    ///
    /// # Panics
    ///
    /// Panics if an input is not `[batch, positions, embed]`, if the mask does not fit the scores, or if both a mask
    /// and `is_causal` are given.
    #[track_caller]
    pub fn forward(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        is_causal: bool,
    ) -> Tensor {
        let embed = self.in_proj_weight.tensor().size(1);
        if let Some(wrong) = [query, key, value].iter().find(|x| x.rank() < 2 || x.size(-1) != embed) {
            refuse!("MultiheadAttention", "{wrong} is not [batch, positions, {embed}]");
        }
        let [query, key, value] = self.projected([query, key, value]);
        let turned = |x: Tensor| self.rotary.as_ref().map_or_else(|| x.clone(), |rotary| rotary.forward(&x));
        let (query, key, dropout) = (turned(query), turned(key), self.dropout.now());
        let heads = query.attention(&key, &value, mask, is_causal, None, dropout);
        record_output(self, self.out_proj.forward(&heads.transpose(-3, -2).flatten(-2, -1)))
    }

    /// Multiplies each `[batch, positions, embed]` by its part of the weight and returns
    /// `[batch, heads, positions, width]`. If all inputs are the same tensor, one product computes all projections.
    fn projected(&self, inputs: [&Tensor; 3]) -> [Tensor; 3] {
        let (weight, bias) = (self.in_proj_weight.tensor(), value(&self.in_proj_bias));
        let embed = weight.size(1);
        let parts: [Tensor; 3] = if inputs.into_iter().all(|x| x.same(inputs[0])) {
            let whole = inputs[0].linear(&weight, bias.as_ref());
            [0, 1, 2].map(|i| whole.narrow(-1, (i * embed) as i64, embed))
        } else {
            [0, 1, 2].map(|i| {
                let part = |x: &Tensor| x.narrow(0, (i * embed) as i64, embed);
                inputs[i].linear(&part(&weight), bias.as_ref().map(part).as_ref())
            })
        };
        parts.map(|x| {
            let split = x.shape().with(x.rank() - 1, self.num_heads).insert(x.rank(), embed / self.num_heads);
            x.reshape(split).transpose(-3, -2)
        })
    }
}

impl Module for MultiheadAttention {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.forward(x, x, x, None, false)
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.var("in_proj_weight", &self.in_proj_weight);
        visitor.optional("in_proj_bias", &self.in_proj_bias);
        visitor.module("out_proj", &self.out_proj);
        self.dropout.visit(visitor);
    }
}

/// Rotary position embedding (Su et al., 2021, <https://arxiv.org/abs/2104.09864>): at position `t`, the pair
/// `(x[i], x[i + width/2])` is rotated by the angle `t base^(-2i / width)`, so that the product of a query and a key
/// depends only on their distance. GPT-NeoX, and Llama in Hugging Face's `transformers`, use the same pairs.
///
/// ```
/// use wgrad::nn::{Module, RotaryEmbedding};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let rotary = RotaryEmbedding::new(2, 8, 10_000.0, &dev);
/// let y = rotary.forward(&Tensor::new([1.0, 0.0, 1.0, 0.0], [2, 2], &dev)).to_vec::<f32>().unwrap();
/// assert_eq!(y, [1.0, 0.0, 1f32.cos(), 1f32.sin()]);
/// ```
#[derive(Clone, Debug)]
pub struct RotaryEmbedding {
    /// `[positions, width / 2]`
    cos: Tensor,
    sin: Tensor,
}

impl RotaryEmbedding {
    /// Creates the table for heads of this width (an even number) and positions below `max_positions`. `base` is
    /// usually 10,000.
    ///
    /// # Panics
    ///
    /// Panics if `width` is 0 or odd.
    #[track_caller]
    pub fn new(width: usize, max_positions: usize, base: f64, device: &Device) -> RotaryEmbedding {
        if width == 0 || !width.is_multiple_of(2) {
            refuse!("RotaryEmbedding", "width {width} must be even and > 0");
        }
        let pairs = width / 2;
        let angle = |i: usize| (i / pairs) as f64 * base.powf(-((i % pairs) as f64) / pairs as f64);
        let table = |f: fn(f64) -> f64| {
            let data: Vec<f32> = (0..max_positions * pairs).map(|i| f(angle(i)) as f32).collect();
            Tensor::new(data, [max_positions, pairs], device)
        };
        RotaryEmbedding { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Rotates `[.., positions, width]` whose first position is `start`, as needed with a key-value cache.
    ///
    /// # Panics
    ///
    /// Panics if the input is not `[.., positions, width]`, or if a position is not below `max_positions`.
    #[track_caller]
    pub fn forward_from(&self, x: &Tensor, start: usize) -> Tensor {
        let (positions, pairs) = (self.cos.size(0), self.cos.size(1));
        if x.rank() < 2 || x.size(-1) != 2 * pairs || start + x.size(-2) > positions {
            refuse!(
                "RotaryEmbedding",
                "expects [.., positions, {}] with positions from {start} and below {positions}, got {x}",
                2 * pairs
            );
        }
        let [cos, sin] = [&self.cos, &self.sin].map(|table| table.narrow(0, start as i64, x.size(-2)));
        let (a, b) = (x.narrow(-1, 0, pairs), x.narrow(-1, pairs as i64, pairs));
        Tensor::cat(&[&(&a * &cos - &b * &sin), &(&b * &cos + &a * &sin)], -1)
    }
}

impl Module for RotaryEmbedding {
    /// Rotates `[.., positions, width]`, beginning with position 0.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        record_output(self, self.forward_from(x, 0))
    }
}
