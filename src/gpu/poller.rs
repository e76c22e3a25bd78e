//! The thread that waits for submissions on behalf of async reads.
//!
//! In: the ticket of a submission, and the completion that is cancelled if the wait fails. Out: woken tasks. The first
//! async read of a device starts the thread; dropping the device joins it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, spawn};

use super::read::Completion;
use super::timeline::{Ticket, Timeline};
use crate::core::sync::lock;

type Request = (Ticket, Completion);

#[derive(Default)]
pub(super) struct Poller(OnceLock<(Sender<Request>, JoinHandle<()>)>);

impl Poller {
    /// Polls on the poller's thread until the callbacks of this submission have run. Cancels the completion if the wait
    /// fails.
    pub fn wake_when_done(&self, timeline: &Arc<Timeline>, ticket: Ticket, completion: Completion) {
        let (sender, _) = self.0.get_or_init(|| {
            let (sender, receiver) = channel();
            let timeline = Arc::clone(timeline);
            (sender, spawn(move || wait(&timeline, &receiver)))
        });
        // Sending fails only if the thread panicked. Then the request is dropped, which cancels the completion.
        let _ = sender.send((ticket, completion));
    }
}

fn wait(timeline: &Timeline, requests: &Receiver<Request>) {
    for (ticket, completion) in requests {
        if timeline.wait(ticket).is_err() {
            lock(&completion).take();
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            // A task woken by this thread may drop the device on this same thread, which cannot join itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
