//! The gradient of a convolution with respect to its weight: a reduction over images and positions, which is split into
//! chunks. The partial sums of the chunks are added in order.

use smallvec::SmallVec;

use super::conv::{
    ConvOptions, ConvTranspose, Convolution, SUBGROUPS, area, attributes, channels, divisor, group,
    neighbours, read_again, shares, windows, word,
};
use super::{Buffer, Fused, Io, Launch, Word};
use crate::core::limits::{AdapterKind, Limits};
use crate::core::shape::{ShapeError, Spec};
use crate::graph::{Move, ShaderSource};
use crate::tensor::Tensor;

/// Maximum number of chunks, whose partial sums are added sequentially.
const MOST_CHUNKS: usize = 512;

/// The gradient of [`Convolution`] with respect to its weight and bias:
/// `(input [batch, in, height, width], gradient [batch, out, places..])` to
/// `(weight [out, in / groups, size..], bias [out])`. The additional cost of the bias gradient is negligible.
#[derive(Debug)]
pub(crate) struct ConvWeight {
    pub conv: ConvOptions<2>,
    pub size: [usize; 2],
}

impl Fused for ConvWeight {
    fn name(&self) -> &'static str {
        "conv_weight"
    }

    fn attributes(&self) -> Vec<u64> {
        attributes(&self.conv, self.size)
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let (input, grad) = (&inputs[0], &inputs[1]);
        let shape = [grad.shape[1], input.shape[1] / self.conv.groups, self.size[0], self.size[1]];
        let spec = |shape| Spec { shape, dtype: input.dtype };
        Ok(vec![spec(shape.into()), spec([grad.shape[1]].into())])
    }

    /// Computes the matrix product of the gradient and the windows, and the sum of the gradient.
    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let (input, grad, groups) = (&inputs[0], &inputs[1], self.conv.groups);
        let ([batch, outs], places) = ([0, 1].map(|dim| grad.shape()[dim]), area(grad.shape()));
        let rows = windows(input, self.size, places, &self.conv);
        let split = grad.moved(Move::Reshape([batch, groups, outs / groups, places[0] * places[1]].into()));
        let columns = split.permute([1, 2, 0, 3]);
        let matrix = [groups, outs / groups, rows.shape()[1]];
        let product = columns.moved(Move::Reshape(matrix.into())).matmul(&rows);
        let weight = [outs, input.shape()[1] / groups, self.size[0], self.size[1]];
        vec![product.moved(Move::Reshape(weight.into())), grad.sum_dim([0, 2, 3], false)]
    }

    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        let (input, images) = (&io.inputs[0], &io.inputs[1]);
        let mut input_grad = None;
        let mut images_grad = grads[1].as_ref().map(|grad| {
            let column = grad.moved(Move::Reshape([1, grad.numel(), 1, 1].into()));
            column.broadcast_to(images.shape())
        });
        if let Some(grad) = &grads[0] {
            let back = ConvTranspose { conv: self.conv, size: area(input.shape()) };
            let forth = Convolution { conv: self.conv, size: area(images.shape()) };
            input_grad = Some(Tensor::fused(back, &[images, grad]).remove(0));
            let by_weight = Tensor::fused(forth, &[input, grad]).remove(0);
            images_grad = Some(match images_grad {
                Some(by_bias) => by_weight + by_bias,
                None => by_weight,
            });
        }
        Some(vec![input_grad, images_grad])
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let (input, grad, weight) = (&io[0].shape, &io[1].shape, &io[2].shape);
        let ConvOptions { stride, padding, dilation, groups, .. } = self.conv;
        let (batch, ins, outs, places) = (input[0], input[1] / groups, grad[1] / groups, area(grad));
        let (channels, group) = (channels(outs, limits), group(limits));
        let is_software = limits.kind == AdapterKind::Software;
        // The taps, rows of taps and planes that an invocation accumulates for each of its channels. Their numbers
        // divide the sizes evenly.
        let most = if is_software { 9 } else { 4 };
        let taps = divisor(self.size[1], most);
        let tap_rows = divisor(self.size[0], most / taps);
        let planes = divisor(ins, most / taps / tap_rows);
        let columns = ins / planes * (self.size[0] / tap_rows) * (self.size[1] / taps);
        let shares = shares(limits) && columns >= group / 2;
        let columns = if shares { columns.next_multiple_of(group) } else { columns };
        let choices: &[usize] = if is_software { &[7, 4, 2, 1] } else { &[4, 2, 1] };
        let fitting = choices.iter().copied().filter(|&count| count <= places[1]);
        let run = neighbours(places[1], &fitting.collect::<SmallVec<[usize; 4]>>());

        // The number of chunks is large enough to occupy the device, and to keep each loop below the maximum number of
        // iterations (the end of a loop counts too).
        let tiles = columns * outs.div_ceil(channels) * groups;
        let busy: usize = if is_software { 512 } else { 1 << 17 };
        let longest = (limits.loop_iterations as usize - 2) / (places[1].div_ceil(run) + 3);
        let rows = batch * places[0];
        let part = rows.div_ceil(busy.div_ceil(tiles).min(MOST_CHUNKS)).min(longest);
        let chunks = (part > 0).then(|| rows.div_ceil(part))?;

        for d in 0..2 {
            word(
                (input[2 + d] + (places[d] + 1) * stride[d] + self.size[d] * dilation[d] + padding[d]) as i64,
            )?;
        }
        for size in [input.numel(), grad.numel(), chunks * weight.numel()] {
            word(size as i64)?;
        }
        let pairs = [area(input), places, self.size, stride, padding, dilation];
        let words = pairs.into_iter().flatten().chain([batch, groups, ins, outs, columns, chunks, part]);
        let sizes = [weight.numel(), grad[1]];
        let outputs = [Buffer::Output(0), Buffer::Output(1)];
        let scratch = [0, 1].map(|index| Buffer::Scratch { index, bytes: 4 * chunks * sizes[index] });
        let written = if chunks == 1 { outputs } else { scratch };
        let [back, shift] = read_again(stride[1], dilation[1]);
        let constants = [
            ("CHANNELS", channels),
            ("PLANES", planes),
            ("ROWS", tap_rows),
            ("TAPS", taps),
            ("PLACES", run),
            ("BACK", back),
            ("SHIFT", shift),
        ];
        let source = ShaderSource::new(include_str!("../../shaders/conv_weight.wgsl"));
        let source = source.constants("constants", &constants);
        let shared = include_str!("../../shaders/conv_weight_subgroups.wgsl");
        let source = if shares { source.variant(SUBGROUPS).variant(shared) } else { source };
        let parts = Launch::from_source(source)
            .trusted()
            .constant("GROUP", group as u32)
            .buffers([Buffer::Input(0), Buffer::Input(1)].into_iter().chain(written))
            .uniforms(words.map(|x| word(x as i64)).collect::<Option<Vec<Word>>>()?)
            .workgroups(u32::try_from((tiles * chunks).div_ceil(group)).ok()?)
            .work(2 * (grad.numel() * ins * self.size[0] * self.size[1]) as u64);
        let sum = Launch::new(include_str!("../../shaders/conv_weight_sum.wgsl"))
            .trusted()
            .constant("GROUP", group as u32)
            .buffers(scratch.into_iter().chain(outputs))
            .uniforms(sizes.into_iter().chain([chunks]).map(|size| Word::Size(size as u32)))
            .workgroups(sizes[0].max(sizes[1]).div_ceil(group) as u32)
            .work((chunks * sizes[0]) as u64);
        let fits = 4 * chunks * sizes[0] <= limits.binding_bytes as usize;
        fits.then(|| if chunks == 1 { vec![parts] } else { vec![parts, sum] })
    }
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    use super::conv::{TOLERANCE, cases};
    use super::{Draw, Sample};

    let sample = |(conv, [input, weight, output]): (ConvOptions<2>, [[usize; 4]; 3])| Sample {
        op: std::sync::Arc::new(ConvWeight { conv, size: [weight[2], weight[3]] }),
        inputs: [input, output].map(|shape| Draw::Floats(shape[..].into(), -1.0..1.0)).to_vec(),
        tolerance: TOLERANCE,
    };
    cases().into_iter().map(sample).collect()
}
