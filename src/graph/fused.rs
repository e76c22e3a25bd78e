//! A fused operation as the graph and the scheduler see it: its outputs in primitives, and its kernels.

use std::any::{Any, TypeId};
use std::fmt::Debug;

use super::launch::Launch;
use super::node::{Edge, Edges};
use crate::core::limits::Limits;
use crate::core::shape::Spec;

/// An operation with kernels of its own. `tensor/fused` has the trait that users implement, which speaks of tensors.
pub(crate) trait FusedOp: Any + Debug + Send + Sync {
    fn name(&self) -> &'static str;

    /// The type of the user's that it is: another may have its name.
    fn op_type(&self) -> TypeId;

    /// What changes the shapes or the kernel's text: part of a plan's key.
    fn attributes(&self) -> Vec<u64>;

    /// The user's numbers: uniforms, in no key.
    fn scalars(&self) -> Vec<f64>;

    /// Every output in primitives of the inputs.
    fn decompose(&self, inputs: &[Edge]) -> Edges;

    /// Dispatches for inputs and outputs of these specs; `None`: it has no kernel for them.
    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>>;
}
