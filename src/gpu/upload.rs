//! Uploads: bytes of the host to the GPU.
//!
//! In: bytes. Out: a buffer that has them in every later run. wgpu copies writes to staging memory of its own, which it
//! frees after the next submission. So a large upload is written in pieces, and submitted after a number of them.

use super::Gpu;
use super::pool::GpuBuffer;
use super::timeline::Ticket;
use crate::core::error::Error;
use crate::core::sync::lock;

/// wgpu loses the device if the staging memory of a write does not fit, so writes are small.
const MAX_WRITE_BYTES: usize = 32 << 20;
/// Writes are submitted after this many bytes. At most twice as many are in flight at a time.
const SUBMIT_AFTER_BYTES: u64 = 128 << 20;

#[derive(Default)]
pub(super) struct Uploads {
    pub count: u64,
    /// Bytes that were written but not submitted.
    pending: u64,
    /// The last submission of writes.
    submitted: Option<Ticket>,
}

impl Gpu {
    /// A buffer with these bytes. The rest of the buffer is undefined.
    pub fn upload(&self, data: &[u8]) -> Result<GpuBuffer, Error> {
        let buffer = self.allocate(data.len() as u64)?;
        for (piece, offset) in data.chunks(MAX_WRITE_BYTES).zip((0..).step_by(MAX_WRITE_BYTES)) {
            self.write(&buffer, offset, piece)?;
        }
        lock(&self.uploads).count += 1;
        Ok(buffer)
    }

    fn write(&self, buffer: &GpuBuffer, offset: u64, piece: &[u8]) -> Result<(), Error> {
        let queue = self.timeline.queue();
        // wgpu writes multiples of 4 bytes. Buffers have room for the last, partial word: sizes are multiples of 16.
        let (words, rest) = piece.split_at(piece.len() / 4 * 4);
        queue.write_buffer(buffer.raw(), offset, words);
        if !rest.is_empty() {
            let mut word = [0; 4];
            word[..rest.len()].copy_from_slice(rest);
            queue.write_buffer(buffer.raw(), offset + words.len() as u64, &word);
        }
        self.submit_pending_writes(piece.len() as u64)
    }

    fn submit_pending_writes(&self, bytes: u64) -> Result<(), Error> {
        let previous = {
            let mut uploads = lock(&self.uploads);
            uploads.pending += bytes;
            if uploads.pending < SUBMIT_AFTER_BYTES {
                return Ok(());
            }
            uploads.pending = 0;
            uploads.submitted.replace(self.timeline.submit(None))
        };
        previous.map_or(Ok(()), |ticket| self.timeline.wait(ticket))
    }
}
