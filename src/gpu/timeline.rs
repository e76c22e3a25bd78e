//! Submissions in queue order, and waiting for their completion.
//!
//! In: command buffers. Out: a ticket for each submission, and `wait`, which returns when the GPU has finished the
//! submission or reports a hang. Independent of the commands' contents.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::health::Health;
use crate::core::error::Error;
use crate::core::sync::lock;

/// A submission's position in the order of all submissions, starting at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

pub(super) struct Timeline {
    device: wgpu::Device,
    queue: wgpu::Queue,
    health: Arc<Health>,
    /// Maximum time from the end of the previous submission to the end of a submission, after which the device counts
    /// as hung.
    hang_timeout: Duration,
    submissions: Mutex<Submissions>,
}

#[derive(Default)]
struct Submissions {
    count: u64,
    unfinished: VecDeque<(Ticket, wgpu::SubmissionIndex)>,
}

impl Timeline {
    pub fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        health: Arc<Health>,
        hang_timeout: Duration,
    ) -> Timeline {
        Timeline { device, queue, health, hang_timeout, submissions: Mutex::default() }
    }

    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    pub fn submissions(&self) -> u64 {
        lock(&self.submissions).count
    }

    /// Submits the commands, after every pending `write_buffer`. `None` submits only the pending writes.
    pub fn submit(&self, commands: Option<wgpu::CommandBuffer>) -> Ticket {
        // The lock is held during the submission, so that tickets are in queue order.
        let mut submissions = lock(&self.submissions);
        let index = self.queue.submit(commands);
        submissions.count += 1;
        let ticket = Ticket(submissions.count);
        submissions.unfinished.push_back((ticket, index));
        ticket
    }

    /// Blocks until the submission is done. The submission's callbacks have then been called, or another thread is
    /// calling them.
    ///
    /// Waits for each earlier submission separately, so that a long queue of short submissions does not count as a
    /// hang.
    pub fn wait(&self, ticket: Ticket) -> Result<(), Error> {
        loop {
            self.health.check()?;
            let next = lock(&self.submissions).unfinished.front().cloned();
            let Some((first, index)) = next.filter(|(first, _)| *first <= ticket) else {
                return Ok(());
            };
            self.poll(index)?;
            let unfinished = &mut lock(&self.submissions).unfinished;
            while unfinished.front().is_some_and(|(done, _)| *done <= first) {
                unfinished.pop_front();
            }
        }
    }

    /// Blocks until all submissions so far are done.
    pub fn wait_for_all(&self) -> Result<(), Error> {
        let last = Ticket(self.submissions());
        self.wait(last)
    }

    fn poll(&self, index: wgpu::SubmissionIndex) -> Result<(), Error> {
        let wait = wgpu::PollType::Wait { submission_index: Some(index), timeout: Some(self.hang_timeout) };
        // wgpu panics if the device is lost during the wait. wgpu holds no lock at this point.
        match catch_unwind(AssertUnwindSafe(|| self.device.poll(wait))) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(wgpu::PollError::Timeout)) => {
                Err(self.health.fail(Error::Hang { seconds: self.hang_timeout.as_secs() }))
            }
            Ok(Err(refused @ wgpu::PollError::WrongSubmissionIndex(..))) => {
                Err(self.health.fail(Error::Driver(refused.to_string())))
            }
            Err(panic) => {
                let reason = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .unwrap_or_else(|| "the device was lost during a wait".into());
                Err(self.health.fail(Error::DeviceLost { reason }))
            }
        }
    }
}
