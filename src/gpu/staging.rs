//! Staging buffers: memory that the GPU writes and the host maps.
//!
//! In: a number of bytes. Out: a staging buffer. Small staging buffers are kept for later reads. Independent of
//! tensors.

use std::sync::{Arc, Mutex};

use super::faults::{Faults, Run};
use super::pool::create_buffer;
use crate::core::error::Error;
use crate::core::sync::lock;

/// Maximum number of idle staging buffers. Each read in flight needs one buffer.
const MAX_IDLE: usize = 8;
/// Maximum size of an idle staging buffer in bytes. Larger buffers are released to the driver immediately after use.
const MAX_IDLE_BYTES: u64 = 16 << 20;
/// Minimum size of a staging buffer in bytes: one page. Smaller reads share buffers of this size.
const MIN_BYTES: u64 = 4 << 10;

pub(super) struct Staging {
    device: wgpu::Device,
    faults: Arc<Faults>,
    idle: Mutex<Vec<wgpu::Buffer>>,
}

impl Staging {
    pub fn new(device: wgpu::Device, faults: Arc<Faults>) -> Staging {
        Staging { device, faults, idle: Mutex::default() }
    }

    pub fn take(&self, bytes: u64) -> Result<wgpu::Buffer, Error> {
        // A power of two, so that reads of similar sizes share buffers.
        let size = bytes.next_power_of_two().max(MIN_BYTES);
        let mut idle = lock(&self.idle);
        if let Some(position) = idle.iter().position(|buffer| buffer.size() == size) {
            return Ok(idle.swap_remove(position));
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        create_buffer(&self.device, "staging", size, usage)
    }

    fn put_back(&self, buffer: wgpu::Buffer) {
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE && buffer.size() <= MAX_IDLE_BYTES {
            idle.push(buffer);
        }
    }
}

/// A mapped staging buffer with the bytes of a read and the fault flags copied in the same submission. Dropping it,
/// even without reading it, processes the fault flags and returns the buffer.
pub(super) struct Mapped {
    pub staging: Arc<Staging>,
    pub buffer: wgpu::Buffer,
    /// The size of the data, a multiple of 4.
    pub bytes: u64,
    /// The runs whose fault flags follow the data.
    pub runs: Vec<Run>,
}

impl Mapped {
    pub fn view(&self) -> Result<wgpu::BufferView, Error> {
        let all = self.bytes + Faults::BYTES * self.runs.len() as u64;
        let view = self.buffer.get_mapped_range(..all);
        view.map_err(|error| Error::Driver(error.to_string()))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Ok(view) = self.view() {
            let words = view[self.bytes as usize..].as_chunks().0;
            for (&run, &word) in self.runs.iter().zip(words) {
                self.staging.faults.handle_word(run, u32::from_le_bytes(word));
            }
        }
        self.buffer.unmap();
        self.staging.put_back(self.buffer.clone());
    }
}
