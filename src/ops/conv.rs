//! Convolutions and transposed convolutions without a materialized matrix of windows.
//!
//! [`Convolution`], its input gradient and [`ConvWeight`] are three operations that are linear in both operands. The
//! gradients of each operation are the other two operations, so the kernels cover gradients of any order. Each
//! operation stores the height and width of its result.

use smallvec::SmallVec;

use super::conv_weight::ConvWeight;
use super::{Buffer, Fused, Io, Launch, Word};
use crate::core::limits::{AdapterKind, Limits};
use crate::core::shape::{Shape, ShapeError, Spec, refuse};
use crate::graph::{Accepts, Move, ShaderSource};
use crate::tensor::{Tensor, check_operands};

/// The options of a convolution, for each spatial dim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvOptions<const N: usize> {
    /// The distance between two windows.
    pub stride: [usize; N],
    /// Zero padding on both sides.
    pub padding: [usize; N],
    /// The distance between two elements of a window.
    pub dilation: [usize; N],
    /// The number of groups into which the channels are divided. Each group is convolved separately.
    pub groups: usize,
    /// Transposed convolution only: additional elements at the end of the output.
    pub output_padding: [usize; N],
}

impl<const N: usize> Default for ConvOptions<N> {
    /// Stride 1, no padding, dilation 1, one group, no output padding.
    fn default() -> ConvOptions<N> {
        ConvOptions { stride: [1; N], padding: [0; N], dilation: [1; N], groups: 1, output_padding: [0; N] }
    }
}

impl<const N: usize> ConvOptions<N> {
    /// Converts the options to two dims.
    fn over_images(&self) -> ConvOptions<2> {
        let two = |of: [usize; N], first: usize| [if N == 1 { first } else { of[0] }, of[N - 1]];
        ConvOptions {
            stride: two(self.stride, 1),
            padding: two(self.padding, 0),
            dilation: two(self.dilation, 1),
            groups: self.groups,
            output_padding: two(self.output_padding, 0),
        }
    }
}

impl Tensor {
    /// 1-D convolution (cross-correlation): `self` is `[batch, in, length]` or `[in, length]`, `weight` is
    /// `[out, in / groups, size]`, `bias` is `[out]`. The result is `[batch, out, windows]`.
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if the ranks, channels or bias do not fit, if stride, dilation, groups or the
    /// window is 0, if the window does not fit into the padded input, or if the tensors are on different devices.
    #[track_caller]
    pub fn conv1d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: ConvOptions<1>) -> Tensor {
        self.convolve("conv1d", weight, bias, &conv)
    }

    /// 2-D convolution (cross-correlation): `self` is `[batch, in, height, width]` or `[in, height, width]`, `weight`
    /// is `[out, in / groups, height, width]`, `bias` is `[out]`.
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if the ranks, channels or bias do not fit, if stride, dilation, groups or the
    /// window is 0, if the window does not fit into the padded input, or if the tensors are on different devices.
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: ConvOptions<2>) -> Tensor {
        self.convolve("conv2d", weight, bias, &conv)
    }

    /// 2-D transposed convolution: the gradient of [`conv2d`](Tensor::conv2d) with respect to its input. `weight` is
    /// `[in, out / groups, height, width]`.
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if the ranks, channels or bias do not fit, if stride, dilation, groups or the
    /// window is 0, if `output_padding` is not smaller than stride or dilation, if the padding leaves no output, or if
    /// the tensors are on different devices.
    #[track_caller]
    pub fn conv_transpose2d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: ConvOptions<2>) -> Tensor {
        self.convolve_transposed("conv_transpose2d", weight, bias, &conv)
    }

    #[track_caller]
    fn convolve<const N: usize>(
        &self,
        op: &str,
        weight: &Tensor,
        bias: Option<&Tensor>,
        conv: &ConvOptions<N>,
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
        conv: &ConvOptions<N>,
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
                refuse!(op, "the padding {:?} leaves no output for {}", conv.padding, self.spec());
            };
            size[2 - N + dim] = total;
        }
        self.over_images::<N>(weight, bias, |inputs| {
            Tensor::fused(ConvTranspose { conv: conv.over_images(), size }, inputs)
        })
    }

    /// Checks the operands, extends input and weight to two spatial dims, and applies `fused` to input, weight and
    /// optional bias.
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

    /// Checks the operands. `input` and `output` are the dims of `weight` with the input and output channels (one of
    /// these dims is divided by the number of groups).
    #[track_caller]
    fn check_conv<const N: usize>(
        &self,
        op: &str,
        weight: &Tensor,
        bias: Option<&Tensor>,
        conv: &ConvOptions<N>,
        input: usize,
        output: usize,
    ) {
        let operands: SmallVec<[&Tensor; 3]> = [self, weight].into_iter().chain(bias).collect();
        check_operands(op, Accepts::Float, &operands);
        let (x, w, groups) = (self.spec(), weight.spec(), conv.groups);
        if self.rank() != N + 2 || weight.rank() != N + 2 {
            refuse!(
                op,
                "expects rank {}, or {} without a batch, and a weight of rank {}, got {x} and {w}",
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
                "stride {:?}, dilation {:?}, groups {groups} and the window of {w} must be >= 1",
                conv.stride,
                conv.dilation
            );
        }
        let channels = if input == 1 { weight.shape()[1] * groups } else { weight.shape()[0] };
        let whole = weight.shape()[0].is_multiple_of(groups);
        if self.shape()[1] != channels || !whole {
            refuse!(op, "the weight {w} does not fit the channels of {x} with {groups} groups");
        }
        let out = if output == 0 { weight.shape()[0] } else { weight.shape()[1] * groups };
        if let Some(bias) = bias
            && bias.shape()[..] != [out]
        {
            refuse!(op, "the bias {} does not fit the weight {w} with {out} output channels", bias.spec());
        }
    }
}

