//! The first failure of a device.
//!
//! In: errors, including the errors that wgpu reports asynchronously. Out: the first error, returned by every later run
//! and read.

use std::sync::OnceLock;

use crate::core::error::Error;

#[derive(Default)]
pub(super) struct Health(OnceLock<Error>);

impl Health {
    /// Stores `error` if it is the first error. Returns the first error, because later errors are mostly its
    /// consequences.
    pub fn fail(&self, error: Error) -> Error {
        self.0.get_or_init(|| error).clone()
    }

    pub fn check(&self) -> Result<(), Error> {
        match self.0.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Converts and stores an error reported by wgpu.
    pub fn report(&self, error: wgpu::Error) -> Error {
        self.fail(match error {
            // Buffers are created in a separate error scope, so this error concerns memory that wgpu uses internally.
            wgpu::Error::OutOfMemory { .. } => Error::Driver("out of memory".into()),
            wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
                Error::Driver(description)
            }
        })
    }
}
