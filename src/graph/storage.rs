//! Values: the memory of computed outputs.

use std::any::Any;
use std::sync::Arc;

use super::view::View;

/// The memory of one or more values. Its concrete type is private to the backend that created it.
pub(crate) trait Storage: Any + Send + Sync {
    /// Returns the requested size in bytes of device memory; 0 for host memory.
    fn bytes(&self) -> u64;
}

impl dyn Storage {
    /// Returns the backend's concrete type.
    pub fn downcast<T: Storage>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// The elements of an output: a view of a storage. Several values may share a storage.
#[derive(Clone)]
pub(crate) struct Value {
    pub storage: Arc<dyn Storage>,
    pub view: View,
}
