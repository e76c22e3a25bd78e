//! Convolutions.

use super::linear::value;
use super::summary::record_output;
use super::{Module, Visitor, init};
use crate::core::shape::{Shape, refuse};
use crate::graph::Device;
use crate::ops::conv::ConvOptions;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// Cross-correlation over one dim, [`Tensor::conv1d`] as a layer: `[batch, in, length]` to `[batch, out, windows]`.
pub type Conv1d = ConvNd<1, false>;

/// Cross-correlation over two dims, [`Tensor::conv2d`] as a layer: `[batch, in, height, width]` to `[batch, out, rows, columns]`.
/// Along each dim there are `(length + 2 padding - dilation (kernel - 1) - 1) / stride + 1` windows.
///
/// ```
/// use wgrad::nn::{Conv2d, Module};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let layer = Conv2d::new(3, 16, [3, 3], &dev).stride([2, 2]).padding([1, 1]);
/// assert_eq!(layer.forward(&Tensor::zeros([1, 3, 8, 8], &dev)).shape()[..], [1, 16, 4, 4]);
/// ```
pub type Conv2d = ConvNd<2, false>;

/// What [`Conv2d`]'s gradient does to its input, [`Tensor::conv_transpose2d`] as a layer: along each dim
/// `(length - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1` elements come out.
///
/// ```
/// use wgrad::nn::{ConvTranspose2d, Module};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let layer = ConvTranspose2d::new(16, 3, [2, 2], &dev).stride([2, 2]);
/// assert_eq!(layer.forward(&Tensor::zeros([1, 16, 4, 4], &dev)).shape()[..], [1, 3, 8, 8]);
/// ```
pub type ConvTranspose2d = ConvNd<2, true>;

/// A convolution over `N` dims: [`Conv1d`], [`Conv2d`], [`ConvTranspose2d`]. The batch may be missing.
#[derive(Clone, Debug)]
pub struct ConvNd<const N: usize, const TRANSPOSED: bool> {
    /// `[out, in / groups, kernel..]`; transposed `[in, out / groups, kernel..]`
    pub weight: Var,
    /// `[out]`
    pub bias: Option<Var>,
    /// How the kernel moves.
    pub conv: ConvOptions<N>,
}

impl<const N: usize, const TRANSPOSED: bool> ConvNd<N, TRANSPOSED> {
    /// Stride 1, no padding; weight and bias uniform in ±1/√fan, with the weight's sizes behind the first multiplied for fan
    /// (PyTorch's default).
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

    /// The same without a bias.
    pub fn without_bias(self) -> Self {
        ConvNd { bias: None, ..self }
    }

    /// Elements from one window to the next.
    pub fn stride(mut self, stride: [usize; N]) -> Self {
        self.conv.stride = stride;
        self
    }

    /// Zeros on both sides; transposed, elements to cut off there.
    pub fn padding(mut self, padding: [usize; N]) -> Self {
        self.conv.padding = padding;
        self
    }

    /// Elements from one place of a window to the next.
    pub fn dilation(mut self, dilation: [usize; N]) -> Self {
        self.conv.dilation = dilation;
        self
    }

    /// Cuts the channels into parts, each convolved by itself, and draws new weights for them.
    #[track_caller]
    pub fn groups(self, groups: usize) -> Self {
        let old = self.weight.tensor();
        let channels = [old.size(0), old.size(1) * self.conv.groups];
        if groups == 0 || channels.iter().any(|channels| !channels.is_multiple_of(groups)) {
            refuse!("groups", "{channels:?} channels, out and in, are no {groups} groups");
        }
        let shape = old.shape().with(1, channels[1] / groups);
        let conv = ConvOptions { groups, ..self.conv };
        let new = Self::drawn(shape, channels[usize::from(TRANSPOSED)], conv, old.device());
        if self.bias.is_some() { new } else { new.without_bias() }
    }
}

impl ConvTranspose2d {
    /// Further elements at the end of the output.
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
