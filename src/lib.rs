//! Train neural networks on the GPU that your laptop already has: Metal, Vulkan or DX12 through
//! [wgpu](https://wgpu.rs), with no SDK, no CUDA and no Python.
//!
//! ```
//! use wgrad::nn::{Linear, Module, ReLU, Sequential};
//! use wgrad::optim::{AdamW, Optimizer};
//! use wgrad::{Device, Tensor, no_grad};
//!
//! # fn main() -> Result<(), wgrad::Error> {
//! let dev = Device::auto(); // the GPU; the CPU reference where there is none
//! wgrad::manual_seed(0);
//!
//! // Is a point inside the unit circle?
//! let points = (Tensor::rand([256, 2], &dev) * 3.0 - 1.5).detach();
//! let inside = points.square().sum_dim(1, false).lt(1.0).to_dtype(wgrad::DType::I32);
//!
//! let model = Sequential::new().add(Linear::new(2, 32, &dev)).add(ReLU).add(Linear::new(32, 2, &dev));
//! let mut optimizer = AdamW::new(model.params(), 1e-2);
//! for step in 0..200 {
//!     let loss = model.forward(&points).cross_entropy(&inside); // nothing has run
//!     loss.backward(); // the graph is longer; nothing has run
//!     optimizer.step(); // one plan: forward, backward and update, sent to the GPU
//!     if step % 50 == 0 {
//!         println!("step {step}: loss {:.3}", loss.item()?); // waits, and only here
//!     }
//! }
//! let right = no_grad(|| model.forward(&points).argmax(1, false).eq(&inside).sum()).item()?;
//! assert!(right / 256.0 > 0.95);
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! ```text
//!  tensor            graph              autograd            schedule                       backend
//!  x.matmul(&w)  ->  DAG of ~40     ->  the same DAG,   ->  key -> fuse -> memory     ->   gpu: one pass of kernels
//!  shapes checked    primitives and     made longer by      -> plan (plain data),          cpu: node by node, f64
//!  in your line      fused ops          gradient rules      cached by structure            null: counts
//! ```
//!
//! Methods build a graph and return at once. Gradients are graph too, so they can be differentiated again. A value is
//! computed when it is read, or when an optimizer steps; the same step planned once is only sent again. The CPU
//! reference is plain loops in f64 and says what is right.
//!
//! # Errors
//!
//! A programming mistake (a shape, a dim, a dtype) panics in your line, with the operation and both shapes. What the
//! world does (no adapter, a lost device, memory, files) is an [`Error`] and comes out of reads: building, `backward`
//! and `step` return none.
//!
//! # Features
//!
//! None is on by default, and each brings one crate or two.
//!
//! | feature | what it adds | by |
//! |---|---|---|
//! | `datasets` | files of known datasets: IDX (MNIST), CIFAR-10, CSV ([`data`]) | `csv`, `flate2` |
//! | `logs` | `report::Log`: what a run showed as CSV, which a resumed run goes on with | `csv` |
//! | `plots` | `report::draw`: curves as SVG | `plotters` |
//! | `progress` | `report::Progress`: a bar in the terminal | `indicatif` |
//! | `tokenizers` | `data::Tokenizer`: text by a `tokenizer.json` | `tokenizers` |
//!
//! # Variables
//!
//! `WGPU_BACKEND` (`vulkan`, `metal`, `dx12`) and `WGPU_ADAPTER_NAME` (part of a name) choose the adapter.
//! `WGRAD_LOG=plan,kernel,wgsl` prints plans, the kernels that ran (those that share a dispatch in one line), and their
//! text; `WGRAD_LOG=after:NAME` the form behind a pass of the scheduler (`pending`, `defer`, `simplify`, `regions`, `lower`,
//! `merge`, `split_reductions`, `order`, `memory`), `after:all` all of them. `WGRAD_FUSE=0` gives each node a kernel of its own, `WGRAD_EAGER=1` runs it as soon as it is built, `WGRAD_CHECK=1` follows each kernel with the CPU
//! reference and fails with [`Error::Check`] where they differ. `WGRAD_KIND` (`discrete`, `integrated`, `software`) chooses
//! kernels as for an adapter of that kind: so those for real GPUs are tested on a software adapter.

#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod autograd;
mod backend;
mod core;
mod cpu;
pub mod data;
mod gpu;
mod graph;
pub mod io;
mod ir;
pub mod metrics;
pub mod nn;
mod null;
pub mod ops;
pub mod optim;
#[cfg(any(feature = "logs", feature = "plots", feature = "progress"))]
pub mod report;
mod runtime;
mod schedule;
mod tensor;

pub use crate::core::dtype::{DType, Element};
pub use crate::core::error::Error;
pub use crate::core::grad_mode::{enable_grad, is_grad_enabled, no_grad};
pub use crate::core::limits::{AdapterKind, Limits};
pub use crate::core::random::{Generator, generator, manual_seed, set_generator};
pub use crate::core::shape::{Dims, Shape, ShapeError, Spec};
pub use backend::{Counters, Memory};
pub use graph::Device;
pub use ops::conv::ConvOptions;
pub use ops::cross_entropy::CrossEntropyOptions;
pub use runtime::GpuOptions;
pub use tensor::loss::Reduction;
pub use tensor::norm::BatchNorm;
pub use tensor::pool::PoolOptions;
pub use tensor::var::Var;
pub use tensor::{Operand, Tensor};

/// The programs in the pages run as tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../docs/tutorial.md")]
    struct Tutorial;
    #[doc = include_str!("../docs/from-pytorch.md")]
    struct FromPyTorch;
}

// The tests' helpers are shared with `tests/`, which know the crate by its name.
#[cfg(test)]
extern crate self as wgrad;
#[cfg(test)]
mod tests;
