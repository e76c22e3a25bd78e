//! The way from the GPU to the host.
//!
//! In: buffers. Out: their bytes, or what went wrong since the last read: a failed device, an index out of range.
//! Several buffers travel in one submission; many and large ones in several loads, so that staging memory stays small.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use futures::channel::oneshot;

use super::Gpu;
use super::faults::Faults;
use super::pool::Buffer;
use super::staging::Landed;
use super::timeline::Ticket;
use crate::core::error::Error;
use crate::core::sync::lock;

/// The most that travels at a time.
const LOAD: u64 = 64 << 20;

/// Where to send what arrives. Emptied when nothing will, and then the receiver is told so.
pub(super) type Addressee = Arc<Mutex<Option<oneshot::Sender<Landed>>>>;

/// A stretch of one buffer.
pub(super) struct Piece {
    /// Which of the buffers asked for.
    of: usize,
    from: u64,
    bytes: u64,
}

impl Piece {
    /// Copies are made in whole words.
    fn padded(&self) -> u64 {
        self.bytes.next_multiple_of(4)
    }
}

pub(super) struct Transfer {
    pub ticket: Ticket,
    pub addressee: Addressee,
    pub landed: oneshot::Receiver<Landed>,
}

impl Gpu {
    /// The first `bytes` of the buffer, as they are after all runs so far. Wakes its task; blocks no executor.
    pub async fn read(&self, buffer: &Buffer, bytes: u64) -> Result<Vec<u8>, Error> {
        let mut all = self.read_many(&[(buffer, bytes)]).await?;
        Ok(all.swap_remove(0))
    }

    /// The first bytes of each buffer.
    pub async fn read_many(&self, buffers: &[(&Buffer, u64)]) -> Result<Vec<Vec<u8>>, Error> {
        let mut arrived = self.expect(buffers)?;
        for load in loads(buffers) {
            let transfer = self.send(&load, buffers)?;
            self.poller.wake_when_done(&self.timeline, transfer.ticket, transfer.addressee);
            let landed = transfer.landed.await;
            self.unpack(landed, &load, &mut arrived)?;
        }
        self.faults.check(buffers.iter().map(|(buffer, _)| *buffer))?;
        Ok(arrived)
    }

    /// As `read`, and blocks the thread until the bytes are there.
    pub fn read_blocking(&self, buffer: &Buffer, bytes: u64) -> Result<Vec<u8>, Error> {
        let mut all = self.read_many_blocking(&[(buffer, bytes)])?;
        Ok(all.swap_remove(0))
    }

    /// As `read_many`, and blocks the thread until the bytes are there.
    pub fn read_many_blocking(&self, buffers: &[(&Buffer, u64)]) -> Result<Vec<Vec<u8>>, Error> {
        let arrived = self.peek(buffers)?;
        self.faults.check(buffers.iter().map(|(buffer, _)| *buffer))?;
        Ok(arrived)
    }

    /// The first bytes of each buffer, whatever was wrong on the way to them: a user's read will tell.
    pub fn peek(&self, buffers: &[(&Buffer, u64)]) -> Result<Vec<Vec<u8>>, Error> {
        let mut arrived = self.expect(buffers)?;
        for load in loads(buffers) {
            self.carry(&load, buffers, &mut arrived)?;
        }
        Ok(arrived)
    }

    /// Waits for the error words of all runs so far. What they say comes out of reads.
    pub(super) fn settle(&self) -> Result<(), Error> {
        self.carry(&[], &[], &mut [])
    }

    /// One load, waited for.
    fn carry(
        &self,
        load: &[Piece],
        buffers: &[(&Buffer, u64)],
        arrived: &mut [Vec<u8>],
    ) -> Result<(), Error> {
        let transfer = self.send(load, buffers)?;
        self.timeline.wait(transfer.ticket)?;
        // Another thread's poll may be the one that is just calling the callback.
        let landed = pollster::block_on(transfer.landed);
        self.unpack(landed, load, arrived)
    }

    /// Room for what will arrive.
    fn expect(&self, buffers: &[(&Buffer, u64)]) -> Result<Vec<Vec<u8>>, Error> {
        self.health.check()?;
        self.reads.fetch_add(1, Ordering::Relaxed);
        let sizes = buffers.iter().map(|(_, bytes)| *bytes as usize);
        Ok(sizes.map(Vec::with_capacity).collect())
    }

    /// Submits the copy of one load to a staging buffer.
    pub(super) fn send(&self, load: &[Piece], buffers: &[(&Buffer, u64)]) -> Result<Transfer, Error> {
        let bytes: u64 = load.iter().map(Piece::padded).sum();
        // No run may come between the question which words are open and the submission that carries them.
        let recorder = lock(&self.recorder);
        let runs = self.faults.open();
        let staging = self.staging.take(bytes + Faults::BYTES * runs.len() as u64)?;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut to = 0;
        for piece in load {
            let source = buffers[piece.of].0.raw();
            encoder.copy_buffer_to_buffer(source, piece.from, &staging, to, piece.padded());
            to += piece.padded();
        }
        self.faults.record(&runs, &mut encoder, &staging, bytes);
        let landed = Landed { staging: Arc::clone(&self.staging), buffer: staging.clone(), bytes, runs };
        let (sender, receiver) = oneshot::channel();
        let addressee = Addressee::new(Mutex::new(Some(sender)));
        let callback = {
            let addressee = Arc::clone(&addressee);
            move |mapped: Result<(), wgpu::BufferAsyncError>| {
                let sender = lock(&addressee).take();
                if let (Ok(()), Some(sender)) = (mapped, sender) {
                    // If nobody waits any more, `landed` is dropped, and does what is left to do.
                    let _ = sender.send(landed);
                }
            }
        };
        // With the submission, and not after it: another thread may wait for the submission in between, and after it
        // nobody would poll for this callback.
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., callback);
        let ticket = self.timeline.submit(Some(encoder.finish()));
        drop(recorder);
        Ok(Transfer { ticket, addressee, landed: receiver })
    }

    /// Appends what arrived to the buffers that it is of.
    pub(super) fn unpack(
        &self,
        landed: Result<Landed, oneshot::Canceled>,
        load: &[Piece],
        arrived: &mut [Vec<u8>],
    ) -> Result<(), Error> {
        let Ok(landed) = landed else {
            // Nothing arrives from a failed device only, and that has been reported; if not, this is the report.
            let silence = Error::Driver("a read was given up without a reason".into());
            return Err(self.health.fail(silence));
        };
        let view = landed.view()?;
        let mut at = 0;
        for piece in load {
            arrived[piece.of].extend_from_slice(&view[at..][..piece.bytes as usize]);
            at += piece.padded() as usize;
        }
        Ok(())
    }
}

/// Cuts what is asked for into loads. There is always one, since the error word travels even if nothing else does.
pub(super) fn loads(buffers: &[(&Buffer, u64)]) -> Vec<Vec<Piece>> {
    let mut loads = vec![Vec::new()];
    let mut room = LOAD;
    for (of, &(_, bytes)) in buffers.iter().enumerate() {
        let mut from = 0;
        while from < bytes {
            if room == 0 {
                loads.push(Vec::new());
                room = LOAD;
            }
            let piece = Piece { of, from, bytes: room.min(bytes - from) };
            from += piece.bytes;
            room -= piece.padded();
            loads.last_mut().expect("one at least").push(piece);
        }
    }
    loads
}
