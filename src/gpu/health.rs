//! The first failure of a device, kept for good.
//!
//! In: whatever wgpu reports at a time when nobody is there to be told. Out: the same error to every run and
//! read that comes after.

use std::sync::OnceLock;

use crate::core::error::Error;

#[derive(Default)]
pub(super) struct Health(OnceLock<Error>);

impl Health {
    /// Keeps `error` unless an earlier one is kept, and gives back the one that is: what follows a first failure is its echo.
    pub fn fail(&self, error: Error) -> Error {
        self.0.get_or_init(|| error).clone()
    }

    pub fn check(&self) -> Result<(), Error> {
        match self.0.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Keeps what wgpu reported.
    pub fn report(&self, error: wgpu::Error) -> Error {
        self.fail(match error {
            // What we allocate is asked for in a scope of its own; this is wgpu's memory for something else.
            wgpu::Error::OutOfMemory { .. } => Error::Driver("out of memory".into()),
            wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
                Error::Driver(description)
            }
        })
    }
}
