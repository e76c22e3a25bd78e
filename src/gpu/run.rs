//! Execution of kernels.
//!
//! In: dispatches over buffers, and their uniforms. Out: submissions, each bounded in time, with at most two runs in
//! flight. Independent of the kernels' semantics.
//!
//! Each run writes its uniforms to the start of one buffer. The queue orders `write_buffer` after all earlier
//! submissions and before the next submission, so earlier runs read their own uniforms. A ring buffer would not be
//! faster: wgpu tracks whole buffers and inserts the same barrier.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};

use smallvec::SmallVec;

use super::Gpu;
use super::bind_groups::BindGroups;
use super::faults::{FaultDeps, Faults};
use super::pipeline::{Access, Pipeline};
use super::pool::{GpuBuffer, create_buffer};
use super::timeline::Ticket;
use crate::core::error::Error;
use crate::core::limits::{AdapterKind, Limits};
use crate::core::sync::lock;

/// One kernel over a grid of workgroups. A dispatch without workgroups is skipped.
#[derive(Clone)]
pub struct Dispatch {
    pub pipeline: Arc<Pipeline>,
    /// Indices into the run's buffers, in binding order.
    pub buffers: SmallVec<[u32; 8]>,
    /// The byte offset of the dispatch's uniforms, a multiple of `Limits::uniform_alignment`.
    pub uniform: u32,
    pub uniform_bytes: u32,
    pub workgroups: [u32; 3],
    /// Estimated number of operations.
    pub work: u64,
}

/// Maximum number of dispatches per submission. It is large enough to make the cost of a submission negligible, and
/// small enough to let the GPU start while the remaining dispatches are recorded.
const MAX_DISPATCHES_PER_SUBMISSION: usize = 128;
/// Maximum number of runs in flight: one run executes while the next run is recorded.
const MAX_RUNS_IN_FLIGHT: usize = 2;
/// Initial size of the uniform buffer in bytes. The buffer grows when a run needs more.
const MIN_UNIFORM_BUFFER_BYTES: u64 = 64 << 10;
/// Minimum size of a binding of the uniform buffer in bytes. Larger bindings are powers of two, so that dispatches
/// share bind groups.
const MIN_UNIFORM_WINDOW_BYTES: u64 = 256;

/// The state for recording a run. A thread locks this state from recording to submission.
pub(super) struct Recorder {
    device: wgpu::Device,
    pub bind_groups: BindGroups,
    uniforms: wgpu::Buffer,
    /// The last submission of each run that may be unfinished, oldest first.
    in_flight: VecDeque<Ticket>,
    pub runs: u64,
    pub dispatches: u64,
}

