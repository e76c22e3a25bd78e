//! The graph's view of a fused operation: its decomposition into primitives, and its kernels.

use std::any::{Any, TypeId};
use std::fmt::Debug;

use super::launch::Launch;
use super::node::{Edge, Edges};
use crate::core::limits::Limits;
use crate::core::shape::Spec;

/// An operation with its own kernels. Users implement `Fused` (`tensor/fused`), which is the same in terms of tensors.
pub(crate) trait FusedOp: Any + Debug + Send + Sync {
    fn name(&self) -> &'static str;

    /// The user's type. The name alone does not identify the operation.
    fn op_type(&self) -> TypeId;

    /// Everything that changes shapes or WGSL: part of a plan's key.
    fn attributes(&self) -> Vec<u64>;

    /// The user's scalars: uniforms, not part of a key.
    fn scalars(&self) -> Vec<f64>;

    /// Builds all outputs from the inputs by primitive operations.
    fn decompose(&self, inputs: &[Edge]) -> Edges;

    /// Dispatches for inputs and outputs of these specs; `None` if it has no kernel for them.
    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>>;
}
