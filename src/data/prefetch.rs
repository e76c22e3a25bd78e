//! Computes the results of a function ahead of time in threads, and returns them in the order of its arguments.
//!
//! With n workers, worker i computes the results i, i + n, i + 2n and so on, and sends them through its own bounded
//! channel. So the results need no sorting, and a full channel limits how far a worker runs ahead.

use std::iter::Cycle;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

/// Capacity of each worker's channel, in results. A blocked worker has one additional result.
const AHEAD: usize = 1;

pub(super) struct Prefetch<A, F, T> {
    arguments: A,
    make: Arc<F>,
    workers: Vec<Worker<T>>,
    turn: Cycle<Range<usize>>,
}

struct Worker<T> {
    /// The receiver of results. Dropping it stops the workers, because sending the next result fails.
    results: Option<Receiver<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<A, F, T> Prefetch<A, F, T>
where
    A: Iterator<Item = usize> + Clone + Send + 'static,
    F: Fn(usize) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    /// Creates the iterator. Without workers each result is computed when it is requested.
    pub fn new(arguments: A, workers: usize, make: F) -> Prefetch<A, F, T> {
        let make = Arc::new(make);
        let worker = |i| {
            let (sender, results) = sync_channel(AHEAD);
            let (make, mine) = (make.clone(), arguments.clone().skip(i).step_by(workers));
            let thread = thread::spawn(move || {
                let _ = mine.map(|argument| make(argument)).try_for_each(|result| sender.send(result));
            });
            Worker { results: Some(results), thread: Some(thread) }
        };
        let all = (0..workers).map(worker).collect();
        Prefetch { arguments, make, workers: all, turn: (0..workers).cycle() }
    }
}

impl<A, F, T> Iterator for Prefetch<A, F, T>
where
    A: Iterator<Item = usize>,
    F: Fn(usize) -> T,
{
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let argument = self.arguments.next()?;
        let Some(turn) = self.turn.next() else { return Some((self.make)(argument)) };
        let Worker { results, thread } = &mut self.workers[turn];
        let result = results.as_ref().and_then(|results| results.recv().ok());
        if result.is_none()
            && let Some(Err(panic)) = thread.take().map(JoinHandle::join)
        {
            resume_unwind(panic);
        }
        result
    }
}

impl<A, F, T> Drop for Prefetch<A, F, T> {
    /// Stops the workers and waits for their current results, so that no thread outlives the iterator.
    fn drop(&mut self) {
        self.workers.iter_mut().for_each(|worker| drop(worker.results.take()));
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join(); // ignores a panic in a batch that was not requested
            }
        }
    }
}
