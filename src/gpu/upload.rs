//! Uploads: transfers from the host to GPU buffers.
//!
//! In: bytes. Out: a buffer that contains the bytes in every later run. wgpu copies each write to internal staging
//! memory, which is freed after the next submission. So a large upload is written in pieces, with a submission after
//! every `SUBMIT_AFTER_BYTES` bytes.

use super::Gpu;
use super::pool::GpuBuffer;
use super::timeline::Ticket;
use crate::core::error::Error;
use crate::core::sync::lock;

/// Maximum size of a write in bytes. Writes are small because wgpu loses the device if it cannot allocate a write's
/// staging memory.
const MAX_WRITE_BYTES: usize = 32 << 20;
/// Number of written bytes after which writes are submitted. At most twice this number of bytes is in flight.
const SUBMIT_AFTER_BYTES: u64 = 128 << 20;

#[derive(Default)]
pub(super) struct Uploads {
    pub count: u64,
    /// Number of bytes that were written but not yet submitted.
    pending: u64,
    /// The latest submission of writes.
    submitted: Option<Ticket>,
}

impl Gpu {
    /// Creates a buffer that starts with these bytes. The rest of the buffer is undefined.
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
        // wgpu writes multiples of 4 bytes. A buffer's size is a multiple of 16, so the padded last word fits.
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
