//! Buffers that the host can read, on the way of data from the GPU.
//!
//! In: how many bytes travel. Out: a staging buffer, kept for the next read when it is no larger than usual. Must not know
//! which tensors' bytes are in it.

use std::sync::{Arc, Mutex};

use super::faults::{Faults, Run};
use super::pool::create_buffer;
use crate::core::error::Error;
use crate::core::sync::lock;

/// Idle staging buffers kept: one for each read under way at a time, usually.
const KEPT: usize = 8;
/// Larger ones are given back to the driver at once.
const LARGEST_KEPT: u64 = 16 << 20;
const SMALLEST: u64 = 4 << 10;

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
        // A power of two, so that reads of about the same size share one.
        let size = bytes.next_power_of_two().max(SMALLEST);
        let mut idle = lock(&self.idle);
        if let Some(position) = idle.iter().position(|buffer| buffer.size() == size) {
            return Ok(idle.swap_remove(position));
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        create_buffer(&self.device, "staging", size, usage)
    }

    fn put_back(&self, buffer: wgpu::Buffer) {
        let mut idle = lock(&self.idle);
        if idle.len() < KEPT && buffer.size() <= LARGEST_KEPT {
            idle.push(buffer);
        }
    }
}

/// Bytes that arrived. However this ends, read or dropped with a future that nobody awaits, the error words that came
/// along are taken note of, and the buffer goes back.
pub(super) struct Landed {
    pub staging: Arc<Staging>,
    pub buffer: wgpu::Buffer,
    /// Bytes of data, a multiple of 4.
    pub bytes: u64,
    /// The runs whose error words came along, behind the data.
    pub runs: Vec<Run>,
}

impl Landed {
    pub fn view(&self) -> Result<wgpu::BufferView, Error> {
        let all = self.bytes + Faults::BYTES * self.runs.len() as u64;
        let view = self.buffer.get_mapped_range(..all);
        view.map_err(|error| Error::Driver(error.to_string()))
    }
}

impl Drop for Landed {
    fn drop(&mut self) {
        if let Ok(view) = self.view() {
            let words = view[self.bytes as usize..].as_chunks().0;
            for (&run, &word) in self.runs.iter().zip(words) {
                self.staging.faults.arrive(run, u32::from_le_bytes(word));
            }
        }
        self.buffer.unmap();
        self.staging.put_back(self.buffer.clone());
    }
}
