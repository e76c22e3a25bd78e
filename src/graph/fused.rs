//! The graph's interface to a fused operation: its decomposition into primitives, and its kernels.

use std::any::{Any, TypeId};
use std::fmt::Debug;

use super::launch::Launch;
use super::node::{Edge, Edges};
use crate::core::limits::Limits;
use crate::core::shape::Spec;

/// An operation with its own kernels. Users implement `Fused` (`tensor/fused`), the equivalent trait on tensors.
pub(crate) trait FusedOp: Any + Debug + Send + Sync {
    fn name(&self) -> &'static str;

    /// Returns the user's type, which distinguishes operations with the same name.
    fn op_type(&self) -> TypeId;

    /// Returns the attributes on which output shapes or WGSL depend; they are part of a plan's key.
    fn attributes(&self) -> Vec<u64>;

    /// Returns the user's scalars, which are passed as uniforms and are not part of a plan's key.
    fn scalars(&self) -> Vec<f64>;

    /// Builds all outputs from the inputs with primitive operations.
    fn decompose(&self, inputs: &[Edge]) -> Edges;

    /// Returns the dispatches for inputs and outputs with the specs `io`, or `None` if the operation has no kernel for
    /// them.
    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>>;
}