/// `(input [batch, in, height, width], weight [out, in / groups, window..]) -> [batch, out, size..]`, with an optional
/// third input, the bias `[out]`.
#[derive(Debug)]
pub(crate) struct Convolution {
    pub conv: ConvOptions<2>,
    pub size: [usize; 2],
}

/// The gradient of [`Convolution`] with respect to its input:
/// `(input [batch, in, places..], weight [in, out / groups, window..]) -> [batch, out, size..]`, with an optional third
/// input, the bias `[out]`.
#[derive(Debug)]
pub(crate) struct ConvTranspose {
    pub conv: ConvOptions<2>,
    pub size: [usize; 2],
}

/// Returns the attributes that are part of a plan's key.
pub(super) fn attributes(conv: &ConvOptions<2>, size: [usize; 2]) -> Vec<u64> {
    let pairs = [conv.stride, conv.padding, conv.dilation, size];
    pairs.iter().flatten().chain([&conv.groups]).map(|&x| x as u64).collect()
}

/// Returns height and width.
pub(super) fn area(shape: &Shape) -> [usize; 2] {
    [shape[2], shape[3]]
}

/// Returns the windows at every output position: `[groups, batch * places, in / groups * window]`.
pub(super) fn windows(
    input: &Tensor,
    window: [usize; 2],
    places: [usize; 2],
    conv: &ConvOptions<2>,
) -> Tensor {
    let mut windows = input.clone();
    for dim in 0..2 {
        windows = windows.pad_dim(2 + dim, conv.padding[dim], conv.padding[dim]);
    }
    for dim in 0..2 {
        let at = 2 + dim as i64;
        windows = windows.unfold(at, window[dim], conv.stride[dim], conv.dilation[dim]);
        windows = windows.narrow(at, 0, places[dim]);
    }
    let (batch, groups, ins) = (input.shape()[0], conv.groups, input.shape()[1] / conv.groups);
    let split = [batch, groups, ins, places[0], places[1], window[0], window[1]];
    let rows = windows.moved(Move::Reshape(split.into())).permute([1, 0, 3, 4, 2, 5, 6]);
    let matrix = [groups, batch * places[0] * places[1], ins * window[0] * window[1]];
    rows.moved(Move::Reshape(matrix.into()))
}

