//! The primitives that are not rows of the table: value against plain loops, gradients against central
//! differences, GPU against CPU.

#[path = "../common/mod.rs"]
mod common;

mod batched;
mod casts;
mod indexing;
mod large;
mod matmul;
mod movement;
mod reductions;
mod vectorized;
