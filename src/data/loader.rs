//! The data loader: divides a dataset into batches and keeps its position in the dataset.

use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Dataset;
use super::prefetch::Prefetch;
use crate::core::random::{self, Generator};
use crate::core::shape::refuse;
use crate::graph::Device;

/// Loads a dataset onto a device in batches.
///
/// The batches and their order depend, bit for bit, only on the seed and not on the number of
/// [`workers`](DataLoader::workers). A run that resumes from a saved [`state`](DataLoader::state) gets the same batches
/// as an uninterrupted run.
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

/// The state of a loader: (seed, epoch, position).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoaderState {
    /// The seed of the shuffling and of random augmentations.
    pub seed: u64,
    /// The number of complete epochs.
    pub epoch: u64,
    /// The number of samples of the current epoch that were returned.
    pub position: u64,
}

/// The data shared by the workers.
#[derive(Debug)]
struct BatchSource<D> {
    dataset: D,
    batch_size: usize,
    device: Device,
}

impl<D: Dataset> DataLoader<D> {
    /// Creates a loader that keeps the order of the dataset. The last batch may be smaller.
    ///
    /// # Panics
    ///
    /// Panics if `batch_size` is 0.
    #[track_caller]
    pub fn new(dataset: D, batch_size: usize, device: &Device) -> DataLoader<D> {
        if batch_size == 0 {
            refuse!("DataLoader", "batch_size must be >= 1");
        }
        let source = Arc::new(BatchSource { dataset, batch_size, device: device.clone() });
        DataLoader { source, shuffle: false, drop_last: false, workers: 0, state: Mutex::default() }
    }

    /// Shuffles the samples in each epoch. The same seed gives the same orders.
    pub fn shuffle(mut self, seed: u64) -> DataLoader<D> {
        self.shuffle = true;
        self.seed(seed)
    }

    /// Sets the seed of random augmentations. [`shuffle`](DataLoader::shuffle) sets it too.
    pub fn seed(self, seed: u64) -> DataLoader<D> {
        self.place().seed = seed;
        self
    }

    /// Drops the last batch if it is smaller than the others.
    pub fn drop_last(mut self) -> DataLoader<D> {
        self.drop_last = true;
        self
    }

    /// Sets the number of worker threads. Workers prepare and upload batches while the device computes, each at most
    /// two batches ahead. With 0, the default, a batch is prepared when it is requested.
    pub fn workers(mut self, workers: usize) -> DataLoader<D> {
        self.workers = workers;
        self
    }

    /// Returns the number of batches in an epoch.
    pub fn len(&self) -> usize {
        let BatchSource { dataset, batch_size, .. } = &*self.source;
        match self.drop_last {
            true => dataset.len() / batch_size,
            false => dataset.len().div_ceil(*batch_size),
        }
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the dataset.
    pub fn dataset(&self) -> &D {
        &self.source.dataset
    }

    /// Returns the state after the last returned batch.
    pub fn state(&self) -> LoaderState {
        *self.place()
    }

    /// Continues from a state with the next [`epoch`](DataLoader::epoch). The dataset and the options are not part of
    /// the state and must be the same.
    ///
    /// # Panics
    ///
    /// Panics if the position is greater than the number of samples.
    #[track_caller]
    pub fn load_state(&self, state: LoaderState) {
        let samples = self.dataset().len();
        if state.position > samples as u64 {
            refuse!(
                "load_state",
                "position {} is out of range for a dataset of {samples} samples",
                state.position
            );
        }
        *self.place() = state;
    }

    /// Iterates over the remaining batches of the current epoch: all batches, unless the last iteration stopped early
    /// or a state was loaded. The next call starts the next epoch, in a new order if [shuffled](DataLoader::shuffle).
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

    /// Iterates endlessly over the batches of all epochs.
    ///
    /// # Panics
    ///
    /// Panics if an epoch has no batches.
    #[track_caller]
    pub fn batches(&self) -> impl Iterator<Item = D::Batch> + '_ {
        if self.is_empty() {
            refuse!("DataLoader", "an epoch has no batch of {} samples", self.source.batch_size);
        }
        iter::repeat_with(|| self.epoch()).flatten()
    }

    fn place(&self) -> MutexGuard<'_, LoaderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
