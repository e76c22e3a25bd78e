//! The way from the host to the GPU.
//!
//! In: bytes. Out: a buffer that holds them for every run after. wgpu copies what is written to memory of its own, which is
//! free again when the next submission is done: so large uploads go in pieces, and are sent on their way now and then.

use super::Gpu;
use super::pool::Buffer;
use super::timeline::Ticket;
use crate::core::error::Error;
use crate::core::sync::lock;

/// wgpu loses the device when it finds no memory for a piece, so none is larger than this.
const PIECE: usize = 32 << 20;
/// Bytes on their way before they are submitted; at most twice as many are under way at a time.
const FLUSH: u64 = 128 << 20;

#[derive(Default)]
pub(super) struct Uploads {
    pub count: u64,
    pending: u64,
    flushed: Option<Ticket>,
}

impl Gpu {
    /// A buffer with these bytes. What it has room for beyond them is undefined.
    pub fn upload(&self, data: &[u8]) -> Result<Buffer, Error> {
        let buffer = self.allocate(data.len() as u64)?;
        for (piece, place) in data.chunks(PIECE).zip((0..).step_by(PIECE)) {
            self.write(&buffer, place, piece)?;
        }
        lock(&self.uploads).count += 1;
        Ok(buffer)
    }

    fn write(&self, buffer: &Buffer, place: u64, piece: &[u8]) -> Result<(), Error> {
        let queue = self.timeline.queue();
        // wgpu writes whole words; a buffer has room for one more byte or three.
        let (words, rest) = piece.split_at(piece.len() / 4 * 4);
        queue.write_buffer(buffer.raw(), place, words);
        if !rest.is_empty() {
            let mut word = [0; 4];
            word[..rest.len()].copy_from_slice(rest);
            queue.write_buffer(buffer.raw(), place + words.len() as u64, &word);
        }
        self.flush_if_much_is_pending(piece.len() as u64)
    }

    fn flush_if_much_is_pending(&self, bytes: u64) -> Result<(), Error> {
        let before = {
            let mut uploads = lock(&self.uploads);
            uploads.pending += bytes;
            if uploads.pending < FLUSH {
                return Ok(());
            }
            uploads.pending = 0;
            uploads.flushed.replace(self.timeline.submit(None))
        };
        before.map_or(Ok(()), |ticket| self.timeline.wait(ticket))
    }
}
