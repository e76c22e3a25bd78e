//! Train neural networks on the GPU of your laptop: Metal, Vulkan or DX12 through [wgpu](https://wgpu.rs), without an
//! SDK, CUDA or Python.
//!
//! ```
//! use wgrad::nn::{Linear, Module, ReLU, Sequential};
//! use wgrad::optim::{AdamW, Optimizer};
//! use wgrad::{Device, Tensor, no_grad};
//!
//! # fn main() -> Result<(), wgrad::Error> {
//! let dev = Device::auto(); // the GPU, or the CPU reference if there is none
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
//!     loss.backward(); // extends the graph; nothing has run
//!     optimizer.step(); // submits forward, backward and update to the GPU in one plan
//!     if step % 50 == 0 {
//!         println!("step {step}: loss {:.3}", loss.item()?); // the only line that waits for the GPU
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
//!  shapes checked    primitives and     extended by         -> plan (plain data),          cpu: node by node, f64
//!  in your line      fused ops          gradient rules      cached by structure            null: counts
//! ```
//!
//! Methods build a graph and return at once. Gradients are part of the graph, so they can be differentiated again. A
//! value is computed when it is read or when an optimizer steps. The first step makes a plan; further steps of the same
//! structure reuse it. The CPU reference computes in f64 with plain loops and defines the correct results.
//!
//! # Errors
//!
//! A programming mistake (a wrong shape, dim or dtype) panics at the caller's line, with the operation and both shapes.
//! A tensor larger than the device's storage binding limit panics too. A failure of the environment (no adapter, a lost
//! device, exhausted memory, a bad file) is an [`Error`]. Opening a device, reading a value and accessing files return
//! errors. Building a graph, `backward` and `step` return none; their failures are returned by the next read.
//!
//! # Features
//!
//! All features are off by default. Each adds one or two dependencies.
//!
//! | feature | what it adds | dependencies |
//! |---|---|---|
//! | `datasets` | readers of dataset files: IDX (MNIST), CIFAR-10, CSV ([`data`]) | `csv`, `flate2` |
//! | `logs` | `report::Log`: a CSV log, which a resumed run continues | `csv` |
//! | `plots` | `report::draw`: curves as SVG | `plotters` |
//! | `progress` | `report::Progress`: a progress bar in the terminal | `indicatif` |
//! | `tokenizers` | `data::Tokenizer`: text with a `tokenizer.json` | `tokenizers` |
//!
//! # Environment variables
//!
//! | variable | effect |
//! |---|---|
//! | `WGPU_BACKEND` | selects the backend: `vulkan`, `metal`, `dx12` |
//! | `WGPU_ADAPTER_NAME` | selects the adapter by a part of its name |
//! | `WGRAD_LOG=plan,kernel,wgsl` | prints plans, executed kernels (one line per dispatch), and their WGSL |
//! | `WGRAD_LOG=after:NAME` | prints the graph after a pass of the scheduler: `pending`, `defer`, `simplify`, `regions`, `lower`, `merge`, `split_reductions`, `order`, `memory`, or `all` |
//! | `WGRAD_FUSE=0` | disables fusion: one kernel per node |
//! | `WGRAD_EAGER=1` | computes each node when it is built |
//! | `WGRAD_CHECK=1` | compares each kernel with the CPU reference; a difference is an [`Error::Check`] |
//! | `WGRAD_KIND` | selects kernels for this kind of adapter: `discrete`, `integrated`, `software`. It tests kernels of real GPUs on a software adapter |

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

/// Runs the programs in the documentation pages as tests.
#[cfg(doctest)]
mod pages {
    // Its last program reports a run, which takes features; a packed crate's tests do not enable them.
    #[cfg(all(feature = "logs", feature = "plots", feature = "progress"))]
    #[doc = include_str!("../docs/tutorial.md")]
    struct Tutorial;
    #[doc = include_str!("../docs/from-pytorch.md")]
    struct FromPyTorch;
}

// The test helpers are shared with `tests/`, where the crate has this name.
#[cfg(test)]
extern crate self as wgrad;
#[cfg(test)]
mod tests;
