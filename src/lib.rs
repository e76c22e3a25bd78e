//! tmp
pub mod autograd;
pub(crate) mod cpu;
pub mod data;
mod device;
mod dtype;
mod error;
pub(crate) mod gpu;
mod graph;
pub mod io;
mod limits;
pub mod nn;
pub mod ops;
pub mod optim;
mod random;
mod schedule;
mod shape;
mod tensor;

pub use autograd::{enable_grad, is_grad_enabled, no_grad};
pub use device::{Device, GpuOptions};
pub use dtype::{DType, Element};
pub use error::Error;
pub use limits::{AdapterKind, Limits};
pub use random::{Generator, generator, manual_seed, set_generator};
pub use schedule::Counters;
pub use shape::{Dims, Mismatch, Shape, Spec};
pub use tensor::var::Var;
pub use tensor::{Operand, Tensor};
