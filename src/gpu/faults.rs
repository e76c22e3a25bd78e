//! Index faults: out-of-range indices, which only the GPU can detect.
//!
//! Each call of an indexing operation (operation name and user's line) has a number, its site, which is a uniform of
//! the operation's kernel. For an out-of-range index, a kernel executes `atomicMin(&fault, site)` on the fault flag of
//! its run. Each read also copies the fault flags of the preceding runs. The first read after a fault fails, and so
//! does the first read of a value that depends on the faulty run.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Mutex;

use rustc_hash::FxHashMap;

use super::pool::GpuBuffer;
use crate::core::error::Error;
use crate::core::sync::lock;

/// The value of a fault flag without a fault.
const NO_FAULT: u32 = u32::MAX;

/// Number of fault flags, which is the maximum number of indexing runs in flight.
const WORDS: u64 = u128::BITS as u64;

type Site = (&'static str, &'static Location<'static>);

/// The number of an indexing run (a run with indexing kernels). Only indexing runs are counted, starting at 1.
pub(super) type Run = u64;

/// The fault flag buffer, and the detected faults.
pub(super) struct Faults {
    words: wgpu::Buffer,
    /// Distance between adjacent fault flags in bytes. A kernel binds one flag, so the distance is the adapter's offset
    /// alignment.
    stride: u32,
    state: Mutex<FaultState>,
}

#[derive(Default)]
struct FaultState {
    numbers: FxHashMap<Site, u32>,
    sites: Vec<Site>,
    /// The latest run.
    last: Run,
    /// Runs whose fault flag has not been read, oldest first. All of them are among the latest `WORDS` runs.
    in_flight: Vec<Run>,
    /// One bit per fault flag: 1 if the flag has the site of a fault and must be reset.
    faulty: u128,
    /// Runs with a fault that has not been reported by a read of a dependent value.
    faulted: VecDeque<(Run, Site)>,
    /// A fault that has not been reported by any read.
    unreported: Option<Site>,
}

/// The indexing runs on which the contents of a buffer depend: run `newest - i` if bit `i` is set. The fault flags of
/// older runs have been read.
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
    /// Size of a fault flag in bytes.
    pub const BYTES: u64 = 4;
    /// Id of the fault flag buffer in the keys of bind groups. The ids of the pool's buffers start at 1.
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

    /// Returns the site of an operation called at a source line. Each pair has one number, so the size of the program's
    /// source bounds the table.
    pub fn site(&self, op: &'static str, at: &'static Location<'static>) -> u32 {
        let FaultState { numbers, sites, .. } = &mut *lock(&self.state);
        *numbers.entry((op, at)).or_insert_with(|| {
            sites.push((op, at));
            sites.len() as u32 - 1
        })
    }

    /// Whether the next run's fault flag is still in use by an older run in flight.
    pub fn is_full(&self) -> bool {
        let state = lock(&self.state);
        state.in_flight.first().is_some_and(|oldest| oldest + WORDS <= state.last + 1)
    }

    /// Starts an indexing run: assigns its number and its fault flag. The caller must submit the run next.
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

    /// Returns the binding of a fault flag, to which the dynamic [`offset`](Self::offset) of the run is added.
    pub fn binding(&self) -> wgpu::BufferBinding<'_> {
        wgpu::BufferBinding { buffer: &self.words, offset: 0, size: wgpu::BufferSize::new(Self::BYTES) }
    }

    /// Returns the byte offset of a run's fault flag.
    pub fn offset(&self, run: Run) -> u32 {
        (run % WORDS) as u32 * self.stride
    }

    /// Whether there is no run in flight and no fault to report, so that dependencies need not be tracked.
    pub fn are_settled(&self) -> bool {
        let state = lock(&self.state);
        state.in_flight.is_empty() && state.faulted.is_empty()
    }

    /// Returns the runs whose fault flags have not been read. The caller must prevent other submissions until it has
    /// submitted the copy of the flags.
    pub fn in_flight(&self) -> Vec<Run> {
        lock(&self.state).in_flight.clone()
    }

    /// Records a copy of the runs' fault flags to consecutive words of `target`, starting at offset `at`.
    pub fn record(&self, runs: &[Run], encoder: &mut wgpu::CommandEncoder, target: &wgpu::Buffer, at: u64) {
        for (i, &run) in (0..).zip(runs) {
            let from = self.offset(run).into();
            encoder.copy_buffer_to_buffer(&self.words, from, target, at + i * Self::BYTES, Self::BYTES);
        }
    }

    /// Processes the value of a fault flag that was read. Only the first copy for a run is used, because the flag may
    /// belong to another run afterwards.
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

    /// Returns the error for a read of these buffers: the fault of a run on which the buffers depend, or else a fault
    /// that has not been reported by any read.
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
