//! The buffer pool: reuses buffers by size class.
//!
//! In: a number of bytes. Out: a whole wgpu buffer of at least this size, with undefined contents. Dropping the buffer
//! returns it to the pool. A buffer may be allocated again while the GPU still uses it, because the queue executes in
//! order. The pool does not depend on what its buffers are used for.
//!
//! An allocation takes the idle buffer of its class that was created first. So the buffers of a training step depend
//! only on which buffers are idle when it starts, not on the order in which the previous step dropped its buffers. A
//! repeated step gets the same buffers, so its bind groups are in the cache.
//!
//! The recent peak of live memory bounds idle memory. While idle memory exceeds it, requests may also reuse buffers of
//! larger classes (below twice the class size), and buffers that have been idle for long are released to the driver.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use super::faults::FaultDeps;
use crate::core::error::Error;
use crate::core::limits::Limits;
use crate::core::sync::lock;

/// Number of allocations between two sweeps, which release long-idle buffers.
const ALLOCATIONS_PER_SWEEP: u64 = 1_024;
/// Maximum number of allocations during which a buffer stays idle before a sweep releases it: several training steps of
/// any model.
const MAX_IDLE_ALLOCATIONS: u64 = 16 * ALLOCATIONS_PER_SWEEP;

/// A whole GPU buffer. Dropping the buffer returns it to the pool.
pub struct GpuBuffer {
    id: u64,
    requested: u64,
    raw: wgpu::Buffer,
    free_list: Weak<Mutex<FreeList>>,
    /// The indexing runs on which the buffer's contents depend.
    pub(super) fault_deps: Mutex<FaultDeps>,
}

impl GpuBuffer {
    /// Returns the id of the wgpu buffer, which stays the same when the pool reuses the buffer.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the size of the buffer in bytes: at least the requested size, and a multiple of 16.
    pub fn bytes(&self) -> u64 {
        self.raw.size()
    }

    /// Returns the requested size in bytes.
    pub fn requested(&self) -> u64 {
        self.requested
    }

    pub(super) fn raw(&self) -> &wgpu::Buffer {
        &self.raw
    }
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        if let Some(free_list) = self.free_list.upgrade() {
            lock(&free_list).put_back(self.id, self.raw.clone(), self.requested);
        }
    }
}

impl std::fmt::Debug for GpuBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GpuBuffer {} of {} bytes", self.id, self.bytes())
    }
}

pub(super) struct Pool {
    device: wgpu::Device,
    /// The name and the value of the adapter limit that bounds the size of a tensor.
    limit: (&'static str, u64),
    free_list: Arc<Mutex<FreeList>>,
}

/// The idle buffers, and the statistics of the pool.
#[derive(Default)]
struct FreeList {
    /// The idle buffers, ordered by class, then by id (order of creation).
    idle: BTreeMap<(u64, u64), Idle>,
    /// Ids of released buffers whose bind groups are still cached.
    retired: Vec<u64>,
    allocations: u64,
    usage: Usage,
    recent_peak: u64,
}

struct Idle {
    raw: wgpu::Buffer,
    /// The allocation count at the time when the buffer became idle.
    since: u64,
}

/// Memory statistics of the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub created: u64,
    pub live_bytes: u64,
    pub idle_bytes: u64,
    pub peak_bytes: u64,
    /// The requested sizes of the live buffers, before rounding up to size classes.
    pub requested_bytes: u64,
    pub requested_peak: u64,
}

impl Pool {
    pub fn new(device: wgpu::Device, limits: &Limits) -> Pool {
        let limit = if limits.binding_bytes <= limits.buffer_bytes {
            ("max_storage_buffer_binding_size", limits.binding_bytes)
        } else {
            ("max_buffer_size", limits.buffer_bytes)
        };
        Pool { device, limit, free_list: Arc::default() }
    }

    pub fn usage(&self) -> Usage {
        lock(&self.free_list).usage
    }

    /// Takes an idle buffer for this many bytes, if there is one.
    pub fn reuse(&self, bytes: u64) -> Result<Option<GpuBuffer>, Error> {
        let class = self.class(bytes)?;
        let found = lock(&self.free_list).take(class, bytes);
        Ok(found.map(|(id, raw)| self.wrap(id, raw, bytes)))
    }

    /// Creates a buffer for this many bytes.
    pub fn create(&self, bytes: u64) -> Result<GpuBuffer, Error> {
        use wgpu::BufferUsages as Usage;
        let class = self.class(bytes)?;
        let usage = Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST;
        let raw = create_buffer(&self.device, "tensor", class, usage)?;
        let mut free_list = lock(&self.free_list);
        free_list.usage.created += 1;
        free_list.allocate(class, bytes);
        let id = free_list.usage.created;
        Ok(self.wrap(id, raw, bytes))
    }

