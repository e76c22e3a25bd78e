//! Fused operations: one file each, with its WGSL of the same stem in `shaders/`.
//!
//! A fused operation carries its decomposition into primitives. It runs that decomposition where it has no kernel for a shape or a
//! device, and differentiates it where it has no rule: so nothing ever detaches silently, and the CPU reference, the
//! gradient and the test's oracle all come from one place.
//!
//! The trait is public: an operation of your own is a WGSL file and its decomposition, built with
//! [`Tensor::fused`](crate::Tensor::fused) and proven by [`check`]. `examples/custom_op` is one, with a backward kernel that
//! uses what the forward one saved.

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
