//! The first failure of a device.
//!
//! In: errors, also those that wgpu reports asynchronously. Out: the first error, from every later run and read.

use std::sync::OnceLock;

use crate::core::error::Error;

#[derive(Default)]
pub(super) struct Health(OnceLock<Error>);

impl Health {
    /// Stores `error` if it is the first, and returns the first: later errors are mostly consequences of it.
    pub fn fail(&self, error: Error) -> Error {
        self.0.get_or_init(|| error).clone()
    }

    pub fn check(&self) -> Result<(), Error> {
        match self.0.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Stores an error that wgpu reported.
    pub fn report(&self, error: wgpu::Error) -> Error {
        self.fail(match error {
            // Buffers are created in an error scope of their own, so this is memory that wgpu uses internally.
            wgpu::Error::OutOfMemory { .. } => Error::Driver("out of memory".into()),
            wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
                Error::Driver(description)
            }
        })
    }
}
