//! The one thread that waits, so that async reads need not.
//!
//! In: the ticket of a submission and who is to be told. Out: a woken task. Started with the first async read of a device,
//! joined when the device goes.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, spawn};

use super::read::Addressee;
use super::timeline::{Ticket, Timeline};
use crate::core::sync::lock;

type Request = (Ticket, Addressee);

#[derive(Default)]
pub(super) struct Poller(OnceLock<(Sender<Request>, JoinHandle<()>)>);

impl Poller {
    /// Sees to it that the callbacks of this submission are called. If it fails, the addressee is told by silence.
    pub fn wake_when_done(&self, timeline: &Arc<Timeline>, ticket: Ticket, addressee: Addressee) {
        let (sender, _) = self.0.get_or_init(|| {
            let (sender, receiver) = channel();
            let timeline = Arc::clone(timeline);
            (sender, spawn(move || wait(&timeline, &receiver)))
        });
        // The thread ends with the channel only, and drops the request, which silences it, should it ever panic.
        let _ = sender.send((ticket, addressee));
    }
}

fn wait(timeline: &Timeline, requests: &Receiver<Request>) {
    for (ticket, addressee) in requests {
        if timeline.wait(ticket).is_err() {
            lock(&addressee).take();
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            // A task woken on that very thread may drop the device.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
