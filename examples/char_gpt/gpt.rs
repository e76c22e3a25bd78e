//! The model: the architecture of GPT-2, with the parameter names of PyTorch's layers.

use std::fmt;

use anyhow::{Result, ensure};
use clap::Args;
use wgrad::nn::{Dropout, Embedding, LayerNorm, Linear, Module, ModuleList, TransformerBlock, Visitor, init};
use wgrad::{Device, Tensor};

use crate::common::args::count;

#[derive(Args)]
pub struct Sizes {
    /// Transformer blocks
    #[arg(long, default_value_t = 4, value_parser = count)]
    layers: usize,

    /// Attention heads; they must divide the width
    #[arg(long, default_value_t = 4, value_parser = count)]
    heads: usize,

    /// Width of the embeddings
    #[arg(long, default_value_t = 128, value_parser = count)]
    width: usize,

    /// Characters in the context window
    #[arg(long, default_value_t = 64, value_parser = count)]
    pub context: usize,

    /// Dropout probability in training
    #[arg(long, default_value_t = 0.0)]
    dropout: f64,
}

impl Sizes {
    /// Checks that the heads divide the width.
    pub fn check(&self) -> Result<()> {
        let Sizes { heads, width, .. } = self;
        ensure!(width.is_multiple_of(*heads), "{heads} heads cannot share a width of {width} evenly");
        Ok(())
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Sizes { layers, heads, width, context, .. } = self;
        write!(f, "{layers} layers, {heads} heads, width {width}, context {context}")
    }
}

pub struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    dropout: Dropout,
    blocks: ModuleList<TransformerBlock>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    /// Creates a model with GPT-2's initial weights.
    pub fn new(vocabulary: usize, sizes: &Sizes, dev: &Device) -> Gpt {
        let &Sizes { layers, heads, width, context, dropout } = sizes;
        let block = |_| TransformerBlock::new(width, heads, dev).causal().dropout(dropout);
        let model = Gpt {
            tokens: Embedding::new(vocabulary, width, dev),
            positions: Embedding::new(context, width, dev),
            dropout: Dropout::new(dropout),
            blocks: (0..layers).map(block).collect(),
            norm: LayerNorm::new([width], dev),
            head: Linear::new(width, vocabulary, dev),
        };
        for weight in model.params().iter().filter(|param| param.tensor().rank() == 2) {
            init::normal(weight, 0.0, 0.02);
        }
        model
    }

    /// The cross-entropy of the characters `y` that follow those in `x`, both `[batch, context]`.
    pub fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        self.forward(x).flatten(0, 1).cross_entropy(&y.flatten(0, 1))
    }
}

impl Module for Gpt {
    /// Maps characters `[batch, time]` to the logits of the next ones `[batch, time, vocabulary]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        let places = Tensor::arange(x.size(1), x.device());
        let x = self.dropout.forward(&(self.tokens.forward(x) + self.positions.forward(&places)));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(&x));
        self.head.forward(&self.norm.forward(&x))
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("tokens", &self.tokens);
        visitor.module("positions", &self.positions);
        visitor.module("dropout", &self.dropout);
        visitor.module("blocks", &self.blocks);
        visitor.module("norm", &self.norm);
        visitor.module("head", &self.head);
    }
}