    /// Releases every idle buffer to the driver.
    pub fn clear(&self) {
        lock(&self.free_list).retire(|_, _| true);
    }

    /// Returns the ids of the buffers that were released since the last call.
    pub fn take_retired(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.free_list).retired)
    }

    fn wrap(&self, id: u64, raw: wgpu::Buffer, requested: u64) -> GpuBuffer {
        let free_list = Arc::downgrade(&self.free_list);
        GpuBuffer { id, requested, raw, free_list, fault_deps: Mutex::default() }
    }

    fn class(&self, bytes: u64) -> Result<u64, Error> {
        let (limit, allowed) = self.limit;
        // The largest class is the limit, rounded down to a multiple of 16.
        let largest = allowed / 16 * 16;
        if bytes > largest {
            return Err(Error::TooLarge { bytes, limit, allowed });
        }
        Ok(size_class(bytes).min(largest))
    }
}

/// Rounds a requested size up to a size class. There are four classes per power of two: 256, 320, 384, 448, 512, 640
/// and so on.
fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let octave = 1 << bytes.ilog2();
    bytes.next_multiple_of(octave / 4)
}

impl FreeList {
    fn take(&mut self, class: u64, requested: u64) -> Option<(u64, wgpu::Buffer)> {
        self.allocations += 1;
        if self.allocations.is_multiple_of(ALLOCATIONS_PER_SWEEP) {
            self.sweep();
        }
        let class_end = if self.usage.idle_bytes > self.recent_peak { 2 * class } else { class + 1 };
        let (&(class, id), _) = self.idle.range((class, 0)..(class_end, 0)).next()?;
        let Idle { raw, .. } = self.idle.remove(&(class, id))?;
        self.usage.idle_bytes -= class;
        self.allocate(class, requested);
        Some((id, raw))
    }

    fn allocate(&mut self, class: u64, requested: u64) {
        self.usage.live_bytes += class;
        self.usage.requested_bytes += requested;
        self.usage.requested_peak = self.usage.requested_peak.max(self.usage.requested_bytes);
        self.recent_peak = self.recent_peak.max(self.usage.live_bytes);
        self.usage.peak_bytes = self.usage.peak_bytes.max(self.usage.live_bytes);
    }

    fn put_back(&mut self, id: u64, raw: wgpu::Buffer, requested: u64) {
        let class = raw.size();
        let since = self.allocations;
        self.usage.live_bytes -= class;
        self.usage.requested_bytes -= requested;
        self.usage.idle_bytes += class;
        self.idle.insert((class, id), Idle { raw, since });
    }

    fn sweep(&mut self) {
        if self.usage.idle_bytes > self.recent_peak {
            let now = self.allocations;
            self.retire(|_, idle| now - idle.since > MAX_IDLE_ALLOCATIONS);
        }
        // The recorded peak decays, so that it adapts after a phase with higher memory use has ended.
        self.recent_peak = self.usage.live_bytes.max(self.recent_peak / 16 * 15);
    }

    fn retire(&mut self, mut condition: impl FnMut(u64, &Idle) -> bool) {
        let gone = self.idle.extract_if(.., |&(_, id), idle| condition(id, idle));
        for ((class, id), _) in gone {
            self.usage.idle_bytes -= class;
            self.retired.push(id);
        }
    }
}

/// Creates a buffer, or returns `OutOfMemory`.
pub(super) fn create_buffer(
    device: &wgpu::Device,
    label: &str,
    size: u64,
    usage: wgpu::BufferUsages,
) -> Result<wgpu::Buffer, Error> {
    let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size,
        usage,
        mapped_at_creation: false,
    });
    match pollster::block_on(scope.pop()) {
        None => Ok(buffer),
        Some(_) => Err(Error::OutOfMemory { bytes: size }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_four_classes_per_power_of_two() {
        assert_eq!(size_class(0), 256);
        assert_eq!(size_class(256), 256);
        assert_eq!(size_class(257), 320);
        assert_eq!(size_class(449), 512);
        assert_eq!(size_class(512), 512);
        assert_eq!(size_class(513), 640);
        for bytes in (1..100_000).step_by(7) {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(16) && size_class(class) == class);
            assert!(bytes < 256 || 4 * class <= 5 * bytes + 16);
        }
    }
}