/// Adds the bias `[out]` along dim 1.
fn with_bias(x: Tensor, bias: Option<&Tensor>) -> Tensor {
    match bias {
        Some(bias) => x + bias.moved(Move::Reshape([1, bias.numel(), 1, 1].into())),
        None => x,
    }
}

impl Fused for Convolution {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn attributes(&self) -> Vec<u64> {
        attributes(&self.conv, self.size)
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let shape = [inputs[0].shape[0], inputs[1].shape[0], self.size[0], self.size[1]];
        Ok(vec![Spec { shape: shape.into(), dtype: inputs[0].dtype }])
    }

    /// Computes the matrix product of the windows and the weight.
    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let (input, weight, groups) = (&inputs[0], &inputs[1], self.conv.groups);
        let (batch, outs, [height, width]) = (input.shape()[0], weight.shape()[0], self.size);
        let rows = windows(input, area(weight.shape()), self.size, &self.conv);
        let matrix = weight.moved(Move::Reshape([groups, outs / groups, rows.shape()[2]].into()));
        let split = [groups, batch, height, width, outs / groups];
        let images = rows.matmul(&matrix.t()).moved(Move::Reshape(split.into())).permute([1, 0, 4, 2, 3]);
        let images = images.moved(Move::Reshape([batch, outs, height, width].into()));
        vec![with_bias(images, inputs.get(2))]
    }

    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        let (input, weight, grad) = (&io.inputs[0], &io.inputs[1], grads[0].as_ref()?);
        let back = ConvTranspose { conv: self.conv, size: area(input.shape()) };
        let by_weight = ConvWeight { conv: self.conv, size: area(weight.shape()) };
        let input_grad = Tensor::fused(back, &[grad, weight]);
        let weight_and_bias = Tensor::fused(by_weight, &[input, grad]);
        let all = input_grad.into_iter().chain(weight_and_bias).take(io.inputs.len());
        Some(all.map(Some).collect())
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        gather(&self.conv, false, io, limits)
    }
}

impl Fused for ConvTranspose {
    fn name(&self) -> &'static str {
        "conv_transpose"
    }

    fn attributes(&self) -> Vec<u64> {
        attributes(&self.conv, self.size)
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let channels = inputs[1].shape[1] * self.conv.groups;
        let shape = [inputs[0].shape[0], channels, self.size[0], self.size[1]];
        Ok(vec![Spec { shape: shape.into(), dtype: inputs[0].dtype }])
    }

    /// Inserts `stride - 1` zeros between elements, pads by the window size, and convolves with the flipped window.
    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let (weight, ConvOptions { stride, padding, dilation, groups, .. }) = (&inputs[1], self.conv);
        let mut dilated = inputs[0].clone();
        for dim in 0..2 {
            let reach = dilation[dim] * (weight.shape()[2 + dim] - 1);
            let spaced = (dilated.shape()[2 + dim] - 1) * stride[dim] + 1;
            dilated = dilated.dilate(2 + dim, stride[dim]).narrow(2 + dim as i64, 0, spaced);
            let before = reach as i64 - padding[dim] as i64;
            let after = (self.size[dim] + reach) as i64 - before - spaced as i64;
            dilated = dilated.pad(if dim == 0 { [0, 0, before, after] } else { [before, after, 0, 0] });
        }
        // [in, out / groups, window..] -> [out, in / groups, window..], flipped
        let [channels, width, height, length] = [0, 1, 2, 3].map(|dim| weight.shape()[dim]);
        let ins = channels / groups;
        let split = weight.moved(Move::Reshape([groups, ins, width, height, length].into()));
        let transposed_weight =
            split.permute([0, 2, 1, 3, 4]).moved(Move::Reshape([groups * width, ins, height, length].into()));
        let conv = ConvOptions { dilation, groups, ..ConvOptions::default() };
        let inputs: Vec<Tensor> =
            [dilated, transposed_weight.flip([2, 3])].into_iter().chain(inputs.get(2).cloned()).collect();
        Convolution { conv, size: self.size }.decomposition(&inputs)
    }

    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        let (input, weight, grad) = (&io.inputs[0], &io.inputs[1], grads[0].as_ref()?);
        let back = Convolution { conv: self.conv, size: area(input.shape()) };
        let by_weight = ConvWeight { conv: self.conv, size: area(weight.shape()) };
        let input_grad = Tensor::fused(back, &[grad, weight]).remove(0);
        let weight_grad = Tensor::fused(by_weight, &[grad, input]).remove(0);
        let bias_grad = (io.inputs.len() == 3).then(|| grad.sum_dim([0, 2, 3], false));
        Some([input_grad, weight_grad].into_iter().chain(bias_grad).map(Some).collect())
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        gather(&self.conv, true, io, limits)
    }
}

