//! Index faults: indices out of range, which only the GPU detects.
//!
//! A call of an indexing operation (its name and the user's line) has a number, its site, and the operation's kernel gets
//! the site as a uniform. A kernel that finds a bad index does `atomicMin(&fault, site)` on the fault word of its run. Each
//! read also copies the fault words of the runs before it. The first read after a fault fails, and so does the first read
//! of a value that depends on it. Does not know which kernels index.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Mutex;

use rustc_hash::FxHashMap;

use super::pool::GpuBuffer;
use crate::core::error::Error;
use crate::core::sync::lock;

/// A fault word without a fault.
const NO_FAULT: u32 = u32::MAX;

/// Fault words: the number of indexing runs that may be in flight at a time.
const WORDS: u64 = u128::BITS as u64;

type Site = (&'static str, &'static Location<'static>);

/// The number of a run whose kernels index. Only these runs are counted, from 1.
pub(super) type Run = u64;

/// The fault words, and the faults that were found.
pub(super) struct Faults {
    words: wgpu::Buffer,
    /// Bytes from one word to the next. Kernels bind one word, so this is the adapter's offset alignment.
    stride: u32,
    state: Mutex<FaultState>,
}

#[derive(Default)]
struct FaultState {
    numbers: FxHashMap<Site, u32>,
    sites: Vec<Site>,
    /// The newest run.
    last: Run,
    /// Runs whose fault word has not been read, oldest first. All are among the `WORDS` newest.
    in_flight: Vec<Run>,
    /// One bit per word: the word holds the site of a fault and must be reset.
    faulty: u128,
    /// Runs with a fault that no read of a dependent value has reported.
    faulted: VecDeque<(Run, Site)>,
    /// A fault that no read has reported.
    unreported: Option<Site>,
}

/// The indexing runs that the contents of a buffer depend on: run `newest - i` if bit `i` is set. The words of older runs
/// have been read.
#[derive(Clone, Copy, Default)]
pub(super) struct FaultDeps {
    newest: Run,
    runs: u128,
}

impl FaultDeps {
    pub fn of(run: Run) -> FaultDeps {
        FaultDeps { newest: run, runs: 1 }
    }

    pub fn join(self, other: FaultDeps) -> FaultDeps {
        let (early, late) = if self.newest < other.newest { (self, other) } else { (other, self) };
        let age = u32::try_from(late.newest - early.newest).unwrap_or(u32::MAX);
        FaultDeps { runs: late.runs | early.runs.checked_shl(age).unwrap_or(0), ..late }
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
            label: Some("fault words"),
            size: WORDS * u64::from(stride),
            usage: Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST,
            mapped_at_creation: false,
        });
        queue.write_buffer(&words, 0, &vec![0xff; words.size() as usize]);
        Faults { words, stride, state: Mutex::default() }
    }

    /// The site of an operation that is called at a line. Each pair has one number, so the table is bounded by the size of
    /// the program's source.
    pub fn site(&self, op: &'static str, at: &'static Location<'static>) -> u32 {
        let FaultState { numbers, sites, .. } = &mut *lock(&self.state);
        *numbers.entry((op, at)).or_insert_with(|| {
            sites.push((op, at));
            sites.len() as u32 - 1
        })
    }

    /// Whether the word of the next run is still in use by an older run in flight.
    pub fn is_full(&self) -> bool {
        let state = lock(&self.state);
        state.in_flight.first().is_some_and(|oldest| oldest + WORDS <= state.last + 1)
    }

    /// Starts a run whose kernels index: assigns its number and its word. The caller must submit the run next.
    pub fn begin(&self, queue: &wgpu::Queue) -> Run {
        let state = &mut *lock(&self.state);
        state.last += 1;
        state.in_flight.push(state.last);
        let bit = 1 << (state.last % WORDS);
        if state.faulty & bit != 0 {
            state.faulty &= !bit;
            queue.write_buffer(&self.words, self.offset(state.last).into(), &NO_FAULT.to_le_bytes());
        }
        state.last
    }

    /// The binding of a fault word. Kernels add the [`offset`](Self::offset) of their run.
    pub fn binding(&self) -> wgpu::BufferBinding<'_> {
        wgpu::BufferBinding { buffer: &self.words, offset: 0, size: wgpu::BufferSize::new(Self::BYTES) }
    }

    /// The byte offset of a run's word.
    pub fn offset(&self, run: Run) -> u32 {
        (run % WORDS) as u32 * self.stride
    }

    /// Whether there is no run in flight and no fault to report, so that dependencies need not be tracked.
    pub fn are_settled(&self) -> bool {
        let state = lock(&self.state);
        state.in_flight.is_empty() && state.faulted.is_empty()
    }

    /// The runs whose words have not been read. The caller must prevent other submissions until it has submitted the copy
    /// of the words.
    pub fn in_flight(&self) -> Vec<Run> {
        lock(&self.state).in_flight.clone()
    }

    /// Records the copy of the runs' words to `target`, one after the other from the offset `at`.
    pub fn record(&self, runs: &[Run], encoder: &mut wgpu::CommandEncoder, target: &wgpu::Buffer, at: u64) {
        for (i, &run) in (0..).zip(runs) {
            let from = self.offset(run).into();
            encoder.copy_buffer_to_buffer(&self.words, from, target, at + i * Self::BYTES, Self::BYTES);
        }
    }

    /// Handles a word that was read. Only the first copy counts: after it the word may belong to another run.
    pub fn handle_word(&self, run: Run, word: u32) {
        let state = &mut *lock(&self.state);
        let Some(at) = state.in_flight.iter().position(|&other| other == run) else { return };
        state.in_flight.remove(at);
        let Some(&site) = state.sites.get(word as usize) else { return };
        state.faulty |= 1 << (run % WORDS);
        state.unreported = state.unreported.or(Some(site));
        if state.faulted.len() as u64 == WORDS {
            state.faulted.pop_front();
        }
        state.faulted.push_back((run, site));
    }

    /// The error of a read of these buffers: the fault of a run that they depend on, or else a fault that no read has reported.
    pub fn check<'a>(&self, mut buffers: impl Iterator<Item = &'a GpuBuffer>) -> Result<(), Error> {
        let FaultState { faulted, unreported, .. } = &mut *lock(&self.state);
        let unreported = unreported.take();
        let of_buffers = buffers.find_map(|buffer| {
            let deps = *lock(&buffer.fault_deps);
            let (_, site) = faulted.remove(faulted.iter().position(|&(run, _)| deps.has(run))?)?;
            Some(site)
        });
        match of_buffers.or(unreported) {
            Some((op, at)) => Err(Error::Index { op, at }),
            None => Ok(()),
        }
    }
}
