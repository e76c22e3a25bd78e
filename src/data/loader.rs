//! The loader: which samples make which batch, and where in the data a run stands.

use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Dataset;
use super::prefetch::Prefetch;
use crate::core::random::{self, Generator};
use crate::core::shape::refuse;
use crate::graph::Device;

/// Brings a dataset to a device batch by batch.
///
/// The batches, their order and every bit of them depend on the seed alone, not on the number of
/// [`workers`](DataLoader::workers); a run that is continued from a saved [`state`](DataLoader::state) sees the batches
/// that it would have seen.
///
/// ```
/// use wgrad::data::{Column, DataLoader};
/// use wgrad::Device;
/// let numbers = Column::new((0..100).collect::<Vec<i32>>(), ());
/// let loader = DataLoader::new(numbers.clone(), 8, &Device::cpu()).shuffle(7).workers(2);
/// let first = loader.epoch().next().unwrap();
/// let state = loader.state(); // after the first batch
/// let second = loader.epoch().next().unwrap();
///
/// let other = DataLoader::new(numbers, 8, &Device::cpu()).shuffle(7);
/// other.load_state(state);
/// let again = other.epoch().next().unwrap();
/// assert_eq!(again.to_vec::<i32>().unwrap(), second.to_vec::<i32>().unwrap());
/// # assert_ne!(again.to_vec::<i32>().unwrap(), first.to_vec::<i32>().unwrap());
/// ```
#[derive(Debug)]
pub struct DataLoader<D> {
    source: Arc<BatchSource<D>>,
    shuffle: bool,
    drop_last: bool,
    workers: usize,
    state: Mutex<LoaderState>,
}

/// Where a loader stands: all that it takes to go on from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoaderState {
    /// Decides the orders, and what a dataset draws.
    pub seed: u64,
    /// Passes that are complete.
    pub epoch: u64,
    /// Samples of the current pass that were handed out.
    pub position: u64,
}

/// What the workers share.
#[derive(Debug)]
struct BatchSource<D> {
    dataset: D,
    batch_size: usize,
    device: Device,
}

impl<D: Dataset> DataLoader<D> {
    /// Batches in the dataset's order; the last one may be smaller.
    #[track_caller]
    pub fn new(dataset: D, batch_size: usize, device: &Device) -> DataLoader<D> {
        if batch_size == 0 {
            refuse!("DataLoader", "a batch of 0 samples");
        }
        let source = Arc::new(BatchSource { dataset, batch_size, device: device.clone() });
        DataLoader { source, shuffle: false, drop_last: false, workers: 0, state: Mutex::default() }
    }

    /// Another order each epoch, the same ones for the same seed.
    pub fn shuffle(mut self, seed: u64) -> DataLoader<D> {
        self.shuffle = true;
        self.seed(seed)
    }

    /// The seed of what the dataset draws; [`shuffle`](DataLoader::shuffle) sets it too.
    pub fn seed(self, seed: u64) -> DataLoader<D> {
        self.place().seed = seed;
        self
    }

    /// Leaves out a last batch that would be smaller.
    pub fn drop_last(mut self) -> DataLoader<D> {
        self.drop_last = true;
        self
    }

    /// Threads that make batches and upload them while the device computes: each is at most two batches ahead. With
    /// 0, the default, a batch is made when it is asked for.
    pub fn workers(mut self, workers: usize) -> DataLoader<D> {
        self.workers = workers;
        self
    }

    /// Batches in an epoch.
    pub fn len(&self) -> usize {
        let BatchSource { dataset, batch_size, .. } = &*self.source;
        match self.drop_last {
            true => dataset.len() / batch_size,
            false => dataset.len().div_ceil(*batch_size),
        }
    }

    /// Whether an epoch has no batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples it loads.
    pub fn dataset(&self) -> &D {
        &self.source.dataset
    }

    /// Where it stands: after the batch that was handed out last.
    pub fn state(&self) -> LoaderState {
        *self.place()
    }

    /// Goes on from there with the next [`epoch`](DataLoader::epoch). The dataset and the options are not in the state
    /// and have to be the same.
    #[track_caller]
    pub fn load_state(&self, state: LoaderState) {
        let samples = self.dataset().len();
        if state.position > samples as u64 {
            refuse!("load_state", "position {} in a dataset of {samples} samples", state.position);
        }
        *self.place() = state;
    }

    /// The rest of the current pass over the dataset: all of it, unless the last one was broken off or a state was
    /// loaded. The next call goes on to the next pass, in another order if [shuffled](DataLoader::shuffle).
    pub fn epoch(&self) -> impl Iterator<Item = D::Batch> + '_ {
        let start = self.state();
        let samples = self.dataset().len();
        let generator = Generator { seed: start.seed, counter: start.epoch };
        let order: Arc<[usize]> = match self.shuffle {
            true => generator.clone().permutation(samples).into(),
            false => (0..samples).collect(),
        };
        let (source, size) = (self.source.clone(), self.source.batch_size);
        let end = if self.drop_last { samples / size * size } else { samples };
        let starts = (start.position as usize..end).step_by(size);
        let make = move |from: usize| {
            let generator = generator.fork(from as u64);
            let numbers = &order[from..end.min(from + size)];
            random::with_generator(generator, || source.dataset.batch(numbers, &source.device))
        };
        Prefetch::new(starts.clone(), self.workers, make).zip(starts).map(move |(batch, from)| {
            *self.place() = match end - from > size {
                true => LoaderState { position: (from + size) as u64, ..start },
                false => LoaderState { epoch: start.epoch + 1, position: 0, ..start },
            };
            batch
        })
    }

    /// One epoch after the other, without end.
    #[track_caller]
    pub fn batches(&self) -> impl Iterator<Item = D::Batch> + '_ {
        if self.is_empty() {
            refuse!("DataLoader", "there is no batch of {} samples", self.source.batch_size);
        }
        iter::repeat_with(|| self.epoch()).flatten()
    }

    fn place(&self) -> MutexGuard<'_, LoaderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