/// Returns the number of output channels per invocation: the group's channels divided evenly, within a maximum set by
/// the number of registers. The maximum is larger on a CPU adapter, where keeping results in memory is cheaper than
/// loading an operand twice.
pub(super) fn channels(outs: usize, limits: &Limits) -> usize {
    let most = if limits.kind == AdapterKind::Software { 16 } else { 8 };
    outs.div_ceil(outs.div_ceil(most))
}

/// Maximum number of unrolled multiplications in a kernel, which bounds the compile time.
const WRITTEN_OUT: usize = 800;

/// Returns the largest divisor of `n` that is at most `most`.
pub(super) fn divisor(n: usize, most: usize) -> usize {
    (1..=most).rev().find(|&divisor| n.is_multiple_of(divisor)).expect("1 is a divisor")
}

/// Selects from `choices` the number of adjacent outputs in a row of `width` that an invocation computes. The cost of a
/// segment is its length plus the reads at its ends, which are not shared with other outputs.
pub(super) fn neighbours(width: usize, choices: &[usize]) -> usize {
    let cost = |count: &&usize| width.div_ceil(**count) * (*count + 4);
    *choices.iter().min_by_key(cost).expect("choices is not empty")
}

/// Returns the distance in taps and the distance in outputs between two reads of the same input element. Adjacent
/// outputs are `step` elements apart, and adjacent taps are `reach` elements apart.
pub(super) fn read_again(step: usize, reach: usize) -> [usize; 2] {
    let common = gcd(step, reach);
    [step / common, reach / common]
}

/// Returns the workgroup size in invocations. On a CPU adapter, a workgroup is one subgroup.
pub(super) fn group(limits: &Limits) -> usize {
    if limits.kind == AdapterKind::Software { 8 } else { 64 }
}

/// Whether the invocations of a workgroup (one subgroup) share their loads. They do on a CPU adapter, where a load
/// costs as much as tens of multiplications.
pub(super) fn shares(limits: &Limits) -> bool {
    limits.kind == AdapterKind::Software && limits.subgroup == Some((8, 8))
}

/// The hooks of the variant with shared loads.
pub(super) const SUBGROUPS: &str = include_str!("../../shaders/conv_subgroups.wgsl");

/// Converts a size or a step to a uniform word, or returns `None` if it does not fit into i32, the type in the kernels.
pub(super) fn word(x: i64) -> Option<Word> {
    i32::try_from(x).ok().map(|x| Word::Size(x as u32))
}

