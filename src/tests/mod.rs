//! Tests that need to see inside: rows, fused operations, shaders, the layers of the source.

mod check;
#[path = "../../tests/common/mod.rs"]
mod common;
mod docs;
mod extremes;
mod fused;
mod imports;
mod layers;
mod matmul;
mod rows;
mod shaders;
mod special;
