//! Values: the memory of computed outputs, and the transfers between it and the host.

use std::any::Any;
use std::future::ready;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::view::View;
use crate::core::error::Error;
use crate::core::host::{Download, Upload};

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

/// Copies data between the host and storages; implemented by every backend.
pub(crate) trait Transfers: Send + Sync {
    fn upload(&self, data: &dyn Upload) -> Result<Arc<dyn Storage>, Error>;

    /// Reads the first `bytes` bytes of a storage.
    fn read<'a>(&'a self, storage: &'a dyn Storage, bytes: usize) -> Result<Download<'a>, Error>;

    /// Reads like [`read`](Transfers::read), without blocking the thread.
    fn read_async<'a>(
        &'a self,
        storage: &'a dyn Storage,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Download<'a>, Error>> {
        Box::pin(ready(self.read(storage, bytes)))
    }
}

/// The elements of an output: a view of a storage. Several values may share a storage.
#[derive(Clone)]
pub(crate) struct Value {
    pub storage: Arc<dyn Storage>,
    pub view: View,
}
