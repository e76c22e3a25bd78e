//! Datasets on the host, and a loader that transfers them to the device in shuffled batches.
//!
//! Input: arrays, files, text. Output: batches on the device. A seed determines the order of the batches, and worker
//! threads prepare them while the device computes. This module does not depend on models.
//!
//! ```
//! use wgrad::data::{Column, DataLoader};
//! use wgrad::Device;
//! let samples = (Column::new(vec![1.0f32, 2.0, 3.0, 4.0, 5.0], ()), Column::new(vec![0, 1, 0, 1, 0], ()));
//! let loader = DataLoader::new(samples, 2, &Device::cpu()).shuffle(7);
//! let sizes: Vec<usize> = loader.epoch().map(|(x, _)| x.numel()).collect();
//! assert_eq!(sizes, [2, 2, 1]);
//! ```

mod column;
mod images;
mod loader;
mod prefetch;
mod text;

#[cfg(feature = "datasets")]
mod files;
#[cfg(feature = "tokenizers")]
mod tokenizer;

pub use column::Column;
#[cfg(feature = "datasets")]
pub use files::{Idx, Table, cifar10, mnist, read_csv, read_idx};
pub use images::Images;
pub use loader::{DataLoader, LoaderState};
pub use text::{Vocabulary, Windows};
#[cfg(feature = "tokenizers")]
pub use tokenizer::Tokenizer;

use crate::graph::Device;

/// A dataset: indexed samples, which any thread can load.
///
/// [`batch`](Dataset::batch) may draw random numbers from the thread's [`generator`](crate::generator). A
/// [`DataLoader`] sets a separate generator for each batch, so the numbers depend on its seed, the epoch and the batch,
/// but not on the worker.
pub trait Dataset: Send + Sync + 'static {
    /// The type of a batch, usually a tuple of tensors.
    type Batch: Send + 'static;

    /// Returns the number of samples.
    fn len(&self) -> usize;

    /// Loads the samples with these indices, in this order, onto the device.
    fn batch(&self, samples: &[usize], device: &Device) -> Self::Batch;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A pair of datasets is a dataset of pairs: inputs and targets.
impl<X: Dataset, Y: Dataset> Dataset for (X, Y) {
    type Batch = (X::Batch, Y::Batch);

    fn len(&self) -> usize {
        self.0.len().min(self.1.len())
    }

    fn batch(&self, samples: &[usize], device: &Device) -> Self::Batch {
        (self.0.batch(samples, device), self.1.batch(samples, device))
    }
}
