//! Reads: transfers from GPU buffers to the host.
//!
//! In: buffers. Out: the buffers' bytes, or an error: a failed device, or an index out of range in an earlier run. One
//! submission copies several buffers. A read is split into chunks to bound the staging memory.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use futures::channel::oneshot;

use super::Gpu;
use super::faults::Faults;
use super::pool::GpuBuffer;
use super::staging::Mapped;
use super::timeline::Ticket;
use crate::core::error::Error;
use crate::core::sync::lock;

/// Maximum size of a chunk in bytes, which bounds the staging memory of a read.
const CHUNK_BYTES: u64 = 64 << 20;

/// The sender for the mapped buffer. Dropping the sender without sending cancels the receiver.
pub(super) type Completion = Arc<Mutex<Option<oneshot::Sender<Mapped>>>>;

/// A range of one buffer.
pub(super) struct Piece {
    /// Index of the buffer in the read request.
    buffer: usize,
    offset: u64,
    bytes: u64,
}

impl Piece {
    /// Returns the size of the copy in bytes, which must be a multiple of 4.
    fn padded_bytes(&self) -> u64 {
        self.bytes.next_multiple_of(4)
    }
}

/// A submitted copy of one chunk.
pub(super) struct Transfer {
    pub ticket: Ticket,
    pub completion: Completion,
    pub mapped: oneshot::Receiver<Mapped>,
}

impl Gpu {
    /// Reads the first `bytes` bytes of the buffer, after all runs so far. Does not block the async executor.
    pub async fn read(&self, buffer: &GpuBuffer, bytes: u64) -> Result<Vec<u8>, Error> {
        let mut all = self.read_many(&[(buffer, bytes)]).await?;
        Ok(all.swap_remove(0))
    }

    /// Reads the first bytes of each buffer. Does not block the async executor.
    pub async fn read_many(&self, buffers: &[(&GpuBuffer, u64)]) -> Result<Vec<Vec<u8>>, Error> {
        let mut data = self.start_read(buffers)?;
        for chunk in chunks(buffers) {
            let transfer = self.submit_copy(&chunk, buffers)?;
            self.poller.wake_when_done(&self.timeline, transfer.ticket, transfer.completion);
            let mapped = transfer.mapped.await;
            self.unpack(mapped, &chunk, &mut data)?;
        }
        self.faults.check(buffers.iter().map(|(buffer, _)| *buffer))?;
        Ok(data)
    }

    /// Reads the first `bytes` bytes of the buffer, and blocks the thread until the read is complete.
    pub fn read_blocking(&self, buffer: &GpuBuffer, bytes: u64) -> Result<Vec<u8>, Error> {
        let mut all = self.read_many_blocking(&[(buffer, bytes)])?;
        Ok(all.swap_remove(0))
    }

    /// Reads the first bytes of each buffer, and blocks the thread until the read is complete.
    pub fn read_many_blocking(&self, buffers: &[(&GpuBuffer, u64)]) -> Result<Vec<Vec<u8>>, Error> {
        let data = self.peek(buffers)?;
        self.faults.check(buffers.iter().map(|(buffer, _)| *buffer))?;
        Ok(data)
    }

    /// Reads the first bytes of each buffer without reporting index faults, which a later user's read reports.
    pub fn peek(&self, buffers: &[(&GpuBuffer, u64)]) -> Result<Vec<Vec<u8>>, Error> {
        let mut data = self.start_read(buffers)?;
        for chunk in chunks(buffers) {
            self.transfer_blocking(&chunk, buffers, &mut data)?;
        }
        Ok(data)
    }

    /// Waits until the fault flags of all runs so far have been read. Later reads report the faults.
    pub(super) fn settle(&self) -> Result<(), Error> {
        self.transfer_blocking(&[], &[], &mut [])
    }

    /// Reads one chunk, and blocks until its transfer is complete.
    fn transfer_blocking(
        &self,
        chunk: &[Piece],
        buffers: &[(&GpuBuffer, u64)],
        data: &mut [Vec<u8>],
    ) -> Result<(), Error> {
        let transfer = self.submit_copy(chunk, buffers)?;
        self.timeline.wait(transfer.ticket)?;
        // The callback may be running on another thread that polls.
        let mapped = pollster::block_on(transfer.mapped);
        self.unpack(mapped, chunk, data)
    }

