//! Runs kernels.
//!
//! In: dispatches over buffers, and their uniforms. Out: submissions, each bounded in time, at most two runs ahead of
//! the GPU. Must not know what a kernel computes.
//!
//! Every run writes its uniforms to the start of one buffer. `write_buffer` is itself ordered by the queue, before the next
//! submission and after all earlier ones, so a run that is still in flight has read its own. A ring would buy nothing: wgpu
//! tracks whole buffers and places the same barrier either way.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};

use smallvec::SmallVec;

use super::Gpu;
use super::bind_groups::BindGroups;
use super::faults::{Faults, Past};
use super::pipeline::{Access, Pipeline};
use super::pool::{Buffer, create_buffer};
use super::timeline::Ticket;
use crate::core::error::Error;
use crate::core::limits::{AdapterKind, Limits};
use crate::core::sync::lock;

/// One kernel over a grid of workgroups. One with no workgroup is passed over.
#[derive(Clone)]
pub struct Dispatch {
    pub pipeline: Arc<Pipeline>,
    /// Indices into the run's buffers, in binding order.
    pub buffers: SmallVec<[u32; 8]>,
    /// Where its block of uniforms begins: a byte offset, and a multiple of `Limits::uniform_alignment`.
    pub uniform: u32,
    pub uniform_bytes: u32,
    pub workgroups: [u32; 3],
    /// About how many operations it takes.
    pub work: u64,
}

/// Dispatches in a submission: enough that submitting costs little, few enough that the GPU starts while the rest is
/// recorded.
const BATCH: usize = 128;
const RUNS_IN_FLIGHT: usize = 2;
const SMALLEST_UNIFORMS: u64 = 64 << 10;
const SMALLEST_WINDOW: u64 = 256;

/// What only one thread at a time may have: who records, submits.
pub(super) struct Recorder {
    device: wgpu::Device,
    pub bind_groups: BindGroups,
    uniforms: wgpu::Buffer,
    /// The last submission of each run that may not be done.
    in_flight: VecDeque<Ticket>,
    pub runs: u64,
    pub dispatches: u64,
}

impl Gpu {
    /// Submits the dispatches, which see each other's effects in order. Comes back without waiting for them, unless two
    /// runs are still in flight. An error means that nothing ran; what fails later comes out of the next read.
    pub fn run(&self, dispatches: &[Dispatch], buffers: &[&Buffer], uniforms: &[u32]) -> Result<(), Error> {
        let mut recorder = self.turn()?;
        self.health.check()?;
        if dispatches.is_empty() {
            return Ok(());
        }
        recorder.start_run(&self.pool.take_retired());
        recorder.make_room(dispatches, uniforms, &self.limits)?;
        let queue = self.timeline.queue();
        queue.write_buffer(&recorder.uniforms, 0, bytemuck::cast_slice(uniforms));
        let indexes = dispatches.iter().any(|dispatch| dispatch.pipeline.faults);
        let run = indexes.then(|| self.faults.begin(queue));
        if !self.faults.are_settled() {
            pass_on(dispatches, buffers, run.map_or(Past::default(), Past::of));
        }
        let word = run.map_or(0, |run| self.faults.offset(run));
        let longest = longest_submission(self.limits.kind);
        let mut last = None;
        let mut rest = dispatches;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_length(rest, longest));
            let commands = recorder.record(batch, buffers, &self.faults, word);
            last = Some(self.timeline.submit(Some(commands)));
            rest = later;
        }
        recorder.in_flight.extend(last);
        Ok(())
    }

    /// Blocks until a run would not have to wait for an earlier one: for a caller that will hold a lock of its own
    /// meanwhile.
    pub fn wait_for_turn(&self) -> Result<(), Error> {
        self.turn().map(drop)
    }

    /// Blocks until the GPU has done everything so far.
    pub fn wait(&self) -> Result<(), Error> {
        self.timeline.wait_for_all()
    }

    /// The recorder, once fewer than two runs are in flight and there is an error word for another. The waiting is done
    /// without it, so that reads go on.
    fn turn(&self) -> Result<MutexGuard<'_, Recorder>, Error> {
        loop {
            let recorder = lock(&self.recorder);
            if self.faults.is_full() {
                drop(recorder);
                self.settle()?;
                continue;
            }
            let oldest = match recorder.in_flight.front() {
                Some(&oldest) if recorder.in_flight.len() >= RUNS_IN_FLIGHT => oldest,
                _ => return Ok(recorder),
            };
            drop(recorder);
            self.timeline.wait(oldest)?;
            lock(&self.recorder).in_flight.retain(|run| *run > oldest);
        }
    }
}

impl Recorder {
    pub fn new(device: wgpu::Device) -> Result<Recorder, Error> {
        Ok(Recorder {
            bind_groups: BindGroups::new(device.clone()),
            uniforms: create_uniforms(&device, SMALLEST_UNIFORMS)?,
            device,
            in_flight: VecDeque::new(),
            runs: 0,
            dispatches: 0,
        })
    }

