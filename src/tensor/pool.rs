//! Pooling: a reduction over windows, which are views.

use super::{Const, Tensor, check_operands};
use crate::graph::{Accepts, Move};
use crate::shape::refuse;

/// The windows of a pool over two dims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// Height and width of a window.
    pub kernel_size: [usize; 2],
    /// Elements from one window to the next.
    pub stride: [usize; 2],
    /// Places on both sides that hold nothing.
    pub padding: [usize; 2],
    /// Elements from one place of a window to the next (only max).
    pub dilation: [usize; 2],
    /// Also windows that reach over the end.
    pub ceil_mode: bool,
    /// Whether the padding counts in a mean (only average).
    pub count_include_pad: bool,
}

impl Pool2d {
    /// Windows side by side, PyTorch's defaults.
    pub fn new(kernel_size: [usize; 2]) -> Pool2d {
        let (padding, dilation) = ([0, 0], [1, 1]);
        Pool2d {
            kernel_size,
            stride: kernel_size,
            padding,
            dilation,
            ceil_mode: false,
            count_include_pad: true,
        }
    }

    /// Windows along a dim of `length`, and the places beyond the end (padding included) that the last one needs.
    fn windows(&self, dim: usize, length: usize) -> Option<(usize, usize)> {
        let (stride, padding) = (self.stride[dim], self.padding[dim]);
        let reach = self.dilation[dim] * (self.kernel_size[dim] - 1) + 1;
        let room = (length + 2 * padding).checked_sub(reach)?;
        let mut count = room / stride + 1;
        // A further window must start within the input or the padding before it.
        if self.ceil_mode && !room.is_multiple_of(stride) && count * stride < length + padding {
            count += 1;
        }
        Some((count, ((count - 1) * stride + reach).saturating_sub(length + padding)))
    }
}

impl Tensor {
    /// The largest element of each window over the last two dims. Padding never wins; of equal elements the first in
    /// row-major order gets the gradient.
    #[track_caller]
    pub fn max_pool2d(&self, pool: Pool2d) -> Tensor {
        let windows = self.pooled("max_pool2d", &pool, Some(f64::NEG_INFINITY)); // [.., places, window]
        let last = windows.rank() as i64 - 1;
        let largest = windows.amax(last, true).detach();
        // The first among equals: the least index of those that are not smaller (a NaN is not).
        let order = Tensor::iota(windows.shape().clone(), last as usize, self.device());
        let smaller = windows.lt(&largest);
        let first = smaller.where_(Const(windows.size(last) as f64), &order).amin(last, true);
        order.eq(&first).where_(&windows, Const(0.0)).sum_dim(last, false)
    }

    /// The mean of each window over the last two dims.
    #[track_caller]
    pub fn avg_pool2d(&self, pool: Pool2d) -> Tensor {
        let pool = Pool2d { dilation: [1, 1], ..pool };
        let sums = self.pooled("avg_pool2d", &pool, None).sum_dim(-1, false);
        let counts = |dim: usize| -> Vec<f32> {
            let length = self.size(dim as i64 - 2);
            let (padding, size) = (pool.padding[dim], pool.kernel_size[dim]);
            let (low, high) =
                if pool.count_include_pad { (0, length + 2 * padding) } else { (padding, length + padding) };
            let windows = pool.windows(dim, length).map_or(0, |(count, _)| count);
            (0..windows)
                .map(|i| {
                    (i * pool.stride[dim] + size).min(high) as f32 - (i * pool.stride[dim]).max(low) as f32
                })
                .collect()
        };
        let (rows, columns) = (counts(0), counts(1));
        let counts: Vec<f32> =
            rows.iter().flat_map(|row| columns.iter().map(move |column| row * column)).collect();
        sums / Tensor::new(counts, [rows.len(), columns.len()], self.device())
    }

    /// The mean of each of `output_size` parts of the last two dims, as equal as they can be; `None` keeps a size.
    #[track_caller]
    pub fn adaptive_avg_pool2d(&self, output_size: [Option<usize>; 2]) -> Tensor {
        check_operands("adaptive_avg_pool2d", Accepts::Float, &[self]);
        if self.rank() < 3 {
            refuse!("adaptive_avg_pool2d", "wants [.., channels, height, width], not {}", self.spec());
        }
        // Part i of n is what lies between floor(i L / n) and ceil((i + 1) L / n): a matrix of shares for each dim.
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

    /// The elements of each window as a last dim: `[.., rows, columns, window]`. `fill` stands where nothing is (else 0).
    #[track_caller]
    fn pooled(&self, op: &str, pool: &Pool2d, fill: Option<f64>) -> Tensor {
        check_operands(op, Accepts::Float, &[self]);
        if self.rank() < 3 {
            refuse!(op, "wants [.., channels, height, width], not {}", self.spec());
        }
        let Pool2d { kernel_size, stride, padding, dilation, .. } = *pool;
        if kernel_size.contains(&0) || stride.contains(&0) || dilation.contains(&0) {
            refuse!(
                op,
                "kernel {kernel_size:?}, stride {stride:?} and dilation {dilation:?} must be at least 1"
            );
        }
        if (0..2).any(|dim| 2 * padding[dim] > dilation[dim] * (kernel_size[dim] - 1) + 1) {
            refuse!(op, "a padding of {padding:?} is more than half the window {kernel_size:?}");
        }
        let first = self.rank() - 2;
        let fitting = [0, 1].map(|dim| pool.windows(dim, self.shape()[first + dim]));
        let [Some(rows), Some(columns)] = fitting else {
            refuse!(
                op,
                "the window {kernel_size:?} does not fit into {} (padded by {padding:?})",
                self.spec()
            )
        };
        let pads = [padding[1], columns.1, padding[0], rows.1].map(|pad| pad as i64);
        let mut windows = match fill {
            Some(fill) if pads.iter().any(|&pad| pad > 0) => self.pad_value(pads, fill),
            _ => self.pad(pads),
        };
        for (dim, count) in [rows.0, columns.0].into_iter().enumerate() {
            let at = (first + dim) as i64;
            windows = windows.unfold(at, kernel_size[dim], stride[dim], dilation[dim]).narrow(at, 0, count);
        }
        let shape =
            windows.shape()[..self.rank()].iter().copied().chain([kernel_size[0] * kernel_size[1]]).collect();
        windows.moved(Move::Reshape(shape))
    }
}
