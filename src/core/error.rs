//! What the world does to a program: no adapter, a lost device, exhausted memory, an index out of range, a bad file.
//!
//! A programming mistake (a shape, a dtype) is not here: it panics in the user's line. Errors are plain text and
//! numbers, so that a device's failure, which is sticky, can be handed out to every read after it.

use std::panic::Location;
use std::path::PathBuf;

/// A failure of the environment.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no GPU, not even a software one.
    #[error(
        "no GPU adapter found (asked: {backends}). Install a driver; Mesa's software one will do: \
         apt-get install mesa-vulkan-drivers libvulkan1 (Debian, Ubuntu)"
    )]
    NoAdapter {
        /// The backends that were asked.
        backends: String,
    },

    /// The adapter that `WGPU_ADAPTER_NAME` names is not here.
    #[error("no GPU adapter's name contains {wanted:?}; there are: {}", found.join(", "))]
    AdapterNotFound {
        /// Part of the name that was asked for.
        wanted: String,
        /// The names of those that are here.
        found: Vec<String>,
    },

    /// The driver did not open the adapter.
    #[error("the adapter {adapter} gave no device: {reason}")]
    DeviceRequest {
        /// Its name.
        adapter: String,
        /// What the driver says.
        reason: String,
    },

    /// The driver gave the device up. Tensors on it are gone; open another one.
    #[error("the GPU device was lost: {reason}")]
    DeviceLost {
        /// What the driver says.
        reason: String,
    },

    /// Memory is exhausted, also after idle buffers were given back.
    #[error("the GPU is out of memory: there are no {bytes} bytes left")]
    OutOfMemory {
        /// Bytes of the buffer that was asked for.
        bytes: u64,
    },

    /// One buffer would be larger than the adapter allows.
    #[error("{bytes} bytes are more than this adapter's {limit} of {allowed} bytes")]
    TooLarge {
        /// Bytes of the buffer that was asked for.
        bytes: u64,
        /// WebGPU's name of the limit.
        limit: &'static str,
        /// What it allows.
        allowed: u64,
    },

    /// The driver, or wgpu on its behalf, refused something: its own message.
    #[error("the GPU driver reported: {0}")]
    Driver(String),

    /// The GPU does not come back.
    #[error("the GPU finished nothing for {seconds} seconds: it hangs")]
    Hang {
        /// How long it was waited for.
        seconds: u64,
    },

    /// Only the device sees a computed index's value, so this comes out of a later read.
    #[error("an index was out of range in {op}, called at {at}")]
    Index {
        /// The operation.
        op: &'static str,
        /// The line that built it.
        at: &'static Location<'static>,
    },

    /// A state that does not fit what it was to be loaded into. That is unchanged.
    #[error("the state does not fit: {reason}")]
    State {
        /// Which name, and what is wrong with it.
        reason: String,
    },

    /// A value that was watched was infinite or not a number.
    #[error("{what} was not finite at step {step}")]
    NotFinite {
        /// The name under which it was watched.
        what: String,
        /// The first such step.
        step: usize,
    },

    /// A kernel's result is not what the reference makes of the same operands: a defect of the crate's, or of a user's
    /// own operation, found under `WGRAD_CHECK`. Values that depend on it are not to be used.
    #[error(
        "WGRAD_CHECK: {op}, called at {at}: element {index} is {got:e} on the GPU and {wanted:e} by the reference; the \
         tolerance is {tolerance:e} (kernel: {kernel})"
    )]
    Check {
        /// The operation.
        op: &'static str,
        /// The line that built it.
        at: &'static Location<'static>,
        /// What the kernel does.
        kernel: String,
        /// The element, counted in row-major order.
        index: usize,
        /// The GPU's value.
        got: f64,
        /// The reference's.
        wanted: f64,
        /// How far off the roundings of f32 may come, at the most.
        tolerance: f64,
    },

    /// A file that could not be read, written or understood. What it was to change is unchanged.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
