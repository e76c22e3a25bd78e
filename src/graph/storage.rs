//! Values: where the elements of what has been computed lie.

use std::any::Any;
use std::sync::Arc;

use super::view::View;

/// The memory behind one or more values. What it is like, only the backend that made it knows.
pub(crate) trait Storage: Any + Send + Sync {
    /// Bytes on the device that were asked for; what the host holds is not counted.
    fn bytes(&self) -> u64;
}

impl dyn Storage {
    /// The memory itself, for the backend that made it.
    pub fn downcast<T: Storage>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// Where an output's elements lie. Several values may share a storage: views cost nothing.
#[derive(Clone)]
pub(crate) struct Value {
    pub storage: Arc<dyn Storage>,
    pub view: View,
}
