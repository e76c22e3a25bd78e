//! Convolution layers.

use super::linear::value;
use super::summary::record_output;
use super::{Module, Visitor, init};
use crate::core::shape::{Shape, refuse};
use crate::graph::Device;
use crate::ops::conv::ConvOptions;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// 1-D convolution (cross-correlation), [`Tensor::conv1d`] as a layer: `[batch, in, length]` to
/// `[batch, out, windows]`.
pub type Conv1d = ConvNd<1, false>;

/// 2-D convolution (cross-correlation), [`Tensor::conv2d`] as a layer: `[batch, in, height, width]` to
/// `[batch, out, rows, columns]`. Each dim has `(length + 2 padding - dilation (kernel - 1) - 1) / stride + 1` windows.
///
/// ```
/// use wgrad::nn::{Conv2d, Module};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let layer = Conv2d::new(3, 16, [3, 3], &dev).stride([2, 2]).padding([1, 1]);
/// assert_eq!(layer.forward(&Tensor::zeros([1, 3, 8, 8], &dev)).shape()[..], [1, 16, 4, 4]);
/// ```
pub type Conv2d = ConvNd<2, false>;

/// 2-D transposed convolution, [`Tensor::conv_transpose2d`] as a layer: the gradient of [`Conv2d`] with respect to its
/// input. Each dim of the output has `(length - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1`
/// elements.
///
/// ```
/// use wgrad::nn::{ConvTranspose2d, Module};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let layer = ConvTranspose2d::new(16, 3, [2, 2], &dev).stride([2, 2]);
/// assert_eq!(layer.forward(&Tensor::zeros([1, 16, 4, 4], &dev)).shape()[..], [1, 3, 8, 8]);
/// ```
pub type ConvTranspose2d = ConvNd<2, true>;

/// A convolution over `N` dims: [`Conv1d`], [`Conv2d`], [`ConvTranspose2d`]. The batch dim is optional.
#[derive(Clone, Debug)]
pub struct ConvNd<const N: usize, const TRANSPOSED: bool> {
    /// `[out, in / groups, kernel..]`; transposed `[in, out / groups, kernel..]`
    pub weight: Var,
    /// `[out]`
    pub bias: Option<Var>,
    /// Stride, padding, dilation and groups.
    pub conv: ConvOptions<N>,
}

impl<const N: usize, const TRANSPOSED: bool> ConvNd<N, TRANSPOSED> {
    /// Creates a layer with stride 1 and no padding. Weight and bias are uniform in ±1/√fan, where fan is the product
    /// of the weight's sizes without the first (PyTorch's default).
    ///
    /// # Panics
    ///
    /// Panics if the weight exceeds the device's storage binding limit.
    #[track_caller]
    pub fn new(in_channels: usize, out_channels: usize, kernel_size: [usize; N], device: &Device) -> Self {
        let channels = if TRANSPOSED { [in_channels, out_channels] } else { [out_channels, in_channels] };
        Self::drawn(
            channels.into_iter().chain(kernel_size).collect(),
            out_channels,
            ConvOptions::default(),
            device,
        )
    }

    #[track_caller]
    fn drawn(weight: Shape, out: usize, conv: ConvOptions<N>, device: &Device) -> Self {
        let fan = weight[1..].iter().product();
        let (weight, bias) = (init::within(fan, weight, device), init::within(fan, [out], device));
        ConvNd { weight, bias: Some(bias), conv }
    }

    /// Removes the bias.
    pub fn without_bias(self) -> Self {
        ConvNd { bias: None, ..self }
    }

    /// Sets the distance between two windows.
    pub fn stride(mut self, stride: [usize; N]) -> Self {
        self.conv.stride = stride;
        self
    }

    /// Sets the zero padding on both sides. For a transposed convolution it is the number of elements cropped on both
    /// sides.
    pub fn padding(mut self, padding: [usize; N]) -> Self {
        self.conv.padding = padding;
        self
    }

    /// Sets the distance between two elements of a window.
    pub fn dilation(mut self, dilation: [usize; N]) -> Self {
        self.conv.dilation = dilation;
        self
    }

    /// Divides the channels into groups, each with its own convolution, and draws new weights.
    ///
    /// # Panics
    ///
    /// Panics if `groups` is 0, or if the input or output channels are not divisible by `groups`.
    #[track_caller]
    pub fn groups(self, groups: usize) -> Self {
        let old = self.weight.tensor();
        let channels = [old.size(0), old.size(1) * self.conv.groups];
        if groups == 0 || channels.iter().any(|channels| !channels.is_multiple_of(groups)) {
            refuse!("groups", "the channels {channels:?} (out and in) must be divisible by groups {groups}");
        }
        let shape = old.shape().with(1, channels[1] / groups);
        let conv = ConvOptions { groups, ..self.conv };
        let new = Self::drawn(shape, channels[usize::from(TRANSPOSED)], conv, old.device());
        if self.bias.is_some() { new } else { new.without_bias() }
    }
}

impl ConvTranspose2d {
    /// Sets the number of additional elements at the end of the output.
    pub fn output_padding(mut self, output_padding: [usize; 2]) -> Self {
        self.conv.output_padding = output_padding;
        self
    }
}

macro_rules! module {
    ($layer:ident, $method:ident) => {
        impl Module for $layer {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                record_output(self, x.$method(&self.weight.tensor(), value(&self.bias).as_ref(), self.conv))
            }

            fn visit(&self, visitor: &mut Visitor) {
                visitor.var("weight", &self.weight);
                visitor.optional("bias", &self.bias);
            }

            fn kind(&self) -> String {
                stringify!($layer).to_owned()
            }
        }
    };
}
module!(Conv1d, conv1d);
module!(Conv2d, conv2d);
module!(ConvTranspose2d, conv_transpose2d);
