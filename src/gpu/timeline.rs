//! The order in which the GPU works, and waiting for it.
//!
//! In: command buffers. Out: a ticket for each submission, and `wait`, which comes back when the GPU has got that far
//! or reports a hang. Must not know what the commands compute.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::health::Health;
use crate::core::error::Error;
use crate::core::sync::lock;

/// The place of a submission in the order of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

pub(super) struct Timeline {
    device: wgpu::Device,
    queue: wgpu::Queue,
    health: Arc<Health>,
    /// How long one submission may take after the one before it is done.
    patience: Duration,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    submitted: u64,
    unfinished: VecDeque<(Ticket, wgpu::SubmissionIndex)>,
}

impl Timeline {
    pub fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        health: Arc<Health>,
        patience: Duration,
    ) -> Timeline {
        Timeline { device, queue, health, patience, line: Mutex::default() }
    }

    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    pub fn submissions(&self) -> u64 {
        lock(&self.line).submitted
    }

    /// Submits the commands, after every pending `write_buffer`. No command at all just sends those on their way.
    pub fn submit(&self, commands: Option<wgpu::CommandBuffer>) -> Ticket {
        // The lock spans the submit, so that tickets are in the order of the queue.
        let mut line = lock(&self.line);
        let index = self.queue.submit(commands);
        line.submitted += 1;
        let ticket = Ticket(line.submitted);
        line.unfinished.push_back((ticket, index));
        ticket
    }

    /// Blocks until the submission is done. The callbacks that were registered with it have then been called, or another thread is
    /// calling them.
    ///
    /// It waits for one submission after the other: a long queue of short ones is no hang.
    pub fn wait(&self, ticket: Ticket) -> Result<(), Error> {
        loop {
            self.health.check()?;
            let next = lock(&self.line).unfinished.front().cloned();
            let Some((first, index)) = next.filter(|(first, _)| *first <= ticket) else {
                return Ok(());
            };
            self.poll(index)?;
            let unfinished = &mut lock(&self.line).unfinished;
            while unfinished.front().is_some_and(|(done, _)| *done <= first) {
                unfinished.pop_front();
            }
        }
    }

    /// Blocks until the GPU has done everything submitted so far.
    pub fn wait_for_all(&self) -> Result<(), Error> {
        let last = Ticket(self.submissions());
        self.wait(last)
    }

    fn poll(&self, index: wgpu::SubmissionIndex) -> Result<(), Error> {
        let wait = wgpu::PollType::Wait { submission_index: Some(index), timeout: Some(self.patience) };
        // wgpu panics when the device is lost while it waits. It holds no lock at that point.
        match catch_unwind(AssertUnwindSafe(|| self.device.poll(wait))) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(wgpu::PollError::Timeout)) => {
                Err(self.health.fail(Error::Hang { seconds: self.patience.as_secs() }))
            }
            Ok(Err(refused @ wgpu::PollError::WrongSubmissionIndex(..))) => {
                Err(self.health.fail(Error::Driver(refused.to_string())))
            }
            Err(panic) => {
                let reason = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .unwrap_or_else(|| "it was lost while waiting for it".into());
                Err(self.health.fail(Error::DeviceLost { reason }))
            }
        }
    }
}
