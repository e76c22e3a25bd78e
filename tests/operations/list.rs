//! Every operation on tensors that the crate offers, once: what it takes, what it makes of that, and an example to try.
//!
//! Tests walk this list, and the table of operations in the documentation is written from it.

use wgrad::DType::{self, Bool, F32, I32, U32};
use wgrad::{CrossEntropyOptions, ConvOptions, PoolOptions, Reduction, Tensor};

pub struct Operation {
    /// As users write it.
    pub call: &'static str,
    /// What it makes of which shapes. `..` are dims that agree or broadcast.
    pub shapes: &'static str,
    /// The dtypes of its operands (conditions, masks and indices apart).
    pub dtypes: &'static [DType],
    /// Why no gradient flows from the result to the operands, where none does.
    pub constant: Option<&'static str>,
    /// Of an elementwise operation: by how many ulp (units in the last place) a GPU may miss the right result, whatever its
    /// driver. Nothing, where nothing is rounded; half an ulp for one right rounding; 2.5 for a division, 4.5 for a square root,
    /// which WGSL allows; the rest are the errors of `shaders/math.wgsl`, with whatever order a compiler gives its sums.
    pub ulps: Option<f64>,
    /// Operands of the example.
    pub operands: &'static [Operand],
    /// The example. What is no operand (an index, a mask, classes) it makes itself.
    pub apply: fn(&[Tensor]) -> Tensor,
}

/// A shape, and the range that the elements are drawn from: apart from where the operation jumps or has a kink.
pub type Operand = (&'static [usize], f64, f64);

impl Operation {
    /// The function's name: what stands before the first parenthesis, behind the last dot.
    pub fn name(&self) -> &'static str {
        let path = self.call.split('(').next().unwrap_or_default();
        path.rsplit(['.', ':']).next().unwrap_or_default()
    }

    /// Whether it makes a tensor of none.
    pub fn creates(&self) -> bool {
        self.shapes.starts_with("->")
    }

    const fn constant(self, why: &'static str) -> Operation {
        Operation { constant: Some(why), ..self }
    }

    const fn within(self, ulps: f64) -> Operation {
        Operation { ulps: Some(ulps), ..self }
    }
}

const fn op(
    call: &'static str,
    shapes: &'static str,
    dtypes: &'static [DType],
    operands: &'static [Operand],
    apply: fn(&[Tensor]) -> Tensor,
) -> Operation {
    Operation { call, shapes, dtypes, constant: None, ulps: None, operands, apply }
}

const FLOAT: &[DType] = &[F32];
const SIGNED: &[DType] = &[F32, I32];
const NUMBER: &[DType] = &[F32, I32, U32];
const LOGIC: &[DType] = &[Bool];
const ANY: &[DType] = &[F32, I32, U32, Bool];

/// A matrix, a row and a column to broadcast against it, and positive ones.
const X: Operand = (&[3, 4], -2.0, 2.0);
const ROW: Operand = (&[4], -2.0, 2.0);
const COLUMN: Operand = (&[3, 1], -2.0, 2.0);
/// So many columns that their pieces are joined by a kernel.
const MANY: Operand = (&[2, 9], -2.0, 2.0);
const POSITIVE: Operand = (&[3, 4], 0.5, 2.0);
const POSITIVE_ROW: Operand = (&[4], 0.5, 2.0);
/// A batch of two images of two channels.
const IMAGES: Operand = (&[2, 2, 5, 4], -1.0, 1.0);
const CHANNELS: Operand = (&[2], 0.5, 1.5);

const SAME: &str = "[..] -> [..]";
const PAIR: &str = "[..], [..] -> [..]";
const LOSS: &str = "[..], [..] -> [] or [..]";
const IMAGE: &str = "[.., c, h, w] -> [.., c, h', w']";

/// A mask of the shape.
fn mask(shape: &[usize], like: &Tensor) -> Tensor {
    let bits: Vec<bool> = (0..shape.iter().product()).map(|i: usize| i % 3 != 1).collect();
    Tensor::new(bits, shape, like.device())
}