    fn start_run(&mut self, retired: &[u64]) {
        self.runs += 1;
        self.bind_groups.forget(retired);
        self.bind_groups.start_run();
    }

    /// Replaces the uniform buffer if this run's uniforms, or the window of one of its dispatches, would reach beyond it.
    fn make_room(&mut self, dispatches: &[Dispatch], uniforms: &[u32], limits: &Limits) -> Result<(), Error> {
        let largest = dispatches.iter().map(window).max().unwrap_or(0);
        if largest > u64::from(limits.uniform_bytes) {
            return Err(Error::TooLarge {
                bytes: largest,
                limit: "max_uniform_buffer_binding_size",
                allowed: limits.uniform_bytes.into(),
            });
        }
        let windows = dispatches.iter().map(|d| u64::from(d.uniform) + window(d));
        let needed = windows.max().unwrap_or(0).max(4 * uniforms.len() as u64);
        if needed <= self.uniforms.size() {
            return Ok(());
        }
        let size = needed.next_power_of_two();
        if size > limits.buffer_bytes {
            return Err(Error::TooLarge {
                bytes: needed,
                limit: "max_buffer_size",
                allowed: limits.buffer_bytes,
            });
        }
        self.uniforms = create_uniforms(&self.device, size)?;
        // They hold the old one. Those that the GPU is using, wgpu keeps.
        self.bind_groups.clear();
        Ok(())
    }

    /// `word` is where the run's error word lies.
    fn record(
        &mut self,
        batch: &[Dispatch],
        buffers: &[&Buffer],
        faults: &Faults,
        word: u32,
    ) -> wgpu::CommandBuffer {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let mut current: Option<&Arc<Pipeline>> = None;
        for dispatch in batch.iter().filter(|d| !d.workgroups.contains(&0)) {
            let pipeline = &dispatch.pipeline;
            if !current.is_some_and(|current| Arc::ptr_eq(current, pipeline)) {
                pass.set_pipeline(&pipeline.raw);
                current = Some(pipeline);
            }
            let operands = dispatch.buffers.iter().map(|&index| {
                let buffer = buffers[index as usize];
                (buffer.id(), buffer.raw().as_entire_buffer_binding())
            });
            let fault = pipeline.faults.then(|| (Faults::ID, faults.binding()));
            let group = self.bind_groups.get(
                &pipeline.layout,
                &self.uniforms,
                window(dispatch),
                operands.chain(fault),
            );
            let offsets = [dispatch.uniform, word];
            pass.set_bind_group(0, group, &offsets[..1 + usize::from(pipeline.faults)]);
            let [x, y, z] = dispatch.workgroups;
            pass.dispatch_workgroups(x, y, z);
        }
        drop(pass);
        self.dispatches += batch.len() as u64;
        encoder.finish()
    }
}

/// Passes on, dispatch by dispatch, which runs the contents of the buffers depend on: what is written, on those of what
/// is bound, and on this one if the dispatch indexes.
fn pass_on(dispatches: &[Dispatch], buffers: &[&Buffer], own: Past) {
    for Dispatch { pipeline, buffers: bound, .. } in dispatches {
        let bound = bound.iter().map(|&index| &buffers[index as usize].past);
        let own = if pipeline.faults { own } else { Past::default() };
        let past = bound.clone().fold(own, |past, other| past.join(*lock(other)));
        let written = bound.zip(&pipeline.bindings).filter(|(_, access)| **access == Access::ReadWrite);
        written.for_each(|(written, _)| *lock(written) = past);
    }
}

fn create_uniforms(device: &wgpu::Device, size: u64) -> Result<wgpu::Buffer, Error> {
    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
    create_buffer(device, "uniforms", size, usage)
}

/// The bytes of the uniform buffer that a dispatch binds: powers of two, so that bind groups are shared.
fn window(dispatch: &Dispatch) -> u64 {
    u64::from(dispatch.uniform_bytes).next_power_of_two().max(SMALLEST_WINDOW)
}

/// The work of a submission that stays well under half a second, so that the desktop stays alive and no watchdog barks.
fn longest_submission(kind: AdapterKind) -> u64 {
    match kind {
        AdapterKind::Software => 2_000_000_000,
        AdapterKind::Integrated | AdapterKind::Other => 50_000_000_000,
        AdapterKind::Discrete => 500_000_000_000,
    }
}

/// How many of the dispatches go into the next submission: as many as stay below both bounds, and one at least.
fn batch_length(dispatches: &[Dispatch], longest: u64) -> usize {
    let mut work = 0_u64;
    let fits = |dispatch: &&Dispatch| {
        work = work.saturating_add(dispatch.work);
        work <= longest
    };
    let batch = dispatches.iter().take(BATCH).take_while(fits);
    batch.count().max(1)
}
