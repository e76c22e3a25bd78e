//! The graph: nodes that say what is to be computed, and cache what has been.
//!
//! In: checked operations from `tensor`. Out: a DAG for `autograd` to lengthen and `schedule` to plan. Nothing here
//! computes an element.

mod elementwise;
pub(crate) mod node;
pub(crate) mod print;
mod table;
pub(crate) mod view;

pub(crate) use elementwise::{Accepts, Binary, Unary};
pub(crate) use node::{Edge, Edges, Node, Op, Reduce, Value, with_recomputation};
pub(crate) use table::{binary_rows, unary_rows};
pub(crate) use view::{Move, View, Windows};
