//! Convolutions over one and two dims. One dim is two, of which the first has size 1.

use smallvec::SmallVec;

use super::{Tensor, check_operands};
use crate::core::shape::refuse;
use crate::graph::Accepts;
use crate::ops::conv::{ConvTranspose, Convolution};

/// How a convolution moves over its input, for each spatial dim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv<const N: usize> {
    /// Elements from one window to the next.
    pub stride: [usize; N],
    /// Zeros on both sides.
    pub padding: [usize; N],
    /// Elements from one place of the window to the next.
    pub dilation: [usize; N],
    /// Parts into which the channels are cut, each convolved by itself.
    pub groups: usize,
    /// Only transposed: further elements at the end of the output.
    pub output_padding: [usize; N],
}

impl<const N: usize> Default for Conv<N> {
    /// Stride 1, no padding, dilation 1, one group.
    fn default() -> Conv<N> {
        Conv { stride: [1; N], padding: [0; N], dilation: [1; N], groups: 1, output_padding: [0; N] }
    }
}

impl<const N: usize> Conv<N> {
    /// The same over two dims.
    fn over_images(&self) -> Conv<2> {
        let two = |of: [usize; N], first: usize| [if N == 1 { first } else { of[0] }, of[N - 1]];
        Conv {
            stride: two(self.stride, 1),
            padding: two(self.padding, 0),
            dilation: two(self.dilation, 1),
            groups: self.groups,
            output_padding: two(self.output_padding, 0),
        }
    }
}

impl Tensor {
    /// Cross-correlation over one dim: `self` `[batch, in, length]` (or without batch), `weight`
    /// `[out, in / groups, size]`, `bias` `[out]`; the result is `[batch, out, windows]`.
    #[track_caller]
    pub fn conv1d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: Conv<1>) -> Tensor {
        self.convolve("conv1d", weight, bias, &conv)
    }

    /// Cross-correlation over two dims: `self` `[batch, in, height, width]` (or without batch), `weight`
    /// `[out, in / groups, height, width]`, `bias` `[out]`.
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: Conv<2>) -> Tensor {
        self.convolve("conv2d", weight, bias, &conv)
    }

    /// What [`conv2d`](Tensor::conv2d)'s gradient does to its input: each element is spread over a window. `weight` is
    /// `[in, out / groups, height, width]`.
    #[track_caller]
    pub fn conv_transpose2d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: Conv<2>) -> Tensor {
        self.convolve_transposed("conv_transpose2d", weight, bias, &conv)
    }

    #[track_caller]
    fn convolve<const N: usize>(
        &self,
        op: &str,
        weight: &Tensor,
        bias: Option<&Tensor>,
        conv: &Conv<N>,
    ) -> Tensor {
        if self.rank() == N + 1 {
            return self.unsqueeze(0).convolve(op, weight, bias, conv).squeeze(0);
        }
        self.check_conv(op, weight, bias, conv, 1, 0);
        let mut size = [1; 2];
        for dim in 0..N {
            let (length, window) = (self.shape()[2 + dim], weight.shape()[2 + dim]);
            let Some(room) =
                (length + 2 * conv.padding[dim]).checked_sub(conv.dilation[dim] * (window - 1) + 1)
            else {
                refuse!(
                    op,
                    "the window {} does not fit into {} (padded by {:?})",
                    weight.spec(),
                    self.spec(),
                    conv.padding
                );
            };
            size[2 - N + dim] = room / conv.stride[dim] + 1;
        }
        self.over_images::<N>(weight, bias, |inputs| {
            Tensor::fused(Convolution { conv: conv.over_images(), size }, inputs)
        })
    }

    #[track_caller]
    fn convolve_transposed<const N: usize>(
        &self,
        op: &str,
        weight: &Tensor,
        bias: Option<&Tensor>,
        conv: &Conv<N>,
    ) -> Tensor {
        if self.rank() == N + 1 {
            return self.unsqueeze(0).convolve_transposed(op, weight, bias, conv).squeeze(0);
        }
        self.check_conv(op, weight, bias, conv, 0, 1);
        let mut size = [1; 2];
        for dim in 0..N {
            let (stride, extra) = (conv.stride[dim], conv.output_padding[dim]);
            if extra >= stride.max(conv.dilation[dim]) {
                refuse!(
                    op,
                    "output_padding {:?} must be smaller than stride or dilation",
                    conv.output_padding
                );
            }
            let reach = conv.dilation[dim] * (weight.shape()[2 + dim] - 1);
            let whole = self.shape()[2 + dim] * stride + 1 + reach + extra;
            let cut = stride + 2 * conv.padding[dim];
            let Some(total) = whole.checked_sub(cut).filter(|&total| total > 0) else {
                refuse!(op, "a padding of {:?} leaves nothing of {}", conv.padding, self.spec());
            };
            size[2 - N + dim] = total;
        }
        self.over_images::<N>(weight, bias, |inputs| {
            Tensor::fused(ConvTranspose { conv: conv.over_images(), size }, inputs)
        })
    }

    /// `fused` of input, weight and maybe bias, the first two with two spatial dims.
    #[track_caller]
    fn over_images<const N: usize>(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        fused: impl FnOnce(&[&Tensor]) -> Vec<Tensor>,
    ) -> Tensor {
        let images = [self, weight].map(|x| if N == 1 { x.unsqueeze(2) } else { x.clone() });
        let inputs: Vec<&Tensor> = images.iter().chain(bias).collect();
        let result = fused(&inputs).remove(0);
        if N == 1 { result.squeeze(2) } else { result }
    }

    /// `input` and `output` are the dims of `weight` that hold them (one of them divided by groups).
    #[track_caller]
    fn check_conv<const N: usize>(
        &self,
        op: &str,
        weight: &Tensor,
        bias: Option<&Tensor>,
        conv: &Conv<N>,
        input: usize,
        output: usize,
    ) {
        let operands: SmallVec<[&Tensor; 3]> = [self, weight].into_iter().chain(bias).collect();
        check_operands(op, Accepts::Float, &operands);
        let (x, w, groups) = (self.spec(), weight.spec(), conv.groups);
        if self.rank() != N + 2 || weight.rank() != N + 2 {
            refuse!(
                op,
                "wants {} dims, or {} without a batch, and a weight of {}: {x} and {w}",
                N + 2,
                N + 1,
                N + 2
            );
        }
        if conv.stride.contains(&0)
            || conv.dilation.contains(&0)
            || groups == 0
            || weight.shape()[2..].contains(&0)
        {
            refuse!(
                op,
                "stride {:?}, dilation {:?}, groups {groups} and the window of {w} must be at least 1",
                conv.stride,
                conv.dilation
            );
        }
        let channels = if input == 1 { weight.shape()[1] * groups } else { weight.shape()[0] };
        let whole = weight.shape()[0].is_multiple_of(groups);
        if self.shape()[1] != channels || !whole {
            refuse!(op, "the weight {w} does not fit the channels of {x} in {groups} groups");
        }
        let out = if output == 0 { weight.shape()[0] } else { weight.shape()[1] * groups };
        if let Some(bias) = bias
            && bias.shape()[..] != [out]
        {
            refuse!(op, "the bias {} does not fit the weight {w}: {out} channels come out", bias.spec());
        }
    }
}
