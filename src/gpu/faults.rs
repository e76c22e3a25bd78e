//! Indices out of range, which only the GPU sees.
//!
//! In: an operation and the line that called it; out: a number, its site, which the operation's kernel is given as a
//! uniform. A kernel that meets a bad index does `atomicMin(&fault, site)` on the word of its run. In: words, carried
//! along by reads; out: the fault, to the first read that comes after it and to the first of a value that depends on
//! it. Must not know which kernels index.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Mutex;

use rustc_hash::FxHashMap;

use super::pool::Buffer;
use crate::core::error::Error;
use crate::core::sync::lock;

/// A word while nothing is wrong.
const FINE: u32 = u32::MAX;

/// Runs that index and may wait for a read at a time.
const WORDS: u64 = u128::BITS as u64;

type Site = (&'static str, &'static Location<'static>);

/// The number of a run that indexes: they are counted from 1 on.
pub(super) type Run = u64;

/// The words of the runs that index, and what became of them.
pub(super) struct Faults {
    words: wgpu::Buffer,
    /// Bytes from one word to the next: they are bound one at a time.
    stride: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    numbers: FxHashMap<Site, u32>,
    sites: Vec<Site>,
    /// The newest run.
    last: Run,
    /// Runs whose word has not arrived, oldest first: some of the `WORDS` newest.
    open: Vec<Run>,
    /// A bit for each word that a fault is still in.
    faulty: u128,
    /// Runs that met a fault which no read of what depends on them has told.
    faulted: VecDeque<(Run, Site)>,
    /// A fault that no read has told.
    news: Option<Site>,
}

/// Which runs the contents of a buffer depend on: `newest - i` where bit `i` is set. What lies further back has arrived.
#[derive(Clone, Copy, Default)]
pub(super) struct Past {
    newest: Run,
    runs: u128,
}

impl Past {
    pub fn of(run: Run) -> Past {
        Past { newest: run, runs: 1 }
    }

    pub fn join(self, other: Past) -> Past {
        let (early, late) = if self.newest < other.newest { (self, other) } else { (other, self) };
        let age = u32::try_from(late.newest - early.newest).unwrap_or(u32::MAX);
        Past { runs: late.runs | early.runs.checked_shl(age).unwrap_or(0), ..late }
    }

    fn has(self, run: Run) -> bool {
        self.newest.checked_sub(run).is_some_and(|age| age < WORDS && self.runs >> age & 1 == 1)
    }
}

impl Faults {
    /// The bytes of a word.
    pub const BYTES: u64 = 4;
    /// The words' id among the buffers of bind groups; the pool's ids start at 1.
    pub const ID: u64 = 0;

    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Faults {
        use wgpu::BufferUsages as Usage;
        let stride = device.limits().min_storage_buffer_offset_alignment;
        let words = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("error words"),
            size: WORDS * u64::from(stride),
            usage: Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST,
            mapped_at_creation: false,
        });
        queue.write_buffer(&words, 0, &vec![0xff; words.size() as usize]);
        Faults { words, stride, state: Mutex::default() }
    }

    /// The site of an operation called at a line: one number a pair, so that the table grows with the program's text only.
    pub fn site(&self, op: &'static str, at: &'static Location<'static>) -> u32 {
        let State { numbers, sites, .. } = &mut *lock(&self.state);
        *numbers.entry((op, at)).or_insert_with(|| {
            sites.push((op, at));
            sites.len() as u32 - 1
        })
    }

    /// Whether the next run's word waits for a read.
    pub fn is_full(&self) -> bool {
        let state = lock(&self.state);
        state.open.first().is_some_and(|oldest| oldest + WORDS <= state.last + 1)
    }

    /// Gives a run whose kernels index its number and its word. Its first submission must follow.
    pub fn begin(&self, queue: &wgpu::Queue) -> Run {
        let state = &mut *lock(&self.state);
        state.last += 1;
        state.open.push(state.last);
        let bit = 1 << (state.last % WORDS);
        if state.faulty & bit != 0 {
            state.faulty &= !bit;
            queue.write_buffer(&self.words, self.offset(state.last).into(), &FINE.to_le_bytes());
        }
        state.last
    }

    /// A word's place, bound by kernels at the offset of their run's.
    pub fn binding(&self) -> wgpu::BufferBinding<'_> {
        wgpu::BufferBinding { buffer: &self.words, offset: 0, size: wgpu::BufferSize::new(Self::BYTES) }
    }

    /// Where a run's word lies.
    pub fn offset(&self, run: Run) -> u32 {
        (run % WORDS) as u32 * self.stride
    }

    /// Whether no buffer depends on a run of which something may still have to be told.
    pub fn are_settled(&self) -> bool {
        let state = lock(&self.state);
        state.open.is_empty() && state.faulted.is_empty()
    }

    /// The runs whose words have not arrived. Submits must be locked out until the words are on their way.
    pub fn open(&self) -> Vec<Run> {
        lock(&self.state).open.clone()
    }

    /// Records that the words are copied to `target`, one behind the other from `at` on.
    pub fn record(&self, runs: &[Run], encoder: &mut wgpu::CommandEncoder, target: &wgpu::Buffer, at: u64) {
        for (i, &run) in (0..).zip(runs) {
            let from = self.offset(run).into();
            encoder.copy_buffer_to_buffer(&self.words, from, target, at + i * Self::BYTES, Self::BYTES);
        }
    }

    /// Takes note of a word that arrived. Of several copies the first counts: the word is free for another run after it.
    pub fn arrive(&self, run: Run, word: u32) {
        let state = &mut *lock(&self.state);
        let Some(at) = state.open.iter().position(|&open| open == run) else { return };
        state.open.remove(at);
        let Some(&site) = state.sites.get(word as usize) else { return };
        state.faulty |= 1 << (run % WORDS);
        state.news = state.news.or(Some(site));
        if state.faulted.len() as u64 == WORDS {
            state.faulted.pop_front();
        }
        state.faulted.push_back((run, site));
    }

    /// What a read of these buffers must say: the fault of a run that they depend on, or else one that no read has told.
    pub fn check<'a>(&self, mut buffers: impl Iterator<Item = &'a Buffer>) -> Result<(), Error> {
        let State { faulted, news, .. } = &mut *lock(&self.state);
        let news = news.take();
        let own = buffers.find_map(|buffer| {
            let past = *lock(&buffer.past);
            let (_, site) = faulted.remove(faulted.iter().position(|&(run, _)| past.has(run))?)?;
            Some(site)
        });
        match own.or(news) {
            Some((op, at)) => Err(Error::Index { op, at }),
            None => Ok(()),
        }
    }
}