    /// Counts a read, and allocates a vector for the bytes of each buffer.
    fn start_read(&self, buffers: &[(&GpuBuffer, u64)]) -> Result<Vec<Vec<u8>>, Error> {
        self.health.check()?;
        self.reads.fetch_add(1, Ordering::Relaxed);
        let sizes = buffers.iter().map(|(_, bytes)| *bytes as usize);
        Ok(sizes.map(Vec::with_capacity).collect())
    }

    /// Submits the copy of one chunk to a staging buffer.
    pub(super) fn submit_copy(
        &self,
        chunk: &[Piece],
        buffers: &[(&GpuBuffer, u64)],
    ) -> Result<Transfer, Error> {
        let bytes: u64 = chunk.iter().map(Piece::padded_bytes).sum();
        // The lock prevents submissions of other runs between listing the runs in flight and submitting the copy of
        // their fault flags.
        let recorder = lock(&self.recorder);
        let runs = self.faults.in_flight();
        let staging = self.staging.take(bytes + Faults::BYTES * runs.len() as u64)?;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut to = 0;
        for piece in chunk {
            let source = buffers[piece.buffer].0.raw();
            encoder.copy_buffer_to_buffer(source, piece.offset, &staging, to, piece.padded_bytes());
            to += piece.padded_bytes();
        }
        self.faults.record(&runs, &mut encoder, &staging, bytes);
        let mapped = Mapped { staging: Arc::clone(&self.staging), buffer: staging.clone(), bytes, runs };
        let (sender, receiver) = oneshot::channel();
        let completion = Completion::new(Mutex::new(Some(sender)));
        let callback = {
            let completion = Arc::clone(&completion);
            move |result: Result<(), wgpu::BufferAsyncError>| {
                let sender = lock(&completion).take();
                if let (Ok(()), Some(sender)) = (result, sender) {
                    // If the receiver has been dropped, `mapped` is dropped, which processes the fault flags and
                    // returns the buffer.
                    let _ = sender.send(mapped);
                }
            }
        };
        // The mapping is part of the submission. If the mapping were requested afterwards, another thread could wait
        // for the submission in between, and no thread would poll for this callback.
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., callback);
        let ticket = self.timeline.submit(Some(encoder.finish()));
        drop(recorder);
        Ok(Transfer { ticket, completion, mapped: receiver })
    }

    /// Appends the bytes of a chunk to the vectors of their buffers.
    pub(super) fn unpack(
        &self,
        mapped: Result<Mapped, oneshot::Canceled>,
        chunk: &[Piece],
        data: &mut [Vec<u8>],
    ) -> Result<(), Error> {
        let Ok(mapped) = mapped else {
            // A read is cancelled only if the device has failed, so `fail` returns the earlier error.
            let cancelled = Error::Driver("a read was cancelled".into());
            return Err(self.health.fail(cancelled));
        };
        let view = mapped.view()?;
        let mut at = 0;
        for piece in chunk {
            data[piece.buffer].extend_from_slice(&view[at..][..piece.bytes as usize]);
            at += piece.padded_bytes() as usize;
        }
        Ok(())
    }
}

/// Splits a read into chunks. There is always at least one chunk, because a chunk's transfer also copies the fault
/// flags.
pub(super) fn chunks(buffers: &[(&GpuBuffer, u64)]) -> Vec<Vec<Piece>> {
    let mut chunks = vec![Vec::new()];
    let mut room = CHUNK_BYTES;
    for (buffer, &(_, bytes)) in buffers.iter().enumerate() {
        let mut offset = 0;
        while offset < bytes {
            if room == 0 {
                chunks.push(Vec::new());
                room = CHUNK_BYTES;
            }
            let piece = Piece { buffer, offset, bytes: room.min(bytes - offset) };
            offset += piece.bytes;
            room -= piece.padded_bytes();
            chunks.last_mut().expect("at least one chunk").push(piece);
        }
    }
    chunks
}
