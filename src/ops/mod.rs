//! Fused operations: each has a Rust file here and WGSL under the same name in `shaders/`.
//!
//! A fused operation has a decomposition into primitives. The decomposition runs if there is no kernel for a shape or a
//! device, and it is differentiated if there is no gradient rule. So gradients are never silently lost, and the
//! decomposition defines the CPU reference, the gradient and the expected values of the tests.
//!
//! The trait is public. A custom operation consists of a WGSL file and its decomposition. Build it with
//! [`Tensor::fused`](crate::Tensor::fused) and verify it with [`check`]. `examples/custom_op` is an example whose
//! backward kernel uses a tensor saved by the forward kernel.

mod attention;
mod cat;
pub(crate) mod conv;
mod conv_weight;
pub(crate) mod cross_entropy;
mod layer_norm;
mod max_pool;
mod rows;
#[cfg(test)]
mod samples;
mod softmax;
mod split;

#[cfg(test)]
pub(crate) use samples::{Draw, Sample, samples};

pub use crate::autograd::check_fused::{Tolerance, check};
pub use crate::graph::{Buffer, Launch, Word};
pub use crate::tensor::fused::{Fused, Io};
