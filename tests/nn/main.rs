//! Layers: PyTorch's answers and names, the conformance cases of their operations, and what they are besides: modes, freezing,
//! initial weights, tables, and memory that does not grow.

#[path = "../common/mod.rs"]
mod common;

#[path = "../../examples/conformance/case.rs"]
#[allow(dead_code)]
mod case;
#[path = "../../examples/conformance/compare.rs"]
#[allow(dead_code)]
mod compare;
#[path = "../../examples/conformance/guard.rs"]
#[allow(dead_code)]
mod guard;
#[path = "../../examples/conformance/ops.rs"]
#[allow(dead_code)]
mod ops;

mod conformance;
mod initial;
mod memory;
mod modules;
mod pytorch;
mod summary;
