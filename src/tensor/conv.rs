//! Convolutions, as matrix products over windows: a window is a view, so only the product's operand is ever laid out.

use smallvec::SmallVec;

use super::{Tensor, check_operands};
use crate::graph::{Accepts, Move};
use crate::shape::{Shape, refuse};

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
        let (batch, channels, groups) = (self.shape()[0], self.shape()[1], conv.groups);
        let mut windows = self.clone();
        for dim in 0..N {
            windows = windows.pad_dim(2 + dim, conv.padding[dim], conv.padding[dim]);
        }
        for dim in 0..N {
            let size = weight.shape()[2 + dim];
            if windows.shape()[2 + dim] < conv.dilation[dim] * (size - 1) + 1 {
                refuse!(
                    op,
                    "the window {} does not fit into {} (padded by {:?})",
                    weight.spec(),
                    self.spec(),
                    conv.padding
                );
            }
            windows = windows.unfold(2 + dim as i64, size, conv.stride[dim], conv.dilation[dim]);
        }
        // [batch, groups, in / groups, places.., window..] -> [groups, batch * places, in / groups * window]
        let places: Shape = windows.shape()[2..2 + N].iter().copied().collect();
        let window: usize = weight.shape()[1..].iter().product();
        let grouped: Shape = [batch, groups, channels / groups]
            .into_iter()
            .chain(windows.shape()[2..].iter().copied())
            .collect();
        let order: Vec<usize> =
            [1, 0].into_iter().chain(3..3 + N).chain([2]).chain(3 + N..3 + 2 * N).collect();
        let rows = windows.moved(Move::Reshape(grouped)).permute(order);
        let rows = rows.moved(Move::Reshape([groups, batch * places.numel(), window].into()));
        let out = weight.shape()[0];
        let columns = weight.moved(Move::Reshape([groups, out / groups, window].into())).t();
        let product = rows.matmul(&columns); // [groups, batch * places, out / groups]
        let split: Shape =
            [groups, batch].into_iter().chain(places.iter().copied()).chain([out / groups]).collect();
        let back: Vec<usize> = [1, 0, 2 + N].into_iter().chain(2..2 + N).collect();
        let shape = [batch, out].into_iter().chain(places.iter().copied()).collect();
        product.moved(Move::Reshape(split)).permute(back).moved(Move::Reshape(shape)).with_bias(bias)
    }

    /// Elements apart by the stride, among zeros as wide as the window, convolved with the window reversed.
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
        let (channels, groups) = (self.shape()[1], conv.groups);
        let mut spread = self.clone();
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
            let length = self.shape()[2 + dim];
            let spaced = (length - 1) * stride + 1;
            let Some(total) =
                (spaced + reach + extra).checked_sub(2 * conv.padding[dim]).filter(|&total| total > 0)
            else {
                refuse!(op, "a padding of {:?} leaves nothing of {}", conv.padding, self.spec());
            };
            spread = spread.spread(2 + dim, stride).narrow(2 + dim as i64, 0, spaced);
            // Zeros as wide as the window on both sides, less what the padding cuts away.
            let [before, after] = [0, extra].map(|extra| (reach + extra) as i64 - conv.padding[dim] as i64);
            let pairs: Vec<i64> =
                (0..N).rev().flat_map(|d| if d == dim { [before, after] } else { [0, 0] }).collect();
            spread = spread.pad(pairs);
            debug_assert_eq!(spread.shape()[2 + dim], total + reach);
        }
        // [in, out / groups, window..] -> [out, in / groups, window..], reversed
        let width = weight.shape()[1];
        let window: Vec<usize> = weight.shape()[2..].to_vec();
        let sizes = |head: &[usize]| -> Shape { head.iter().chain(&window).copied().collect() };
        let order: Vec<usize> = [0, 2, 1].into_iter().chain(3..3 + N).collect();
        let turned = weight.moved(Move::Reshape(sizes(&[groups, channels / groups, width]))).permute(order);
        let turned = turned.moved(Move::Reshape(sizes(&[groups * width, channels / groups])));
        let turned = turned.flip((2..2 + N).collect::<Vec<usize>>());
        let plain = Conv { dilation: conv.dilation, groups, ..Conv::default() };
        spread.convolve(op, &turned, bias, &plain)
    }

    /// `[out]` along dim 1.
    #[track_caller]
    fn with_bias(self, bias: Option<&Tensor>) -> Tensor {
        let Some(bias) = bias else { return self };
        let shape: Shape = (0..self.rank()).map(|dim| if dim == 1 { bias.numel() } else { 1 }).collect();
        self + bias.moved(Move::Reshape(shape))
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
