//! Arrays of samples.

use super::Dataset;
use crate::core::dtype::Element;
use crate::core::shape::{Dims, Shape, refuse};
use crate::graph::Device;
use crate::tensor::Tensor;

/// Samples with the same shape in one host array. The first dim counts the samples.
#[derive(Clone, Debug)]
pub struct Column<T> {
    data: Vec<T>,
    shape: Shape,
}

impl<T: Element> Column<T> {
    /// Creates a column of samples with shape `sample`. `data` holds one sample after another.
    ///
    /// # Panics
    ///
    /// Panics if a sample has no elements, or if `data.len()` is not a multiple of the number of elements of a sample.
    #[track_caller]
    pub fn new(data: Vec<T>, sample: impl Into<Dims>) -> Column<T> {
        let shape = sample.into().sizes("column");
        if shape.numel() == 0 || !data.len().is_multiple_of(shape.numel()) {
            refuse!("column", "{} elements are not a multiple of the sample shape {shape}", data.len());
        }
        Column { data, shape }
    }

    /// Returns the number of samples.
    pub fn len(&self) -> usize {
        self.data.len() / self.shape.numel()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Returns the elements, one sample after another.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// Returns the samples with these indices as a tensor `[samples, ..]`.
    ///
    /// # Panics
    ///
    /// Panics if an index is out of range.
    #[track_caller]
    pub fn batch(&self, samples: &[usize], device: &Device) -> Tensor {
        let size = self.shape.numel();
        let data: Vec<T> =
            samples.iter().flat_map(|&i| &self.data[i * size..(i + 1) * size]).copied().collect();
        let shape: Shape = [samples.len()].into_iter().chain(self.shape.iter().copied()).collect();
        Tensor::new(data, shape, device)
    }
}

impl<T: Element + Send + Sync> Dataset for Column<T> {
    type Batch = Tensor;

    fn len(&self) -> usize {
        Column::len(self)
    }

    fn batch(&self, samples: &[usize], device: &Device) -> Tensor {
        Column::batch(self, samples, device)
    }
}
