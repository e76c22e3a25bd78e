//! Counters of a device, and its memory.

use std::fmt;
use std::time::Duration;

/// What a device has done so far; tests compare counters to show that a step allocates nothing. See
/// [`Device::counters`](crate::Device::counters).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Runs: how often pending work was computed.
    pub runs: usize,
    /// Plans created. A run whose graph has a cached plan creates none.
    pub plans: usize,
    /// Held values that a run did not write, because they can be computed when they are read: large elementwise results of
    /// values that stay in memory. Rust keeps the temporaries of `x.exp().sin().sum().item()` alive to the end of the statement;
    /// writing them would cost a pass over memory each.
    pub deferred: usize,
    /// Kernels dispatched.
    pub kernels: usize,
    /// Submissions to the GPU's queue.
    pub submissions: usize,
    /// GPU buffers created. Reused buffers of the pool are not counted.
    pub buffers: usize,
    /// Distinct kernels compiled.
    pub pipelines: usize,
    /// Bind groups created.
    pub bind_groups: usize,
    /// Bytes of buffers in use.
    pub bytes_live: u64,
    /// The peak of `bytes_live`.
    pub bytes_peak: u64,
    /// Bytes of idle buffers in the pool.
    pub bytes_idle: u64,
    /// Elements that `WGRAD_CHECK` compared with the reference.
    pub checked: usize,
    /// Of these, elements whose error bound is too loose to check: next to a discontinuity (of `floor`, of `lt`), or where
    /// rounding may have moved a float by over a hundredth of the largest in its tensor.
    pub passed_over: usize,
    /// CPU time of threads for runs: planning, uniforms, recording, submission. It does not include building the graph, nor
    /// waiting for the device on systems that measure the CPU time of a thread (Linux and macOS).
    pub host: Duration,
}

/// A device's memory in bytes: the prediction of plans, and the contents of the buffer pool. See
/// [`Device::memory`](crate::Device::memory).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// The largest prediction of a plan before its run: its operands, its constants, and all buffers that it allocates.
    pub predicted: u64,
    /// The peak of the memory of tensors.
    pub peak: u64,
    /// The current memory of tensors.
    pub in_use: u64,
    /// The difference between the buffers in use and the tensors in them: sizes are rounded up to one of four sizes per
    /// power of two.
    pub wasted: u64,
    /// Idle buffers.
    pub idle: u64,
}

impl Memory {
    /// All buffers of the pool.
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
