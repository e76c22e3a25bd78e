//! Failures of the environment: no adapter, a lost device, exhausted memory, an index out of range, a bad file.
//!
//! Programming mistakes (shapes, dtypes) are not errors: they panic in the user's line. Errors are cloneable, because
//! every read after a device failure returns the same error.

use std::panic::Location;
use std::path::PathBuf;

/// A failure of the environment.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no GPU adapter, including software adapters.
    #[error(
        "no GPU adapter found (asked: {backends}). Install a driver; Mesa's software one will do: \
         apt-get install mesa-vulkan-drivers libvulkan1 (Debian, Ubuntu)"
    )]
    NoAdapter {
        /// The backends that were searched.
        backends: String,
    },

    /// There is no adapter with the requested name.
    #[error("no GPU adapter's name contains {wanted:?}; there are: {}", found.join(", "))]
    AdapterNotFound {
        /// The requested substring of a name.
        wanted: String,
        /// The names of the available adapters.
        found: Vec<String>,
    },

    /// The driver did not open the adapter.
    #[error("the adapter {adapter} gave no device: {reason}")]
    DeviceRequest {
        /// The adapter's name.
        adapter: String,
        /// The driver's message.
        reason: String,
    },

    /// The device and its tensors are lost. Open another device.
    #[error("the GPU device was lost: {reason}")]
    DeviceLost {
        /// The driver's message.
        reason: String,
    },

    /// Device memory is exhausted, although idle buffers were released.
    #[error("the GPU is out of memory: there are no {bytes} bytes left")]
    OutOfMemory {
        /// The requested size in bytes.
        bytes: u64,
    },

    /// A buffer would exceed a limit of the adapter.
    #[error("{bytes} bytes are more than this adapter's {limit} of {allowed} bytes")]
    TooLarge {
        /// The requested size in bytes.
        bytes: u64,
        /// WebGPU's name of the limit.
        limit: &'static str,
        /// The value of the limit.
        allowed: u64,
    },

    /// An error of the driver or of wgpu, with its message.
    #[error("the GPU driver reported: {0}")]
    Driver(String),

    /// A submission does not finish.
    #[error("the GPU finished nothing for {seconds} seconds: it hangs")]
    Hang {
        /// The time that the runtime waited, in seconds.
        seconds: u64,
    },

    /// An index is out of range. A later read reports it, because computed indices are only on the device.
    #[error("an index was out of range in {op}, called at {at}")]
    Index {
        /// The operation.
        op: &'static str,
        /// The source line that built the operation.
        at: &'static Location<'static>,
    },

    /// A state does not match the object into which it was loaded. The object is unchanged.
    #[error("the state does not fit: {reason}")]
    State {
        /// The name of the mismatched entry, and the reason.
        reason: String,
    },

    /// A watched value was infinite or NaN.
    #[error("{what} was not finite at step {step}")]
    NotFinite {
        /// The name of the watched value.
        what: String,
        /// The first step with such a value.
        step: usize,
    },

    /// `WGRAD_CHECK` found a wrong result of a kernel: a bug in this crate or in a user's fused operation. Do not use
    /// values that depend on it.
    #[error(
        "WGRAD_CHECK: {op}, called at {at}: element {index} is {got:e} on the GPU and {wanted:e} by the reference; the \
         tolerance is {tolerance:e} (kernel: {kernel})"
    )]
    Check {
        /// The operation.
        op: &'static str,
        /// The source line that built the operation.
        at: &'static Location<'static>,
        /// A description of the kernel.
        kernel: String,
        /// The position of the element in row-major order.
        index: usize,
        /// The GPU's value.
        got: f64,
        /// The CPU reference's value.
        wanted: f64,
        /// The bound on the error of f32 arithmetic.
        tolerance: f64,
    },

    /// A file could not be read, written or parsed. Nothing was changed.
    #[error("{}: {reason}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The reason for the failure.
        reason: String,
    },
}