impl Gpu {
    /// Submits the dispatches, which execute in order. Returns without waiting for their completion, but first waits
    /// while two earlier runs are in flight. If an error is returned, no dispatch has run. Failures during execution
    /// are reported by the next read.
    pub fn run(
        &self,
        dispatches: &[Dispatch],
        buffers: &[&GpuBuffer],
        uniforms: &[u32],
    ) -> Result<(), Error> {
        let mut recorder = self.acquire_recorder()?;
        self.health.check()?;
        if dispatches.is_empty() {
            return Ok(());
        }
        recorder.start_run(&self.pool.take_retired());
        recorder.grow_uniforms(dispatches, uniforms, &self.limits)?;
        let queue = self.timeline.queue();
        queue.write_buffer(&recorder.uniforms, 0, bytemuck::cast_slice(uniforms));
        let indexes = dispatches.iter().any(|dispatch| dispatch.pipeline.faults);
        let run = indexes.then(|| self.faults.begin(queue));
        if !self.faults.are_settled() {
            propagate_fault_deps(dispatches, buffers, run.map_or(FaultDeps::default(), FaultDeps::of));
        }
        let word = run.map_or(0, |run| self.faults.offset(run));
        let max_work = max_submission_work(self.limits.kind);
        let mut last = None;
        let mut rest = dispatches;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_length(rest, max_work));
            let commands = recorder.record(batch, buffers, &self.faults, word);
            last = Some(self.timeline.submit(Some(commands)));
            rest = later;
        }
        recorder.in_flight.extend(last);
        Ok(())
    }

    /// Blocks until a run can start without waiting for an earlier run. Callers that lock a mutex during the run call
    /// this method first.
    pub fn wait_until_ready(&self) -> Result<(), Error> {
        self.acquire_recorder().map(drop)
    }

    /// Blocks until the GPU has finished all submissions.
    pub fn wait(&self) -> Result<(), Error> {
        self.timeline.wait_for_all()
    }

    /// Locks the recorder when fewer than two runs are in flight and a fault flag is free. The recorder is not locked
    /// while waiting, so that reads can proceed.
    fn acquire_recorder(&self) -> Result<MutexGuard<'_, Recorder>, Error> {
        loop {
            let recorder = lock(&self.recorder);
            if self.faults.is_full() {
                drop(recorder);
                self.settle()?;
                continue;
            }
            let oldest = match recorder.in_flight.front() {
                Some(&oldest) if recorder.in_flight.len() >= MAX_RUNS_IN_FLIGHT => oldest,
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
            uniforms: create_uniforms(&device, MIN_UNIFORM_BUFFER_BYTES)?,
            device,
            in_flight: VecDeque::new(),
            runs: 0,
            dispatches: 0,
        })
    }

    fn start_run(&mut self, retired: &[u64]) {
        self.runs += 1;
        self.bind_groups.remove(retired);
        self.bind_groups.start_run();
    }

    /// Replaces the uniform buffer if it is too small for this run's uniforms, or for the window of a dispatch.
    fn grow_uniforms(
        &mut self,
        dispatches: &[Dispatch],
        uniforms: &[u32],
        limits: &Limits,
    ) -> Result<(), Error> {
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
        // The bind groups refer to the old buffer. wgpu keeps groups alive while the GPU is using them.
        self.bind_groups.clear();
        Ok(())
    }

    /// Records a batch of dispatches. `word` is the byte offset of the run's fault flag.
    fn record(
        &mut self,
        batch: &[Dispatch],
        buffers: &[&GpuBuffer],
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

/// Updates the fault dependencies of the buffers, dispatch by dispatch. The buffers written by a dispatch depend on all
/// fault dependencies of its bound buffers, and on this run if the kernel indexes.
fn propagate_fault_deps(dispatches: &[Dispatch], buffers: &[&GpuBuffer], own: FaultDeps) {
    for Dispatch { pipeline, buffers: bound, .. } in dispatches {
        let bound = bound.iter().map(|&index| &buffers[index as usize].fault_deps);
        let own = if pipeline.faults { own } else { FaultDeps::default() };
        let deps = bound.clone().fold(own, |deps, other| deps.join(*lock(other)));
        let written = bound.zip(&pipeline.bindings).filter(|(_, access)| **access == Access::ReadWrite);
        written.for_each(|(written, _)| *lock(written) = deps);
    }
}

fn create_uniforms(device: &wgpu::Device, size: u64) -> Result<wgpu::Buffer, Error> {
    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
    create_buffer(device, "uniforms", size, usage)
}

/// Returns the size in bytes of a dispatch's binding of the uniform buffer: a power of two, so that bind groups are
/// shared.
fn window(dispatch: &Dispatch) -> u64 {
    u64::from(dispatch.uniform_bytes).next_power_of_two().max(MIN_UNIFORM_WINDOW_BYTES)
}

/// Returns the maximum number of operations in a submission: less than half a second of work, so that the desktop stays
/// responsive and the driver's watchdog does not reset the GPU.
fn max_submission_work(kind: AdapterKind) -> u64 {
    match kind {
        AdapterKind::Software => 2_000_000_000,
        AdapterKind::Integrated | AdapterKind::Other => 50_000_000_000,
        AdapterKind::Discrete => 500_000_000_000,
    }
}

/// Returns the number of dispatches in the next submission: as many as the maximum number and the maximum work allow,
/// and at least one.
fn batch_length(dispatches: &[Dispatch], max_work: u64) -> usize {
    let mut work = 0_u64;
    let fits = |dispatch: &&Dispatch| {
        work = work.saturating_add(dispatch.work);
        work <= max_work
    };
    let batch = dispatches.iter().take(MAX_DISPATCHES_PER_SUBMISSION).take_while(fits);
    batch.count().max(1)
}
