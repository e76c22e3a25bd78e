//! Layers: parameters and a forward pass, with PyTorch's parameter names.
//!
//! Input: tensors and the host's random generator. Output: calls of `Tensor` methods, which define the mathematics. A
//! layer consists of its `Var`s, a short forward pass, and a `visit` method that lists its `Var`s and modules for
//! saving, training, freezing and printing.
//!
//! The batch dim is the first dim in every layer: `[batch, features]`, `[batch, channels, height, width]`,
//! `[batch, time, features]`.

mod activation;
mod attention;
mod conv;
mod dropout;
mod embedding;
pub mod init;
mod linear;
mod loss;
mod module;
mod norm;
mod pool;
mod recurrent;
mod sequential;
mod state;
mod summary;
mod transformer;

pub use activation::{
    ELU, Flatten, GELU, LeakyReLU, LogSigmoid, LogSoftmax, ReLU, SiLU, Sigmoid, Softmax, Softplus, Tanh,
};
pub use attention::{MultiheadAttention, RotaryEmbedding};
pub use conv::{Conv1d, Conv2d, ConvNd, ConvTranspose2d};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use linear::{Bilinear, Linear};
pub use loss::{
    BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss, NLLLoss, SmoothL1Loss,
};
pub use module::{Mode, Module, Visitor};
pub use norm::{BatchNorm1d, BatchNorm2d, BatchNormNd, GroupNorm, LayerNorm, RMSNorm};
pub use pool::{AdaptiveAvgPool1d, AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d};
pub use recurrent::{Cell, GRU, GruCell, LSTM, LstmCell, RNN, Recurrent, TanhCell};
pub use sequential::{ModuleList, Sequential};
pub use summary::{Summary, summary};
pub use transformer::TransformerBlock;
