//! Indices out of range, which only the GPU sees.
//!
//! In: an operation and the line that called it; out: a number, its site, which the operation's kernel is given as a uniform.
//! A kernel that meets a bad index does `atomicMin(&fault, site)` on the error word. In: the error word, carried along by a
//! read; out: the error, once. Must not know which kernels index.

use std::panic::Location;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rustc_hash::FxHashMap;

use super::lock;
use crate::error::Error;

/// The error word while nothing is wrong.
const FINE: u32 = u32::MAX;

type Site = (&'static str, &'static Location<'static>);

pub(super) struct Faults {
    word: wgpu::Buffer,
    fine: wgpu::Buffer,
    /// Whether a kernel that may set the word was submitted since a read last took it.
    pending: AtomicBool,
    sites: Mutex<Sites>,
    reported: Mutex<Option<Site>>,
}

#[derive(Default)]
struct Sites {
    numbers: FxHashMap<Site, u32>,
    sites: Vec<Site>,
}

impl Faults {
    /// The bytes of the error word.
    pub const BYTES: u64 = 4;
    /// The error word's id among the buffers of bind groups; the pool's ids start at 1.
    pub const ID: u64 = 0;

    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Faults {
        use wgpu::BufferUsages as Usage;
        let word = |label, usage| {
            let word = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: Self::BYTES,
                usage: usage | Usage::COPY_SRC | Usage::COPY_DST,
                mapped_at_creation: false,
            });
            queue.write_buffer(&word, 0, &FINE.to_le_bytes());
            word
        };
        Faults {
            word: word("error word", Usage::STORAGE),
            fine: word("no error", Usage::empty()),
            pending: AtomicBool::new(false),
            sites: Mutex::default(),
            reported: Mutex::default(),
        }
    }

    /// The site of an operation called at a line: one number a pair, so that the table grows with the program's text only.
    pub fn site(&self, op: &'static str, at: &'static Location<'static>) -> u32 {
        let Sites { numbers, sites } = &mut *lock(&self.sites);
        *numbers.entry((op, at)).or_insert_with(|| {
            sites.push((op, at));
            sites.len() as u32 - 1
        })
    }

    /// The error word, for a kernel that may set it.
    pub fn bind(&self) -> &wgpu::Buffer {
        self.pending.store(true, Ordering::Relaxed);
        &self.word
    }

    /// Whether the error word may have been set since it was last taken. Submits must be locked out until then.
    pub fn take_pending(&self) -> bool {
        self.pending.swap(false, Ordering::Relaxed)
    }

    /// Records that the error word is copied to `target` and made fine again, so that each fault comes out of one read.
    pub fn record_take(&self, encoder: &mut wgpu::CommandEncoder, target: &wgpu::Buffer, at: u64) {
        encoder.copy_buffer_to_buffer(&self.word, 0, target, at, Self::BYTES);
        encoder.copy_buffer_to_buffer(&self.fine, 0, &self.word, 0, Self::BYTES);
    }

    /// Takes note of an error word that arrived.
    pub fn report(&self, word: [u8; Self::BYTES as usize]) {
        let number = u32::from_le_bytes(word) as usize;
        if let Some(&site) = lock(&self.sites).sites.get(number) {
            lock(&self.reported).get_or_insert(site);
        }
    }

    /// The fault that arrived and was not yet handed out.
    pub fn check(&self) -> Result<(), Error> {
        match lock(&self.reported).take() {
            Some((op, at)) => Err(Error::Index { op, at }),
            None => Ok(()),
        }
    }
}
