//! tmp
pub mod autograd;
pub(crate) mod cpu;
mod device;
mod dtype;
mod error;
pub(crate) mod gpu;
mod graph;
mod limits;
pub mod ops;
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

// The tests' helpers are shared with `tests/`, which know the crate by its name.
#[cfg(test)]
extern crate self as wgrad;
#[cfg(test)]
mod tests;
