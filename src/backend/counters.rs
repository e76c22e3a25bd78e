//! Counters and memory statistics of a device.

use std::fmt;
use std::time::Duration;

/// Counts of a device's activity so far. Tests compare counters to show that a training step allocates nothing. See
/// [`Device::counters`](crate::Device::counters).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Runs: the number of times that pending work was computed.
    pub runs: usize,
    /// Plans created. A run whose graph has a cached plan does not create a plan.
    pub plans: usize,
    /// Values that the user has a handle to, but that a run did not write, because they can be computed when they are
    /// read: large elementwise results of values that stay in memory. Rust keeps the temporaries of
    /// `x.exp().sin().sum().item()` alive until the end of the statement, and writing each of them would cost a pass
    /// over memory.
    pub deferred: usize,
    /// Number of kernels dispatched.
    pub kernels: usize,
    /// Submissions to the GPU's queue.
    pub submissions: usize,
    /// GPU buffers created, not counting buffers reused from the pool.
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
    /// Elements that `WGRAD_CHECK` compared with the CPU reference.
    pub checked: usize,
    /// The subset of the checked elements whose error bound is too loose for a useful comparison: elements next to a
    /// discontinuity (of `floor` or `lt`), and floats whose rounding error may exceed a hundredth of the largest
    /// magnitude in the tensor.
    pub passed_over: usize,
    /// CPU time that threads spend on runs: planning, uniforms, recording and submission, but not building the graph.
    /// On systems with per-thread CPU clocks (Linux and macOS), waiting for the device is excluded too.
    pub host: Duration,
}

/// A device's memory in bytes: the prediction of plans, and the contents of the buffer pool. See
/// [`Device::memory`](crate::Device::memory).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Maximum predicted memory of a run: the plan's operands, all cached constants, and all buffers that the plan
    /// allocates.
    pub predicted: u64,
    /// Peak memory of tensors.
    pub peak: u64,
    /// Current memory of tensors.
    pub in_use: u64,
    /// The total size of the buffers in use minus the size of their tensors: buffer sizes are rounded up to one of four
    /// sizes per power of two.
    pub wasted: u64,
    /// Memory of idle buffers.
    pub idle: u64,
}

impl Memory {
    /// Returns the memory of all buffers of the pool.
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