/// Returns the launch of a convolution or, if `transposed`, of a transposed convolution. Both use the same shader. `io`
/// is input, weight, optional bias, output.
fn gather(conv: &ConvOptions<2>, transposed: bool, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
    let (input, weight, output) = (&io[0].shape, &io[1].shape, &io[io.len() - 1].shape);
    let ConvOptions { stride, padding, dilation, groups, .. } = *conv;
    let (ins, outs, window) = (input[1] / groups, output[1] / groups, area(weight));
    let (up, down) = if transposed { ([1, 1], stride) } else { (stride, [1, 1]) };
    let reach = [0, 1].map(|d| dilation[d] * (window[d] - 1));
    let before = [0, 1].map(|d| match transposed {
        true => reach[d] as i64 - padding[d] as i64,
        false => padding[d] as i64,
    });
    // The distance between the taps of one phase, which advances the input position by a whole number of elements.
    let every = [0, 1].map(|d| down[d] / gcd(down[d], dilation[d]));
    let step = [0, 1].map(|d| every[d] * dilation[d] / down[d]);
    let [rows, width] = [0, 1].map(|d| area(output)[d].div_ceil(down[d]));
    // The maximum number of taps of a phase in a row. Other phases may have one tap less, or no taps.
    let in_row = window[1].div_ceil(every[1]);
    let ragged = every[1] != down[1] || !window[1].is_multiple_of(every[1]);
    let choices: &[usize] = if limits.kind == AdapterKind::Software { &[16, 14, 8, 7, 4] } else { &[4] };
    let most = WRITTEN_OUT / in_row;
    let channels = channels(outs, limits).min(most / 4);
    if channels == 0 {
        return None;
    }
    let fitting = choices.iter().copied().filter(|&count| channels * count <= most);
    let neighbours = neighbours(width, &fitting.collect::<SmallVec<[usize; 5]>>());
    let tiles = [rows, width.div_ceil(neighbours)];
    let taps = window[0] * window[1];
    let (first, next) = if transposed { (taps as i64 - 1, -1) } else { (0, 1) };
    let (from_in, from_out) = if transposed { (outs * taps, taps) } else { (taps, ins * taps) };

    // Every computed index must fit into i32, including indices beyond the end of the input.
    for d in 0..2 {
        word(((area(output)[d] + 16 * down[d]) * up[d] + reach[d] + padding[d]) as i64)?;
    }
    for spec in io {
        word(spec.shape.numel() as i64)?;
    }
    let pairs = [area(input), area(output), window, up, down, dilation].map(|pair| pair.map(|x| x as i64));
    let signed = pairs.into_iter().chain([before]).flatten();
    let sizes = [every, step, tiles].into_iter().flatten().chain([input[0], groups, ins, outs]);
    let words = signed.chain(sizes.map(|x| x as i64)).chain([first, next]);
    let words = words.chain([from_in, from_out, io.len() - 3].map(|x| x as i64));

    let group = group(limits);
    let workgroups = (input[0] * tiles[0] * tiles[1]).div_ceil(group)
        * (outs.div_ceil(channels) * groups * down[0] * down[1]);
    // llvmpipe also counts the check that ends a loop, and sometimes one additional iteration.
    let loops = ins * (3 + window[0] * (3 + window[1])) + window[0] + window[1] + 6;
    let [back, shift] = read_again(up[1], step[1]);
    let constants = [
        ("CHANNELS", channels),
        ("NEIGHBOURS", neighbours),
        ("TAPS", in_row),
        ("BACK", back),
        ("SHIFT", shift),
    ];
    let source =
        ShaderSource::new(include_str!("../../shaders/conv.wgsl")).constants("constants", &constants);
    let launch = Launch::from_source(if shares(limits) { source.variant(SUBGROUPS) } else { source })
        .trusted()
        .constant("GROUP", group as u32)
        .constant("RAGGED", ragged.into())
        // Without a bias, the last input is bound twice, and the kernel does not read the second binding.
        .buffers([Buffer::Input(0), Buffer::Input(1), Buffer::Input(io.len() - 2), Buffer::Output(0)])
        .uniforms(words.map(word).collect::<Option<Vec<Word>>>()?)
        .workgroups(u32::try_from(workgroups).ok()?)
        .work(2 * (output.numel() * ins * taps / (down[0] * down[1])) as u64);
    (loops < limits.loop_iterations as usize).then(|| vec![launch])
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Returns test cases with various options, and with sizes that are not multiples of a tile: the convolution, and the
/// shapes of input, weight and output.
#[cfg(test)]
pub(super) fn cases() -> Vec<(ConvOptions<2>, [[usize; 4]; 3])> {
    let plain = ConvOptions::<2>::default();
    let case = |conv: ConvOptions<2>, batch, channels: [usize; 2], size: [usize; 2], window: [usize; 2]| {
        let places = [0, 1].map(|d| {
            (size[d] + 2 * conv.padding[d] - conv.dilation[d] * (window[d] - 1) - 1) / conv.stride[d] + 1
        });
        let [ins, outs] = channels;
        let weight = [outs, ins / conv.groups, window[0], window[1]];
        (conv, [[batch, ins, size[0], size[1]], weight, [batch, outs, places[0], places[1]]])
    };
    vec![
        case(plain, 1, [1, 1], [1, 1], [1, 1]),
        case(plain, 2, [3, 5], [5, 7], [1, 1]),
        case(ConvOptions { padding: [1, 1], ..plain }, 3, [2, 19], [7, 13], [3, 3]),
        case(ConvOptions { padding: [0, 2], ..plain }, 2, [1, 33], [1, 29], [1, 5]),
        case(ConvOptions { stride: [2, 3], padding: [1, 2], ..plain }, 2, [3, 4], [9, 11], [3, 5]),
        case(ConvOptions { stride: [3, 2], ..plain }, 1, [2, 2], [8, 9], [2, 1]),
        case(ConvOptions { dilation: [2, 3], padding: [3, 1], ..plain }, 2, [2, 3], [6, 11], [3, 3]),
        case(
            ConvOptions { stride: [2, 4], dilation: [3, 2], padding: [4, 5], ..plain },
            1,
            [2, 8],
            [7, 10],
            [3, 4],
        ),
        case(ConvOptions { stride: [2, 2], dilation: [2, 2], ..plain }, 1, [1, 2], [9, 9], [2, 2]),
        case(ConvOptions { groups: 2, padding: [1, 0], ..plain }, 2, [6, 4], [5, 6], [3, 2]),
        case(ConvOptions { groups: 9, padding: [1, 1], ..plain }, 2, [9, 9], [6, 6], [3, 3]),
        case(ConvOptions { groups: 3, stride: [2, 1], ..plain }, 1, [3, 51], [5, 5], [2, 2]),
    ]
}

/// The tolerance for sums of up to 300 products of magnitude 0.3: up to 300 rounding errors of 6e-8, relative to a sum
/// of a few units.
#[cfg(test)]
pub(super) const TOLERANCE: super::Tolerance = super::Tolerance { atol: 2e-5, rtol: 1e-5 };

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    use super::{Draw, Sample};

    let draw = |shape: &[usize]| Draw::Floats(shape.into(), -1.0..1.0);
    let sample = |op: std::sync::Arc<dyn Fused>, inputs: &[&[usize]]| Sample {
        op,
        inputs: inputs.iter().map(|shape| draw(shape)).collect(),
        tolerance: TOLERANCE,
    };
    let all = |(conv, [input, weight, output]): (ConvOptions<2>, [[usize; 4]; 3])| {
        let forth = || std::sync::Arc::new(Convolution { conv, size: [output[2], output[3]] });
        let back = || std::sync::Arc::new(ConvTranspose { conv, size: [input[2], input[3]] });
        [
            sample(forth(), &[&input, &weight]),
            sample(forth(), &[&input, &weight, &output[1..2]]),
            sample(back(), &[&output, &weight]),
            sample(back(), &[&output, &weight, &input[1..2]]),
        ]
    };
    // The number of loop iterations is near llvmpipe's limit. 28,000 products of magnitude 0.3 add up to about 60, with
    // rounding errors of about 1e-4. A loop that ends early would miss at least one product.
    let long = Sample {
        op: std::sync::Arc::new(Convolution {
            conv: ConvOptions { padding: [1, 1], ..ConvOptions::default() },
            size: [1, 2],
        }),
        inputs: vec![draw(&[1, 3100, 1, 2]), draw(&[1, 3100, 3, 3])],
        tolerance: super::Tolerance { atol: 1e-3, rtol: 1e-5 },
    };
    cases().into_iter().flat_map(all).chain([long]).collect()
}
