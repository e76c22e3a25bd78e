//! Buffers, reused by size class.
//!
//! In: a number of bytes. Out: a whole wgpu buffer of at least that many, which comes back when it is dropped. Its
//! contents are whatever was in it before. Must not know what a buffer is used for; that the GPU may still be using one
//! that is handed out again is fine, because the queue does everything in order.
//!
//! Handed out is always the oldest idle buffer of the class. So what a step gets depends on which buffers are idle when it
//! starts, and not on the order in which the step before dropped them: a step that repeats itself gets the same
//! buffers again, and finds its bind groups.
//!
//! Idle memory is bounded by the recent peak of live memory: beyond it, a request may also be served from the classes up to
//! twice its size before anything is created, and a buffer that lay idle for long is given back to the driver.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use super::faults::Past;
use crate::core::error::Error;
use crate::core::limits::Limits;
use crate::core::sync::lock;

/// Every so many allocations the pool looks for memory to give back.
const SWEEP: u64 = 1_024;
/// A buffer is given back if it lay idle for this many allocations: several steps of any model.
const AGE: u64 = 16 * SWEEP;

/// A whole buffer on the GPU, of the pool; dropping it gives it back.
pub struct Buffer {
    id: u64,
    asked: u64,
    raw: wgpu::Buffer,
    shelf: Weak<Mutex<Shelf>>,
    /// The runs that index and that what is in it depends on.
    pub(super) past: Mutex<Past>,
}

impl Buffer {
    /// Unique for the buffer on the GPU: two `Buffer`s that follow each other in the same memory have the same.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What there is room for: at least what was asked for, and a multiple of 16.
    pub fn bytes(&self) -> u64 {
        self.raw.size()
    }

    /// The bytes that were asked for.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    pub(super) fn raw(&self) -> &wgpu::Buffer {
        &self.raw
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(shelf) = self.shelf.upgrade() {
            lock(&shelf).put_back(self.id, self.raw.clone(), self.asked);
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer {} of {} bytes", self.id, self.bytes())
    }
}

pub(super) struct Pool {
    device: wgpu::Device,
    /// The limit a tensor meets first, by name.
    limit: (&'static str, u64),
    shelf: Arc<Mutex<Shelf>>,
}

/// Where idle buffers lie.
#[derive(Default)]
struct Shelf {
    /// By class, then by age: ids grow.
    idle: BTreeMap<(u64, u64), Idle>,
    /// Ids of buffers given back to the driver, until the bind groups that hold them are gone too.
    retired: Vec<u64>,
    allocations: u64,
    usage: Usage,
    recent_peak: u64,
}

struct Idle {
    raw: wgpu::Buffer,
    /// The allocation count when it came back.
    since: u64,
}

/// What the pool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub created: u64,
    pub live_bytes: u64,
    pub idle_bytes: u64,
    pub peak_bytes: u64,
    /// Of the live bytes, those that were asked for; and the most that were at a time.
    pub asked_bytes: u64,
    pub asked_peak: u64,
}

impl Pool {
    pub fn new(device: wgpu::Device, limits: &Limits) -> Pool {
        let limit = if limits.binding_bytes <= limits.buffer_bytes {
            ("max_storage_buffer_binding_size", limits.binding_bytes)
        } else {
            ("max_buffer_size", limits.buffer_bytes)
        };
        Pool { device, limit, shelf: Arc::default() }
    }

    pub fn usage(&self) -> Usage {
        lock(&self.shelf).usage
    }

    /// An idle buffer for this many bytes, if there is one.
    pub fn reuse(&self, bytes: u64) -> Result<Option<Buffer>, Error> {
        let class = self.class(bytes)?;
        let found = lock(&self.shelf).take(class, bytes);
        Ok(found.map(|(id, raw)| self.hand_out(id, raw, bytes)))
    }

    /// A new buffer for this many bytes.
    pub fn create(&self, bytes: u64) -> Result<Buffer, Error> {
        use wgpu::BufferUsages as Usage;
        let class = self.class(bytes)?;
        let usage = Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST;
        let raw = create_buffer(&self.device, "tensor", class, usage)?;
        let mut shelf = lock(&self.shelf);
        shelf.usage.created += 1;
        shelf.lend(class, bytes);
        let id = shelf.usage.created;
        Ok(self.hand_out(id, raw, bytes))
    }

    /// Gives every idle buffer back to the driver.
    pub fn clear(&self) {
        lock(&self.shelf).retire(|_, _| true);
    }

    /// The ids of the buffers given back to the driver since the last call.
    pub fn take_retired(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.shelf).retired)
    }

    fn hand_out(&self, id: u64, raw: wgpu::Buffer, asked: u64) -> Buffer {
        let shelf = Arc::downgrade(&self.shelf);
        Buffer { id, asked, raw, shelf, past: Mutex::default() }
    }

    fn class(&self, bytes: u64) -> Result<u64, Error> {
        let (limit, allowed) = self.limit;
        // The class beside the limit is cut short, to the last multiple of 16.
        let largest = allowed / 16 * 16;
        if bytes > largest {
            return Err(Error::TooLarge { bytes, limit, allowed });
        }
        Ok(size_class(bytes).min(largest))
    }
}

/// The bytes a request is rounded up to: 256, 320, 384, 448, 512, 640 and so on, four classes an octave.
fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let octave = 1 << bytes.ilog2();
    bytes.next_multiple_of(octave / 4)
}

impl Shelf {
    fn take(&mut self, class: u64, asked: u64) -> Option<(u64, wgpu::Buffer)> {
        self.allocations += 1;
        if self.allocations.is_multiple_of(SWEEP) {
            self.sweep();
        }
        let widest = if self.usage.idle_bytes > self.recent_peak { 2 * class } else { class + 1 };
        let (&(class, id), _) = self.idle.range((class, 0)..(widest, 0)).next()?;
        let Idle { raw, .. } = self.idle.remove(&(class, id))?;
        self.usage.idle_bytes -= class;
        self.lend(class, asked);
        Some((id, raw))
    }

    fn lend(&mut self, class: u64, asked: u64) {
        self.usage.live_bytes += class;
        self.usage.asked_bytes += asked;
        self.usage.asked_peak = self.usage.asked_peak.max(self.usage.asked_bytes);
        self.recent_peak = self.recent_peak.max(self.usage.live_bytes);
        self.usage.peak_bytes = self.usage.peak_bytes.max(self.usage.live_bytes);
    }

    fn put_back(&mut self, id: u64, raw: wgpu::Buffer, asked: u64) {
        let class = raw.size();
        let since = self.allocations;
        self.usage.live_bytes -= class;
        self.usage.asked_bytes -= asked;
        self.usage.idle_bytes += class;
        self.idle.insert((class, id), Idle { raw, since });
    }

    fn sweep(&mut self) {
        if self.usage.idle_bytes > self.recent_peak {
            let now = self.allocations;
            self.retire(|_, idle| now - idle.since > AGE);
        }
        // The peak fades, so that a phase with more in memory is forgotten when it is over.
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

/// Creates a buffer, or says that there is no memory for it.
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
    fn classes_are_a_quarter_of_an_octave_apart() {
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
