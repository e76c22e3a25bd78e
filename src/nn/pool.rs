//! Pooling layers. 1-D pooling is 2-D pooling whose first dim has size 1.

use super::Module;
use super::summary::record_output;
use crate::tensor::Tensor;
use crate::tensor::pool::PoolOptions;

/// [`Tensor::max_pool2d`] as a layer: the maximum of each window.
///
/// ```
/// use wgrad::nn::{MaxPool2d, Module};
/// use wgrad::{Device, PoolOptions, Tensor};
/// let x = Tensor::zeros([1, 3, 8, 8], &Device::cpu());
/// assert_eq!(MaxPool2d::new([2, 2]).forward(&x).shape()[..], [1, 3, 4, 4]);
/// let overlapping = MaxPool2d(PoolOptions { stride: [1, 1], ..PoolOptions::new([2, 2]) });
/// assert_eq!(overlapping.forward(&x).shape()[..], [1, 3, 7, 7]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d(pub PoolOptions);

/// [`Tensor::avg_pool2d`] as a layer: the mean of each window.
#[derive(Clone, Copy, Debug)]
pub struct AvgPool2d(pub PoolOptions);

/// [`Tensor::adaptive_avg_pool2d`] as a layer: the mean of each of the given number of windows; `None` keeps the size
/// of a dim.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveAvgPool2d(pub [Option<usize>; 2]);

/// The maximum of each window along the last dim: `[batch, channels, length]` to `[batch, channels, windows]`.
///
/// ```
/// use wgrad::nn::{MaxPool1d, Module};
/// use wgrad::{Device, Tensor};
/// let x = Tensor::new([1.0, 4.0, 2.0, 3.0, 9.0], [1, 1, 5], &Device::cpu());
/// assert_eq!(MaxPool1d::new(2).forward(&x).to_vec::<f32>().unwrap(), [4.0, 3.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MaxPool1d {
    /// The number of elements of a window.
    pub kernel_size: usize,
    /// The distance between two windows.
    pub stride: usize,
    /// The padding on both sides. Padding is never the maximum.
    pub padding: usize,
}

/// The mean of each window along the last dim. Padding counts as zeros.
#[derive(Clone, Copy, Debug)]
pub struct AvgPool1d {
    /// The number of elements of a window.
    pub kernel_size: usize,
    /// The distance between two windows.
    pub stride: usize,
    /// The zero padding on both sides.
    pub padding: usize,
}

/// Divides the last dim into the given number of windows of nearly equal size and computes the mean of each.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveAvgPool1d(pub usize);

/// Applies a 2-D pool with a first dim of size 1 to `[batch, channels, length]`.
#[track_caller]
fn over_one(x: &Tensor, pool: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
    pool(&x.unsqueeze(-2)).squeeze(-2)
}

macro_rules! pools {
    ($($one:ident $two:ident $method:ident)*) => { $(
        impl $two {
            /// Creates a pool with windows of this height and width that do not overlap.
            pub fn new(kernel_size: [usize; 2]) -> $two {
                $two(PoolOptions::new(kernel_size))
            }
        }

        impl Module for $two {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                record_output(self, x.$method(self.0))
            }
        }

        impl $one {
            /// Creates a pool with windows of this many elements that do not overlap.
            pub fn new(kernel_size: usize) -> $one {
                $one { kernel_size, stride: kernel_size, padding: 0 }
            }
        }

        impl Module for $one {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                let windows = PoolOptions {
                    stride: [1, self.stride],
                    padding: [0, self.padding],
                    ..PoolOptions::new([1, self.kernel_size])
                };
                record_output(self, over_one(x, |x| x.$method(windows)))
            }
        }
    )* };
}
pools! {
    MaxPool1d MaxPool2d max_pool2d
    AvgPool1d AvgPool2d avg_pool2d
}

impl Module for AdaptiveAvgPool2d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        record_output(self, x.adaptive_avg_pool2d(self.0))
    }
}

impl Module for AdaptiveAvgPool1d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        record_output(self, over_one(x, |x| x.adaptive_avg_pool2d([None, Some(self.0)])))
    }
}
