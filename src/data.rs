//! Data: samples on the host, and a loader that brings them to the device in shuffled batches.

use crate::device::Device;
use crate::dtype::Element;
use crate::random::Generator;
use crate::shape::{Dims, Shape, refuse};
use crate::tensor::Tensor;

/// Samples that can be asked for by number.
pub trait Dataset {
    /// What a batch is: usually a tuple of tensors.
    type Batch;

    /// Number of samples.
    fn len(&self) -> usize;

    /// The samples of these numbers, in this order, on the device.
    fn batch(&self, samples: &[usize], device: &Device) -> Self::Batch;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Samples of a fixed shape in one array on the host, the first dim counting them.
#[derive(Clone, Debug)]
pub struct Column<T> {
    data: Vec<T>,
    shape: Shape,
}

impl<T: Element> Column<T> {
    /// `data.len()` is a multiple of the number of elements of a sample.
    #[track_caller]
    pub fn new(data: Vec<T>, sample: impl Into<Dims>) -> Column<T> {
        let shape = sample.into().sizes("column");
        if shape.numel() == 0 || !data.len().is_multiple_of(shape.numel()) {
            refuse!("column", "{} elements are no samples of shape {shape}", data.len());
        }
        Column { data, shape }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.data.len() / self.shape.numel()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// A tensor `[samples, ..]`.
    #[track_caller]
    pub fn batch(&self, samples: &[usize], device: &Device) -> Tensor {
        let size = self.shape.numel();
        let data: Vec<T> =
            samples.iter().flat_map(|&i| &self.data[i * size..(i + 1) * size]).copied().collect();
        let shape: Shape = [samples.len()].into_iter().chain(self.shape.iter().copied()).collect();
        Tensor::new(data, shape, device)
    }
}

/// Two columns side by side are a dataset: inputs and targets.
impl<X: Element, Y: Element> Dataset for (Column<X>, Column<Y>) {
    type Batch = (Tensor, Tensor);

    fn len(&self) -> usize {
        self.0.len().min(self.1.len())
    }

    fn batch(&self, samples: &[usize], device: &Device) -> (Tensor, Tensor) {
        (self.0.batch(samples, device), self.1.batch(samples, device))
    }
}

/// Brings a dataset to a device batch by batch.
///
/// ```
/// use wgrad::data::{Column, DataLoader};
/// use wgrad::Device;
/// let samples = (Column::new(vec![1.0f32, 2.0, 3.0, 4.0, 5.0], ()), Column::new(vec![0, 1, 0, 1, 0], ()));
/// let mut loader = DataLoader::new(samples, 2, &Device::cpu()).shuffle(7);
/// let sizes: Vec<usize> = loader.epoch().map(|(x, _)| x.numel()).collect();
/// assert_eq!(sizes, [2, 2, 1]);
/// ```
#[derive(Clone, Debug)]
pub struct DataLoader<D> {
    dataset: D,
    batch_size: usize,
    device: Device,
    /// Draws each epoch's order.
    order: Option<Generator>,
    drop_last: bool,
}

impl<D: Dataset> DataLoader<D> {
    /// Batches in the dataset's order; the last one may be smaller.
    #[track_caller]
    pub fn new(dataset: D, batch_size: usize, device: &Device) -> DataLoader<D> {
        if batch_size == 0 {
            refuse!("DataLoader", "a batch of 0 samples");
        }
        DataLoader { dataset, batch_size, device: device.clone(), order: None, drop_last: false }
    }

    /// Another order each epoch, the same ones for the same seed.
    pub fn shuffle(mut self, seed: u64) -> DataLoader<D> {
        self.order = Some(Generator::new(seed));
        self
    }

    /// Leaves out a last batch that would be smaller.
    pub fn drop_last(mut self) -> DataLoader<D> {
        self.drop_last = true;
        self
    }

    /// Batches in an epoch.
    pub fn len(&self) -> usize {
        match self.drop_last {
            true => self.dataset.len() / self.batch_size,
            false => self.dataset.len().div_ceil(self.batch_size),
        }
    }

    /// Whether an epoch has no batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples it loads.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// One pass over the dataset, in the next order.
    pub fn epoch(&mut self) -> impl Iterator<Item = D::Batch> + '_ {
        let samples = self.dataset.len();
        let order = match &mut self.order {
            Some(generator) => generator.permutation(samples),
            None => (0..samples).collect(),
        };
        (0..self.len()).map(move |batch| {
            let end = samples.min((batch + 1) * self.batch_size);
            self.dataset.batch(&order[batch * self.batch_size..end], &self.device)
        })
    }
}
