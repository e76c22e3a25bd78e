//! What a device has done, and what it holds.

use std::fmt;
use std::time::Duration;

/// What a device has done so far: what tests of "a step allocates nothing" compare. See
/// [`Device::counters`](crate::Device::counters).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Times that something pending was computed.
    pub runs: usize,
    /// Plans made: a run whose graph was planned before makes none.
    pub plans: usize,
    /// Values that a user held and that a run left to be computed when they are read: large elementwise results of what is
    /// in memory anyway. Rust keeps the temporaries of `x.exp().sin().sum().item()` alive to the end of the statement;
    /// writing them would cost a pass over memory each.
    pub deferred: usize,
    /// Kernels dispatched.
    pub kernels: usize,
    /// Submissions to the GPU's queue.
    pub submissions: usize,
    /// GPU buffers created; a buffer that the pool hands out again is not counted.
    pub buffers: usize,
    /// Distinct kernels compiled.
    pub pipelines: usize,
    /// Bind groups created.
    pub bind_groups: usize,
    /// Bytes of buffers in use.
    pub bytes_live: u64,
    /// The most that `bytes_live` has been.
    pub bytes_peak: u64,
    /// Bytes of buffers that wait in the pool.
    pub bytes_idle: u64,
    /// Elements that `WGRAD_CHECK` compared with the reference.
    pub checked: usize,
    /// Of these, elements whose error bound is too loose to check: next to a discontinuity (of `floor`, of `lt`), or where
    /// rounding may have moved a float by over a hundredth of the largest in its tensor.
    pub passed_over: usize,
    /// Time that threads worked on runs: finding the plan or making it, uniforms, recording, submitting. Building the
    /// graph before is not in it; nor is waiting for the device, where the system tells a thread's own time (Linux and
    /// macOS).
    pub host: Duration,
}

/// Bytes of a device's memory: what plans said they would hold, and what the pool of buffers holds. See
/// [`Device::memory`](crate::Device::memory).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// The most that a plan said, before it ran, that it would hold at a time: its operands, its constants, and all
    /// that it takes.
    pub predicted: u64,
    /// The most that tensors took at a time.
    pub peak: u64,
    /// What tensors take now.
    pub in_use: u64,
    /// What the buffers in use have beyond that: sizes are rounded up to one of four sizes per power of two.
    pub wasted: u64,
    /// Buffers that wait to be used again.
    pub idle: u64,
}

impl Memory {
    /// All that the pool holds.
    pub fn pooled(&self) -> u64 {
        self.in_use + self.wasted + self.idle
    }
}

/// `predicted 12.0 MB, peak 11.5 MB; pooled 12.8 MB: 9.0 in use, 0.3 wasted, 3.5 idle`
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        write!(
            f,
            "predicted {:.1} MB, peak {:.1} MB; pooled {:.1} MB: {:.1} in use, {:.1} wasted, {:.1} idle",
            mb(self.predicted),
            mb(self.peak),
            mb(self.pooled()),
            mb(self.in_use),
            mb(self.wasted),
            mb(self.idle)
        )
    }
}
