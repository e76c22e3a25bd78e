//! CPU time of the current thread.

use std::time::Duration;

/// Returns the CPU time used by this thread, which excludes time spent blocked. On systems without a per-thread CPU
/// clock, returns the wall-clock time since the first call.
#[cfg(any(target_os = "linux", target_os = "macos"))]
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub fn thread_time() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}
