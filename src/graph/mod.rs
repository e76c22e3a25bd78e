//! The graph: nodes with their operations and cached values, and the handle to the device that computes them.
//!
//! In: checked operations from `tensor`. Out: a DAG that `autograd` extends and `schedule` plans. Computes no elements,
//! and is independent of the backends.

mod device;
mod elementwise;
mod fused;
mod handle;
mod launch;
mod node;
mod print;
mod shader_source;
mod storage;
mod table;
mod view;

pub use device::Device;
pub(crate) use device::{Engine, Pending, Variable};
pub(crate) use elementwise::{Accepts, Binary, Unary};
pub(crate) use fused::FusedOp;
pub(crate) use handle::Handle;
pub(crate) use launch::validate;
pub use launch::{Buffer, Launch, Word};
pub(crate) use node::{Edge, Edges, Node, Op, Reduce, with_recomputation};
pub(crate) use print::print;
pub(crate) use shader_source::{ShaderSource, hook};
pub(crate) use storage::{Storage, Transfers, Value};
pub(crate) use table::{binary_rows, unary_rows};
pub(crate) use view::{Move, View, WindowMove};
