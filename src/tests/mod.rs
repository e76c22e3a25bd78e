//! Tests with access to private items: the operation table, fused operations, shaders, and rules for the source
//! (layers, type names).

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
mod type_names;
mod uniformity;
