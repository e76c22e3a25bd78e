//! Values: the memory of computed outputs.

use std::any::Any;
use std::sync::Arc;

use super::view::View;

/// The memory of one or more values. Only the backend that created it knows its type.
pub(crate) trait Storage: Any + Send + Sync {
    /// The requested bytes of device memory; 0 for memory of the host.
    fn bytes(&self) -> u64;
}

impl dyn Storage {
    /// The backend's own type.
    pub fn downcast<T: Storage>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// An output's elements: a view of a storage, which several values may share.
#[derive(Clone)]
pub(crate) struct Value {
    pub storage: Arc<dyn Storage>,
    pub view: View,
}
