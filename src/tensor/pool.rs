//! Average pooling: a reduction over windows, which are views. Max pooling has its own kernels: `ops/max_pool`.

use super::{Tensor, check_operands};
use crate::core::shape::refuse;
use crate::graph::{Accepts, Move};

/// The options of a 2-D pooling operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Height and width of a window.
    pub kernel_size: [usize; 2],
    /// The distance between the starts of two windows.
    pub stride: [usize; 2],
    /// The padding on both sides of each dim.
    pub padding: [usize; 2],
    /// The distance between two elements of a window (max pooling only).
    pub dilation: [usize; 2],
    /// Whether to add windows that reach beyond the end of the input.
    pub ceil_mode: bool,
    /// Whether the mean counts the padding (average pooling only).
    pub count_include_pad: bool,
}

impl PoolOptions {
    /// Windows that do not overlap, and PyTorch's defaults.
    pub fn new(kernel_size: [usize; 2]) -> PoolOptions {
        let (padding, dilation) = ([0, 0], [1, 1]);
        PoolOptions {
            kernel_size,
            stride: kernel_size,
            padding,
            dilation,
            ceil_mode: false,
            count_include_pad: true,
        }
    }

    /// The number of windows along a dim of size `length`, or `None` if no window fits.
    fn count(&self, dim: usize, length: usize) -> Option<usize> {
        let (stride, padding) = (self.stride[dim], self.padding[dim]);
        let reach = self.dilation[dim] * (self.kernel_size[dim] - 1) + 1;
        let room = (length + 2 * padding).checked_sub(reach)?;
        let mut count = room / stride + 1;
        // The last window must start inside the input or the padding in front of it.
        if self.ceil_mode && !room.is_multiple_of(stride) && count * stride < length + padding {
            count += 1;
        }
        Some(count)
    }

    /// The elements of each window over the last two dims as a new last dim, `[.., size.., window]`; 0 outside the
    /// input.
    pub(crate) fn windows(&self, x: &Tensor, size: [usize; 2]) -> Tensor {
        let first = x.rank() - 2;
        let after = |dim: usize| {
            let reach = self.dilation[dim] * (self.kernel_size[dim] - 1) + 1;
            let last = (size[dim] - 1) * self.stride[dim] + reach;
            last.saturating_sub(x.shape()[first + dim] + self.padding[dim])
        };
        let pads = [self.padding[1], after(1), self.padding[0], after(0)].map(|pad| pad as i64);
        let mut windows = x.pad(pads);
        for (dim, size) in size.into_iter().enumerate() {
            let at = (first + dim) as i64;
            windows = windows.unfold(at, self.kernel_size[dim], self.stride[dim], self.dilation[dim]);
            windows = windows.narrow(at, 0, size);
        }
        let window = self.kernel_size[0] * self.kernel_size[1];
        let shape = windows.shape()[..x.rank()].iter().copied().chain([window]).collect();
        windows.moved(Move::Reshape(shape))
    }
}

impl Tensor {
    /// The mean of each window over the last two dims.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32 or has fewer than three dims, if a kernel size or stride is 0, if the padding is
    /// more than half of the window, or if no window fits.
    #[track_caller]
    pub fn avg_pool2d(&self, pool: PoolOptions) -> Tensor {
        let pool = PoolOptions { dilation: [1, 1], ..pool };
        let size = self.pool_size("avg_pool2d", &pool);
        let sums = pool.windows(self, size).sum_dim(-1, false);
        let counts = |dim: usize| -> Vec<f32> {
            let length = self.size(dim as i64 - 2);
            let (padding, reach) = (pool.padding[dim], pool.kernel_size[dim]);
            let (low, high) =
                if pool.count_include_pad { (0, length + 2 * padding) } else { (padding, length + padding) };
            (0..size[dim])
                .map(|i| {
                    (i * pool.stride[dim] + reach).min(high) as f32 - (i * pool.stride[dim]).max(low) as f32
                })
                .collect()
        };
        let (rows, columns) = (counts(0), counts(1));
        let counts: Vec<f32> =
            rows.iter().flat_map(|row| columns.iter().map(move |column| row * column)).collect();
        sums / Tensor::new(counts, [rows.len(), columns.len()], self.device())
    }

    /// Divides the last two dims into `output_size` windows of nearly equal size and computes the mean of each. `None`
    /// keeps the size of a dim.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32, or if it has fewer than three dims.
    #[track_caller]
    pub fn adaptive_avg_pool2d(&self, output_size: [Option<usize>; 2]) -> Tensor {
        check_operands("adaptive_avg_pool2d", Accepts::Float, &[self]);
        if self.rank() < 3 {
            refuse!("adaptive_avg_pool2d", "expects [.., channels, height, width], got {}", self.spec());
        }
        // Window i of n covers floor(i L / n) up to ceil((i + 1) L / n). Each dim is a product with a matrix of
        // weights.
        let shares = |dim: i64, parts: Option<usize>| {
            let length = self.size(dim);
            let parts = parts.unwrap_or(length);
            let mut data = vec![0.0f32; length * parts];
            for part in 0..parts {
                let range = part * length / parts..((part + 1) * length).div_ceil(parts);
                let share = 1.0 / range.len() as f32;
                range.for_each(|i| data[i * parts + part] = share);
            }
            Tensor::new(data, [length, parts], self.device())
        };
        let columns = self.matmul(&shares(-1, output_size[1]));
        columns.transpose(-2, -1).matmul(&shares(-2, output_size[0])).transpose(-2, -1)
    }

    /// The number of windows along the last two dims.
    #[track_caller]
    pub(crate) fn pool_size(&self, op: &str, pool: &PoolOptions) -> [usize; 2] {
        check_operands(op, Accepts::Float, &[self]);
        if self.rank() < 3 {
            refuse!(op, "expects [.., channels, height, width], got {}", self.spec());
        }
        let PoolOptions { kernel_size, stride, padding, dilation, .. } = *pool;
        if kernel_size.contains(&0) || stride.contains(&0) || dilation.contains(&0) {
            refuse!(op, "kernel {kernel_size:?}, stride {stride:?} and dilation {dilation:?} must be >= 1");
        }
        if (0..2).any(|dim| 2 * padding[dim] > dilation[dim] * (kernel_size[dim] - 1) + 1) {
            refuse!(op, "the padding {padding:?} is more than half of the window {kernel_size:?}");
        }
        let first = self.rank() - 2;
        let [rows, columns] = [0, 1].map(|dim| pool.count(dim, self.shape()[first + dim]));
        let (Some(rows), Some(columns)) = (rows, columns) else {
            refuse!(
                op,
                "the window {kernel_size:?} does not fit into {} (padded by {padding:?})",
                self.spec()
            )
        };
        [rows, columns]
    }
}