/// Indices below `n` of the shape, some of them equal.
fn index(shape: &[usize], n: usize, like: &Tensor) -> Tensor {
    let places: Vec<i32> = (0..shape.iter().product()).map(|i: usize| (i * 5 / 2 % n) as i32).collect();
    Tensor::new(places, shape, like.device())
}

#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    // Creation. An example makes its tensor where its operand is.
    op("Tensor::new(data, shape, device)", "-> [..]", ANY, &[X], |x| Tensor::new([1.0, 2.0], [2, 1], x[0].device())).constant("made of the host's data"),
    op("Tensor::scalar(value, device)", "-> []", ANY, &[X], |x| Tensor::scalar(1.5, x[0].device())).constant("made of the host's data"),
    op("Tensor::full(shape, value, device)", "-> [..]", FLOAT, &[X], |x| Tensor::full([2, 3], 1.5, x[0].device())).constant("made of nothing"),
    op("Tensor::zeros(shape, device)", "-> [..]", FLOAT, &[X], |x| Tensor::zeros([2, 3], x[0].device())).constant("made of nothing"),
    op("Tensor::ones(shape, device)", "-> [..]", FLOAT, &[X], |x| Tensor::ones([2, 3], x[0].device())).constant("made of nothing"),
    op("x.zeros_like()", SAME, ANY, &[X], |x| x[0].zeros_like()).constant("made of nothing"),
    op("x.ones_like()", SAME, ANY, &[X], |x| x[0].ones_like()).constant("made of nothing"),
    op("Tensor::arange(n, device)", "-> [n]", &[I32], &[X], |x| Tensor::arange(5, x[0].device())).constant("integers"),
    op("Tensor::rand(shape, device)", "-> [..]", FLOAT, &[X], |x| drawn(|| Tensor::rand([2, 3], x[0].device()))).constant("drawn at random"),
    op("Tensor::randn(shape, device)", "-> [..]", FLOAT, &[X], |x| drawn(|| Tensor::randn([2, 3], x[0].device()))).constant("drawn at random"),

    // Elementwise: one operand.
    op("x.neg()", SAME, SIGNED, &[X], |x| x[0].neg()).within(0.0),
    op("x.abs()", SAME, SIGNED, &[X], |x| x[0].abs()).within(0.0),
    op("x.sign()", SAME, SIGNED, &[X], |x| x[0].sign()).within(0.0),
    op("x.floor()", SAME, FLOAT, &[X], |x| x[0].floor()).within(0.0),
    op("x.reciprocal()", SAME, FLOAT, &[POSITIVE], |x| x[0].reciprocal()).within(2.5),
    op("x.square()", SAME, NUMBER, &[X], |x| x[0].square()).within(0.5),
    op("x.sqrt()", SAME, FLOAT, &[POSITIVE], |x| x[0].sqrt()).within(4.5),
    op("x.rsqrt()", SAME, FLOAT, &[POSITIVE], |x| x[0].rsqrt()).within(8.0),
    op("x.exp()", SAME, FLOAT, &[X], |x| x[0].exp()).within(1.5),
    op("x.expm1()", SAME, FLOAT, &[X], |x| x[0].expm1()).within(2.0),
    op("x.log()", SAME, FLOAT, &[POSITIVE], |x| x[0].log()).within(2.0),
    op("x.log1p()", SAME, FLOAT, &[POSITIVE], |x| x[0].log1p()).within(2.0),
    op("x.sin()", SAME, FLOAT, &[X], |x| x[0].sin()).within(3.0),
    op("x.cos()", SAME, FLOAT, &[X], |x| x[0].cos()).within(3.0),
    op("x.erf()", SAME, FLOAT, &[X], |x| x[0].erf()).within(3.0),
    op("x.ndtr()", SAME, FLOAT, &[X], |x| x[0].ndtr()).within(8.0),
    op("x.logical_not()", SAME, LOGIC, &[X], |x| x[0].logical_not()).constant("bools"),
    op("x.clamp(min, max)", SAME, NUMBER, &[X], |x| x[0].clamp(1, 3)),
    op("x.clamp_min(min)", SAME, NUMBER, &[X], |x| x[0].clamp_min(1)),
    op("x.clamp_max(max)", SAME, NUMBER, &[X], |x| x[0].clamp_max(1)),
    op("x.to_dtype(dtype)", SAME, ANY, &[X], |x| x[0].to_dtype(I32)).constant("integers"),
    op("x.detach()", SAME, ANY, &[X], |x| x[0].detach()).constant("its purpose"),

    // Activations.
    op("x.relu()", SAME, FLOAT, &[X], |x| x[0].relu()).within(0.0),
    op("x.leaky_relu(negative_slope)", SAME, FLOAT, &[X], |x| x[0].leaky_relu(0.1)).within(1.5),
    op("x.elu(alpha)", SAME, FLOAT, &[X], |x| x[0].elu(1.5)).within(3.0),
    op("x.silu()", SAME, FLOAT, &[X], |x| x[0].silu()).within(6.0),
    op("x.gelu()", SAME, FLOAT, &[X], |x| x[0].gelu()).within(9.0),
    // Of the sigmoid's operand, down to -87, three roundings become the exponential's.
    op("x.gelu_tanh()", SAME, FLOAT, &[X], |x| x[0].gelu_tanh()).within(260.0),
    op("x.sigmoid()", SAME, FLOAT, &[X], |x| x[0].sigmoid()).within(4.5),
    op("x.logsigmoid()", SAME, FLOAT, &[X], |x| x[0].logsigmoid()).within(4.0),
    op("x.softplus(beta, threshold)", SAME, FLOAT, &[X], |x| x[0].softplus(2.0, 3.0)).within(4.0),
    op("x.tanh()", SAME, FLOAT, &[X], |x| x[0].tanh()).within(3.0),

    // Elementwise: two operands, which broadcast; the second may be a number.
    op("a.add(b)", PAIR, NUMBER, &[X, ROW], |x| &x[0] + &x[1]).within(0.5),
    op("a.sub(b)", PAIR, NUMBER, &[X, ROW], |x| &x[0] - &x[1]).within(0.5),
    op("a.mul(b)", PAIR, NUMBER, &[X, ROW], |x| &x[0] * &x[1]).within(0.5),
    op("a.div(b)", PAIR, FLOAT, &[X, POSITIVE_ROW], |x| &x[0] / &x[1]).within(2.5),
    op("a.powf(b)", PAIR, FLOAT, &[POSITIVE, ROW], |x| x[0].powf(&x[1])).within(4.0),
    op("x.pow(exponent)", PAIR, NUMBER, &[X], |x| x[0].pow(3)),
    op("a.maximum(b)", PAIR, NUMBER, &[X, ROW], |x| x[0].maximum(&x[1])).within(0.0),
    op("a.minimum(b)", PAIR, NUMBER, &[X, ROW], |x| x[0].minimum(&x[1])).within(0.0),
    op("a.eq(b)", PAIR, ANY, &[X, ROW], |x| x[0].eq(&x[1])).constant("a comparison"),
    op("a.ne(b)", PAIR, ANY, &[X, ROW], |x| x[0].ne(&x[1])).constant("a comparison"),
    op("a.lt(b)", PAIR, NUMBER, &[X, ROW], |x| x[0].lt(&x[1])).constant("a comparison"),
    op("a.le(b)", PAIR, NUMBER, &[X, ROW], |x| x[0].le(&x[1])).constant("a comparison"),
    op("a.gt(b)", PAIR, NUMBER, &[X, ROW], |x| x[0].gt(&x[1])).constant("a comparison"),
    op("a.ge(b)", PAIR, NUMBER, &[X, ROW], |x| x[0].ge(&x[1])).constant("a comparison"),
    op("a.logical_and(b)", PAIR, LOGIC, &[X, ROW], |x| x[0].logical_and(&x[1])).constant("bools"),
    op("a.logical_or(b)", PAIR, LOGIC, &[X, ROW], |x| x[0].logical_or(&x[1])).constant("bools"),
    op("mask.where_(a, b)", "[..], [..], [..] -> [..]", ANY, &[ROW, COLUMN], |x| mask(&[3, 4], &x[0]).where_(&x[0], &x[1])),
    op("x.masked_fill(mask, value)", PAIR, NUMBER, &[X], |x| x[0].masked_fill(&mask(&[4], &x[0]), 7)),

    // Movement.
    op("x.reshape(shape)", "[..] -> [..]", ANY, &[X], |x| x[0].reshape([2, -1])),
    op("x.flatten(start_dim, end_dim)", "[a.., b.., c..] -> [a.., n, c..]", ANY, &[X], |x| x[0].flatten(0, -1)),
    op("x.squeeze(dims)", "[.., 1, ..] -> [..]", ANY, &[COLUMN], |x| x[0].squeeze(-1)),
    op("x.unsqueeze(dim)", "[..] -> [.., 1, ..]", ANY, &[X], |x| x[0].unsqueeze(1)),
    op("x.permute(dims)", "[..] -> [..]", ANY, &[X], |x| x[0].permute([1, 0])),
    op("x.transpose(dim0, dim1)", "[.., a, .., b, ..] -> [.., b, .., a, ..]", ANY, &[X], |x| x[0].transpose(0, -1)),
    op("x.t()", "[.., a, b] -> [.., b, a]", ANY, &[X], |x| x[0].t()),
    op("x.expand(shape)", "[.., 1, ..] -> [.., n, ..]", ANY, &[COLUMN], |x| x[0].expand([2, 3, 4])),
    op("x.narrow(dim, start, length)", "[.., n, ..] -> [.., length, ..]", ANY, &[X], |x| x[0].narrow(1, 1, 2)),
    op("x.select(dim, index)", "[.., n, ..] -> [..]", ANY, &[X], |x| x[0].select(0, -1)),
    op("x.slice(dim, start, end, step)", "[.., n, ..] -> [.., n', ..]", ANY, &[X], |x| x[0].slice(1, Some(1), None, 2)),
    op("x.flip(dims)", SAME, ANY, &[X], |x| x[0].flip([0, 1])),
    op("x.pad(pad)", "[.., n, ..] -> [.., n', ..]", ANY, &[X], |x| x[0].pad([1, 2, -1, 1])),
    op("x.pad_value(pad, value)", "[.., n, ..] -> [.., n', ..]", NUMBER, &[X], |x| x[0].pad_value([1, 2], 7)),
    op("x.unfold(dim, size, step, dilation)", "[.., n, ..] -> [.., windows, .., size]", ANY, &[X], |x| x[0].unfold(1, 2, 1, 2)),
    op("x.roll(shifts, dims)", SAME, ANY, &[X], |x| x[0].roll([1, -1], [0, 1])),
    op("x.repeat(repeats)", "[.., n, ..] -> [.., repeats * n, ..]", ANY, &[X], |x| x[0].repeat([2, 1, 2])),
    op("x.tril(diagonal)", "[.., m, n] -> [.., m, n]", ANY, &[X], |x| x[0].tril(0)),
    op("x.triu(diagonal)", "[.., m, n] -> [.., m, n]", ANY, &[X], |x| x[0].triu(1)),
    op("Tensor::cat(tensors, dim)", "[.., a, ..], [.., b, ..] -> [.., a + b, ..]", ANY, &[X, COLUMN], |x| Tensor::cat(&[&x[0], &x[1]], 1)),
    op("Tensor::stack(tensors, dim)", "[..], [..] -> [.., 2, ..]", ANY, &[X, X], |x| Tensor::stack(&[&x[0], &x[1]], 1)),
    op("x.split(size, dim)", "[.., n, ..] -> [.., size, ..], ..", ANY, &[X], |x| joined(&x[0].split(3, 1))),
    op("x.split_with_sizes(sizes, dim)", "[.., n, ..] -> [.., size, ..], ..", ANY, &[X], |x| joined(&x[0].split_with_sizes(&[3, 1], 1))),
    op("x.unbind(dim)", "[.., n, ..] -> [.., ..], ..", ANY, &[MANY], |x| joined(&x[0].unbind(1))),
    op("x.chunk(chunks, dim)", "[.., n, ..] -> [.., size, ..], ..", ANY, &[X], |x| joined(&x[0].chunk(2, 0))),

    // Indexing, by an index of i32 or u32.
    op("x.gather(dim, index)", "[.., n, ..], [.., m, ..] -> [.., m, ..]", ANY, &[X], |x| x[0].gather(1, &index(&[3, 6], 4, &x[0]))),
    op("x.scatter_add(dim, index, src)", "[.., n, ..], [.., m, ..], [.., m, ..] -> [.., n, ..]", NUMBER, &[COLUMN, X], |x| x[0].scatter_add(0, &index(&[3, 1], 3, &x[0]), &x[1])),
    op("x.index_select(dim, index)", "[.., n, ..], [m] -> [.., m, ..]", ANY, &[X], |x| x[0].index_select(0, &index(&[5], 3, &x[0]))),
    op("index.embedding(weight)", "[..], [classes, width] -> [.., width]", ANY, &[X], |x| index(&[2, 2], 3, &x[0]).embedding(&x[0])),
    op("index.embedding_padded(weight, padding)", "[..], [classes, width] -> [.., width]", ANY, &[X], |x| index(&[2], 2, &x[0]).embedding_padded(&x[0], -1)),

    // Reductions and scans.
    op("x.sum()", "[..] -> []", ANY, &[X], |x| x[0].sum()),
    op("x.sum_dim(dims, keepdim)", "[.., n, ..] -> [..]", ANY, &[X], |x| x[0].sum_dim(1, false)),
    op("x.mean()", "[..] -> []", FLOAT, &[X], |x| x[0].mean()),
    op("x.mean_dim(dims, keepdim)", "[.., n, ..] -> [..]", FLOAT, &[X], |x| x[0].mean_dim(0, true)),
    op("x.prod()", "[..] -> []", NUMBER, &[ROW], |x| x[0].prod()),
    op("x.prod_dim(dim, keepdim)", "[.., n, ..] -> [..]", NUMBER, &[X], |x| x[0].prod_dim(0, false)),
    op("x.amax(dims, keepdim)", "[.., n, ..] -> [..]", NUMBER, &[X], |x| x[0].amax(1, true)),
    op("x.amin(dims, keepdim)", "[.., n, ..] -> [..]", NUMBER, &[X], |x| x[0].amin(0, false)),
    op("x.argmax(dim, keepdim)", "[.., n, ..] -> [..]", NUMBER, &[X], |x| x[0].argmax(1, false)).constant("integers"),
    op("x.argmin(dim, keepdim)", "[.., n, ..] -> [..]", NUMBER, &[X], |x| x[0].argmin((), false)).constant("integers"),
    op("x.var(dims, correction, keepdim)", "[.., n, ..] -> [..]", FLOAT, &[X], |x| x[0].var(1, 1.0, false)),
    op("x.std(dims, correction, keepdim)", "[.., n, ..] -> [..]", FLOAT, &[X], |x| x[0].std(1, 0.0, true)),
    op("x.logsumexp(dims, keepdim)", "[.., n, ..] -> [..]", FLOAT, &[X], |x| x[0].logsumexp(1, false)),
    op("x.softmax(dim)", SAME, FLOAT, &[X], |x| x[0].softmax(1)),
    op("x.log_softmax(dim)", SAME, FLOAT, &[X], |x| x[0].log_softmax(1)),
    op("x.cumsum(dim)", SAME, NUMBER, &[X], |x| x[0].cumsum(1)),

    // Products.
    op("a.matmul(b)", "[.., m, k], [.., k, n] -> [.., m, n]", FLOAT, &[(&[2, 3, 4], -1.0, 1.0), (&[4, 2], -1.0, 1.0)], |x| x[0].matmul(&x[1])),
    op("x.linear(weight, bias)", "[.., in], [out, in], [out] -> [.., out]", FLOAT, &[X, (&[2, 4], -1.0, 1.0), CHANNELS], |x| x[0].linear(&x[1], Some(&x[2]))),
    op("query.scaled_dot_product_attention(key, value, mask, is_causal, scale)", "[.., m, k], [.., n, k], [.., n, v] -> [.., m, v]", FLOAT,
        &[(&[2, 3, 4], -1.0, 1.0), (&[2, 5, 4], -1.0, 1.0), (&[2, 5, 2], -1.0, 1.0)],
        |x| x[0].scaled_dot_product_attention(&x[1], &x[2], Some(&mask(&[3, 5], &x[0])), false, None)),

    // Convolutions and pools.
    op("x.conv1d(weight, bias, conv)", "[n, c, l], [d, c / groups, k], [d] -> [n, d, l']", FLOAT, &[(&[2, 2, 5], -1.0, 1.0), (&[4, 1, 3], -1.0, 1.0), (&[4], -1.0, 1.0)],
        |x| x[0].conv1d(&x[1], Some(&x[2]), ConvOptions { padding: [1], groups: 2, ..ConvOptions::default() })),
    op("x.conv2d(weight, bias, conv)", "[n, c, h, w], [d, c / groups, i, j], [d] -> [n, d, h', w']", FLOAT, &[IMAGES, (&[2, 2, 3, 2], -1.0, 1.0), CHANNELS],
        |x| x[0].conv2d(&x[1], Some(&x[2]), ConvOptions { stride: [2, 1], padding: [1, 0], dilation: [1, 2], ..ConvOptions::default() })),
    op("x.conv_transpose2d(weight, bias, conv)", "[n, c, h, w], [c, d / groups, i, j], [d] -> [n, d, h', w']", FLOAT, &[(&[1, 2, 2, 2], -1.0, 1.0), (&[2, 2, 2, 2], -1.0, 1.0), CHANNELS],
        |x| x[0].conv_transpose2d(&x[1], Some(&x[2]), ConvOptions { stride: [2, 1], output_padding: [1, 0], ..ConvOptions::default() })),
    op("x.max_pool2d(pool)", IMAGE, FLOAT, &[IMAGES], |x| x[0].max_pool2d(PoolOptions { stride: [2, 1], padding: [1, 0], ..PoolOptions::new([3, 2]) })),
    op("x.avg_pool2d(pool)", IMAGE, FLOAT, &[IMAGES], |x| x[0].avg_pool2d(PoolOptions { padding: [1, 1], count_include_pad: false, ..PoolOptions::new([3, 2]) })),
    op("x.adaptive_avg_pool2d(output_size)", IMAGE, FLOAT, &[IMAGES], |x| x[0].adaptive_avg_pool2d([Some(2), None])),

    // Normalisations.
    op("x.layer_norm(normalized_shape, weight, bias, eps)", "[.., n], [n], [n] -> [.., n]", FLOAT, &[X, POSITIVE_ROW, ROW], |x| x[0].layer_norm([4], Some(&x[1]), Some(&x[2]), 0.1)),
    op("x.rms_norm(normalized_shape, weight, eps)", "[.., n], [n] -> [.., n]", FLOAT, &[X, POSITIVE_ROW], |x| x[0].rms_norm([4], Some(&x[1]), 0.1)),
    op("x.group_norm(num_groups, weight, bias, eps)", "[n, c, ..], [c], [c] -> [n, c, ..]", FLOAT, &[(&[2, 4, 3], -1.0, 1.0), POSITIVE_ROW, ROW], |x| x[0].group_norm(2, Some(&x[1]), Some(&x[2]), 0.1)),
    op("x.batch_norm(running_mean, running_var, weight, bias, eps)", "[n, c, ..], [c], [c], [c], [c] -> [n, c, ..]", FLOAT, &[X, ROW, POSITIVE_ROW, POSITIVE_ROW, ROW],
        |x| x[0].batch_norm(&x[1], &x[2], Some(&x[3]), Some(&x[4]), 0.1)),
    op("x.batch_norm_train(running_mean, running_var, weight, bias, momentum, eps)", "[n, c, ..], [c], [c], [c], [c] -> [n, c, ..], [c], [c]", FLOAT, &[X, POSITIVE_ROW, ROW],
        |x| x[0].batch_norm_train(&x[1].zeros_like(), &x[1].ones_like(), Some(&x[1]), Some(&x[2]), 0.25, 0.1).output),
    op("x.dropout(p, training)", SAME, FLOAT, &[X], |x| drawn(|| x[0].dropout(0.25, true))),

    // Losses.
    op("x.mse_loss(target, reduction)", LOSS, FLOAT, &[X, X], |x| x[0].mse_loss(&x[1], Reduction::Mean)),
    op("x.l1_loss(target, reduction)", LOSS, FLOAT, &[X, X], |x| x[0].l1_loss(&x[1], Reduction::Sum)),
    op("x.smooth_l1_loss(target, beta, reduction)", LOSS, FLOAT, &[X, X], |x| x[0].smooth_l1_loss(&x[1], 0.5, Reduction::None)),
    op("x.huber_loss(target, delta, reduction)", LOSS, FLOAT, &[X, X], |x| x[0].huber_loss(&x[1], 1.5, Reduction::Mean)),
    op("x.binary_cross_entropy_with_logits(target, weight, pos_weight, reduction)", "[..], [..], [..], [..] -> [] or [..]", FLOAT, &[X, POSITIVE, POSITIVE_ROW, POSITIVE],
        |x| x[0].binary_cross_entropy_with_logits(&x[1], Some(&x[2]), Some(&x[3]), Reduction::Mean)),
    op("x.kl_div(target, log_target, reduction)", LOSS, FLOAT, &[X, POSITIVE], |x| x[0].kl_div(&x[1], false, Reduction::BatchMean)),
    op("x.nll_loss(target, classes)", "[n, classes, ..], [n, ..] -> [] or [n, ..]", FLOAT, &[X], |x| x[0].nll_loss(&index(&[3], 4, &x[0]), &CrossEntropyOptions::default())),
    op("x.cross_entropy(target)", "[n, classes], [n] -> []", FLOAT, &[X], |x| x[0].cross_entropy(&index(&[3], 4, &x[0]))),
    op("x.cross_entropy_with(target, classes)", "[n, classes, ..], [n, ..], [classes] -> [] or [n, ..]", FLOAT, &[X, POSITIVE_ROW],
        |x| x[0].cross_entropy_with(&index(&[3], 4, &x[0]), &CrossEntropyOptions { weight: Some(x[1].clone()), label_smoothing: 0.1, ignore_index: 2, ..CrossEntropyOptions::default() })),
];

/// The same numbers each time.
fn drawn(draw: impl FnOnce() -> Tensor) -> Tensor {
    wgrad::manual_seed(3);
    draw()
}

/// The pieces in another order, so that each can be told from the others.
fn joined(pieces: &[Tensor]) -> Tensor {
    let flat: Vec<Tensor> = pieces.iter().rev().map(|piece| piece.flatten(0, -1)).collect();
    Tensor::cat(&flat.iter().collect::<Vec<_>>(), 0)
}
