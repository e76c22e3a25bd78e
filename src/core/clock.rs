//! How long a thread has worked.

use std::time::Duration;

/// The time that this thread has had a core: waiting, and what other threads do meanwhile, are not in it. Where the
/// system does not tell, the time that has passed.
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
