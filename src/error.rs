//! What the world does to a program: no adapter, a lost device, exhausted memory, an index out of range.
//!
//! A programming mistake (a shape, a dtype) is not here: it panics in the user's line. Errors are plain text and
//! numbers, so that a device's failure, which is sticky, can be handed out to every read after it.

use std::panic::Location;
use std::path::PathBuf;

/// A failure of the environment.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "no GPU adapter found among the backends {backends}. Install a driver; without a GPU, Mesa's software one will do \
         (on Debian and Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1). WGPU_BACKEND, where set, limits the backends"
    )]
    NoAdapter { backends: String },

    #[error("no GPU adapter's name contains {wanted:?}; there are: {}", found.join(", "))]
    AdapterNotFound { wanted: String, found: Vec<String> },

    #[error("the adapter {adapter} gave no device: {reason}")]
    DeviceRequest { adapter: String, reason: String },

    #[error("the GPU device was lost: {reason}")]
    DeviceLost { reason: String },

    #[error("the GPU is out of memory: there are no {bytes} bytes left")]
    OutOfMemory { bytes: u64 },

    #[error("{bytes} bytes are more than this adapter's {limit} of {allowed} bytes")]
    TooLarge { bytes: u64, limit: &'static str, allowed: u64 },

    /// The driver, or wgpu on its behalf, refused something: its own message.
    #[error("the GPU driver reported: {0}")]
    Driver(String),

    #[error("the GPU finished nothing for {seconds} seconds: it hangs")]
    Hang { seconds: u64 },

    /// Only the GPU sees an index's value, so this comes out of a later read; `at` is the line that built the operation.
    #[error("an index was out of range in {op}, called at {at}")]
    Index { op: &'static str, at: &'static Location<'static> },

    /// A file that could not be read, written or understood. What it was to change is unchanged.
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
}
