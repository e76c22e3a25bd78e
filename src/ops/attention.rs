//! Attention by tiles of scores (Dao et al., 2022, <https://arxiv.org/abs/2205.14135>), without materializing the
//! matrix of scores (queries by keys), except with dropout. The forward pass saves the log-sum-exp of each query's
//! scores. The backward pass recomputes the scores twice, for the gradient of the queries and for the gradients of keys
//! and values, so that each gradient is summed in a fixed order.

use super::{Buffer, Fused, Io, Launch, Word};
use crate::core::dtype::DType;
use crate::core::limits::{AdapterKind, Limits};
use crate::core::shape::{Shape, ShapeError, Spec, refuse};
use crate::graph::{Accepts, ShaderSource};
use crate::tensor::{Const, Tensor, check_operands, same_device};

impl Tensor {
    /// Scaled dot-product attention, `softmax(Q Kᵀ scale + mask) V` (Vaswani et al., 2017; PyTorch's
    /// [definition](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html)).
    /// `self` has the queries `[.., queries, width]`, `key` is `[.., keys, width]`, `value` is
    /// `[.., keys, value width]`.
    ///
    /// A bool `mask` is true where a query may attend to a key; a float mask is added to the scores. Both broadcast to
    /// `[.., queries, keys]`. With `is_causal`, query `i` attends to the keys 0 to `i`. `scale` is `1/√width` by
    /// default. The result is 0 for a query that may not attend to any key.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let x = Tensor::new([1.0, 0.0, 0.0, 1.0], [2, 2], &Device::cpu());
    /// let y = x.scaled_dot_product_attention(&x, &x, None, true, None);
    /// assert_eq!(y.select(0, 0).to_vec::<f32>().unwrap(), [1.0, 0.0]); // query 0 attends only to key 0
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if queries, keys or values are not f32 or their shapes do not fit, if `mask` is neither bool nor f32 or
    /// does not broadcast to `[.., queries, keys]`, if both `is_causal` and a mask are given, or if the tensors are on
    /// different devices.
    #[track_caller]
    pub fn scaled_dot_product_attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        is_causal: bool,
        scale: Option<f64>,
    ) -> Tensor {
        self.attention(key, value, mask, is_causal, scale, 0.0)
    }

    /// Computes attention with dropout on the attention weights. With dropout, the weights are materialized.
    #[track_caller]
    pub(crate) fn attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        is_causal: bool,
        scale: Option<f64>,
        dropout: f64,
    ) -> Tensor {
        let op = "scaled_dot_product_attention";
        check_operands(op, Accepts::Float, &[self, key, value]);
        let batch_of = |x: &Tensor| Shape::from(&x.shape()[..x.rank() - 2]);
        let fits = [self, key, value].iter().all(|x| x.rank() >= 2)
            && self.size(-1) == key.size(-1)
            && key.size(-2) == value.size(-2)
            && [(self, key), (self, value), (key, value)]
                .iter()
                .all(|(x, y)| Shape::broadcasts(&batch_of(x), &batch_of(y)));
        if !fits {
            let (q, k, v) = (self.spec(), key.spec(), value.spec());
            refuse!(op, "queries {q}, keys {k} and values {v} do not fit");
        }
        if is_causal && mask.is_some() {
            refuse!(op, "is_causal and a mask cannot be combined");
        }
        let batch = Shape::broadcast(op, &batch_of(self), &batch_of(key));
        let batch = Shape::broadcast(op, &batch, &batch_of(value));
        let mut inputs = vec![self.by_head(&batch), key.by_head(&batch), value.by_head(&batch)];
        if let Some(mask) = mask {
            same_device(op, &[self, mask]);
            let scores: Shape = batch.iter().copied().chain([self.size(-2), key.size(-2)]).collect();
            let kind = mask.dtype().is_float() || mask.dtype() == DType::Bool;
            let stretches = Shape::broadcasts(mask.shape(), &scores)
                && Shape::broadcast(op, mask.shape(), &scores) == scores;
            if !kind || !stretches {
                refuse!(
                    op,
                    "the mask {} must be bool or f32 and broadcast to the scores {scores}",
                    mask.spec()
                );
            }
            inputs.push(mask.mask_by_head(&scores));
        }
        let scale = scale.unwrap_or(1.0 / (self.size(-1) as f64).sqrt());
        let attention = Attention { causal: is_causal, scale };
        let out = if dropout == 0.0 {
            Tensor::fused(attention, &inputs.iter().collect::<Vec<_>>()).remove(0)
        } else {
            let (weights, _) = attention.weights(&inputs);
            weights.dropout(dropout, true).matmul(&inputs[2].transpose(1, 2)).transpose(1, 2)
        };
        let shape: Shape = batch.iter().copied().chain([self.size(-2), value.size(-1)]).collect();
        out.narrow(3, 0, value.size(-1)).transpose(1, 2).reshape(&shape)
    }

    /// Converts `[.., rows, width]` to `[batches, rows, heads, width]`, and pads the width with zeros to a multiple of
    /// four. Heads from one projection already have this memory layout, so the conversion usually copies nothing.
    #[track_caller]
    fn by_head(&self, batch: &Shape) -> Tensor {
        let (rows, width) = (self.size(-2), self.size(-1));
        let [outer, heads] = two_batches(batch);
        let whole: Shape = batch.iter().copied().chain([rows, width]).collect();
        let x = self.broadcast_to(&whole).reshape([outer, heads, rows, width]).transpose(1, 2);
        if width.is_multiple_of(4) { x } else { x.pad_or_crop(3, 0, width.next_multiple_of(4)) }
    }

    /// Reshapes a mask for these scores to four dims, each of which has the size of the scores' dim or 1. The mask is
    /// copied only if some of its batch dims have size 1 and others do not.
    #[track_caller]
    fn mask_by_head(&self, scores: &Shape) -> Tensor {
        let missing = scores.rank() - self.rank();
        let full: Shape = std::iter::repeat_n(1, missing).chain(self.shape().iter().copied()).collect();
        let outer = scores.rank().saturating_sub(3); // these dims are merged
        let lead = if full[..outer].iter().all(|&size| size == 1) { &full } else { scores };
        let whole: Shape = lead[..outer].iter().chain(&full[outer..]).copied().collect();
        let ([batches, heads], rank) = (two_batches(&whole[..whole.rank() - 2]), whole.rank());
        let sizes = [batches, heads, whole[rank - 2], whole[rank - 1]];
        self.reshape(&full).broadcast_to(&whole).reshape(sizes)
    }
}

/// Merges all batch dims except the last. Returns the sizes of the merged dim and of the last dim.
fn two_batches(batch: &[usize]) -> [usize; 2] {
    let (last, outer) = batch.split_last().unwrap_or((&1, &[]));
    [outer.iter().product(), *last]
}

/// `(Q [batches, queries, heads, width], K, V, mask or none) -> (out, log-sum-exp [batches, heads, queries])`. The
/// log-sum-exp is padded with zeros to a multiple of four queries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    causal: bool,
    scale: f64,
}

/// `(Q, K, V, gradient of out, out, log-sum-exp, mask or none) -> gradients of Q, K and V, and out · gradient`. The
/// last output has the shape of the log-sum-exp; one kernel computes this output and the other kernel reads it. The
/// gradients share one buffer, because the number of bound buffers is limited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionBackward(Attention);

/// The score of a masked key. It is finite, so that differences of scores are not NaN; the weight of a masked key is
/// set to 0 afterwards.
const LOWEST: Const = Const(f32::MIN as f64);

/// Returns the shape of a tensor with one number per query, for queries `[batches, queries, heads, ..]`.
fn by_query(queries: &[usize]) -> Shape {
    [queries[0], queries[2], queries[1].next_multiple_of(4)].into()
}

/// Pads `[batches, heads, queries]` with zeros to a multiple of four queries.
fn padded_to_vec4(x: &Tensor) -> Tensor {
    x.pad_or_crop(2, 0, x.size(2).next_multiple_of(4))
}

impl Attention {
    /// Computes the scores and, if keys are masked, the bool mask of allowed keys.
    fn scores(&self, q: &Tensor, k: &Tensor, mask: Option<&Tensor>) -> (Tensor, Option<Tensor>) {
        let mut scores = q.matmul(&k.transpose(-2, -1)) * self.scale; // per head
        let seen = match mask {
            Some(mask) if mask.dtype() == DType::Bool => Some(mask.clone()),
            Some(mask) => {
                scores = scores + mask;
                Some(mask.ne(f64::NEG_INFINITY))
            }
            None if self.causal => {
                let sizes = [q.size(-2), k.size(-2)];
                let along = |dim: usize| Tensor::iota(sizes.into(), dim, q.device());
                Some(along(1).le(along(0)))
            }
            None => None,
        };
        match seen {
            Some(seen) => (seen.where_(scores, LOWEST), Some(seen)),
            None => (scores, None),
        }
    }

    /// Computes the attention weights `[batches, heads, queries, keys]` and the scores.
    fn weights(&self, inputs: &[Tensor]) -> (Tensor, Tensor) {
        let [q, k] = [0, 1].map(|i| inputs[i].transpose(1, 2));
        let (scores, seen) = self.scores(&q, &k, inputs.get(3));
        let weights = scores.softmax(-1);
        (seen.map_or_else(|| weights.clone(), |seen| seen.where_(&weights, Const(0.0))), scores)
    }

    /// Returns a launch on the inputs Q, K, V and a mask, or `None` if a loop exceeds the adapter's maximum number of
    /// iterations, or if the number of elements exceeds a kernel's index range.
    fn launch(
        &self,
        programs: &Programs,
        results: Results,
        [q, k, v]: [&Spec; 3],
        mask: Option<&Spec>,
        limits: &Limits,
    ) -> Option<Launch> {
        let [outer, queries, heads, width] = q.shape[..].try_into().ok()?;
        let [_, keys, _, depth]: [usize; 4] = v.shape[..].try_into().ok()?;
        let sizes = Sizes { queries, keys, width: width / 4, depth: depth / 4 };
        let counts = [q, k, v].into_iter().chain(mask).all(|x| u32::try_from(x.shape.numel()).is_ok());
        let strides = mask.map_or([0; 4], |mask| {
            let strides = mask.shape.strides();
            [0, 1, 2, 3].map(|dim| if mask.shape[dim] == 1 { 0 } else { strides[dim] })
        });
        let kind = mask.map_or(0, |mask| if mask.dtype == DType::Bool { 1 } else { 2 });
        let words = [outer * heads, heads, queries, keys, sizes.width, sizes.depth, self.causal.into()];
        let words = words.into_iter().chain(strides).map(|size| Word::Size(size as u32));
        let kernel = match limits.kind {
            AdapterKind::Software => programs.for_software(results, sizes, limits),
            _ => programs.for_gpu(results, sizes),
        };
        let launch = kernel
            .launch
            .trusted()
            .constant("MASK", kind)
            .uniforms(words.chain([Word::Scalar(0)]))
            .workgroups(u32::try_from(outer * heads * kernel.workgroups).ok()?)
            .work(16 * (outer * heads * queries * keys) as u64 * (sizes.width + sizes.depth) as u64);
        (counts && kernel.iterations < limits.loop_iterations as usize).then_some(launch)
    }
}

/// The outputs computed by a launch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Results {
    Outs,
    QueryGradients,
    KeyAndValueGradients,
}

impl Results {
    fn have_a_row_for_each_key(self) -> bool {
        self == Results::KeyAndValueGradients
    }
}

/// The sizes of a head. Width and depth (the width of the values) are in units of vec4.
#[derive(Clone, Copy)]
struct Sizes {
    queries: usize,
    keys: usize,
    width: usize,
    depth: usize,
}

impl Sizes {
    /// Returns the number of rows of the results, and the number of rows that each result row reads.
    fn rows_and_others(&self, results: Results) -> (usize, usize) {
        if results.have_a_row_for_each_key() { (self.keys, self.queries) } else { (self.queries, self.keys) }
    }

    /// Returns the number of vec4 columns of each of the two results; 0 if there is no second result.
    fn columns(&self, results: Results) -> [usize; 2] {
        match results {
            Results::Outs => [self.depth, 0],
            Results::QueryGradients => [self.width, 0],
            Results::KeyAndValueGradients => [self.width, self.depth],
        }
    }
}

/// The shader files of the forward or the backward pass: for CPU adapters, for GPUs, and the preludes of both.
struct Programs {
    software: &'static str,
    gpu: &'static str,
    preludes: &'static [&'static str],
}

const FORWARD: Programs = Programs {
    software: include_str!("../../shaders/attention.wgsl"),
    gpu: include_str!("../../shaders/attention_gpu_forward.wgsl"),
    preludes: &[OPERANDS],
};

const BACKWARD: Programs = Programs {
    software: include_str!("../../shaders/attention_backward.wgsl"),
    gpu: include_str!("../../shaders/attention_gpu_backward.wgsl"),
    preludes: &[GRADIENTS, OPERANDS],
};

/// A launch, the workgroups per head, and an upper bound on the number of loop iterations of one invocation.
struct AttentionKernel {
    launch: Launch,
    workgroups: usize,
    iterations: usize,
}

impl Programs {
    /// Returns `program` behind the prelude of its kind of adapter and the preludes of both kinds.
    fn source(&self, program: &'static str, prelude: &'static str) -> ShaderSource {
        let source = ShaderSource::new(program).with_prelude(prelude);
        self.preludes.iter().fold(source, |source, prelude| source.with_prelude(prelude))
    }

    fn for_software(&self, results: Results, sizes: Sizes, limits: &Limits) -> AttentionKernel {
        const ROWS: usize = 32;
        let source = self.source(self.software, TILE);
        let (source, step) = match limits.subgroup {
            Some((8, 8)) => (source.variant(BROADCAST), 16),
            _ => (source, 4),
        };
        let (rows, others) = sizes.rows_and_others(results);
        // The backward pass has two products and two sums, and the small loops have at most sixteen iterations.
        let iterations = others.div_ceil(step) * (2 * (sizes.width + sizes.depth) + 16);
        let launch =
            Launch::from_source(source).constant("OF_KEYS", results.have_a_row_for_each_key().into());
        AttentionKernel { launch, workgroups: rows.div_ceil(ROWS), iterations }
    }

    fn for_gpu(&self, results: Results, sizes: Sizes) -> AttentionKernel {
        const ROWS: usize = 64;
        const MAX_TEAMS: usize = 4; // 256 invocations
        let ((rows, others), columns) = (sizes.rows_and_others(results), sizes.columns(results));
        // A team computes eight vec4 columns of a result, and processes 32 of the other rows at a time.
        let teams = columns[0].max(columns[1]).div_ceil(8).min(MAX_TEAMS).next_power_of_two();
        let slices = columns[0].div_ceil(8 * teams) + columns[1].div_ceil(8 * teams);
        // The iterations of two products in slices, of the loop over the multiplied rows, and of the small loops.
        let iterations = others.div_ceil(32 * teams) * (8 * (sizes.width + sizes.depth) + 32 * teams + 16);
        let source = self.source(self.gpu, GPU);
        let mut launch = Launch::from_source(source).constant("TEAMS", teams as u32);
        if results != Results::Outs {
            launch = launch.constant("ROWS_ARE_KEYS", results.have_a_row_for_each_key().into());
        }
        AttentionKernel { launch, workgroups: rows.div_ceil(ROWS) * slices, iterations }
    }
}

/// Preludes: for backward programs, for all programs, for programs on CPU adapters (with a variant for subgroups), and
/// for programs on GPUs.
const GRADIENTS: &str = include_str!("../../shaders/attention_gradients.wgsl");
const OPERANDS: &str = include_str!("../../shaders/attention_operands.wgsl");
const TILE: &str = include_str!("../../shaders/attention_tile.wgsl");
const BROADCAST: &str = include_str!("../../shaders/attention_broadcast.wgsl");
const GPU: &str = include_str!("../../shaders/attention_gpu.wgsl");

impl Fused for Attention {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention"
    }

    fn attributes(&self) -> Vec<u64> {
        vec![self.causal.into()]
    }

    fn scalars(&self) -> Vec<f64> {
        vec![self.scale]
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let (q, v) = (&inputs[0], &inputs[2]);
        let out = q.shape.with(3, v.shape[3]);
        Ok(vec![Spec::new(out, q.dtype), Spec::new(by_query(&q.shape), q.dtype)])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let (weights, scores) = self.weights(inputs);
        let out = weights.matmul(&inputs[2].transpose(1, 2)).transpose(1, 2);
        vec![out, padded_to_vec4(&scores.logsumexp(-1, false))]
    }

    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        let [Some(grad), None] = grads else { return None };
        let [q, k, v] = &io.inputs[..3] else { unreachable!("attention has three or four inputs") };
        let mask = io.inputs.get(3);
        // The gradient of a mask is a matrix of queries by keys, which the decomposition computes.
        if mask.is_some_and(Tensor::needs_grad) {
            return None;
        }
        let inputs: Vec<&Tensor> = [q, k, v, grad].into_iter().chain(io.outputs).chain(mask).collect();
        let all = Tensor::fused(AttentionBackward(*self), &inputs).remove(0);
        let mut start = 0;
        let gradients = [q, k, v].map(|x| {
            let part = all.narrow(0, start, x.numel()).reshape(x.shape());
            start += x.numel() as i64;
            Some(part)
        });
        Some(gradients.into_iter().chain(mask.map(|_| None)).collect())
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let mask = (io.len() > 5).then_some(3);
        let inputs = [&io[0], &io[1], &io[2]];
        let launch = self.launch(&FORWARD, Results::Outs, inputs, mask.map(|i| &io[i]), limits)?;
        // Without a mask, Q is bound as a placeholder and is not read.
        let inputs = [0, 1, 2, mask.unwrap_or(0)].map(Buffer::Input);
        Some(vec![launch.buffers(inputs.into_iter().chain([0, 1].map(Buffer::Output)))])
    }
}

impl Fused for AttentionBackward {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention_backward"
    }

    fn attributes(&self) -> Vec<u64> {
        self.0.attributes()
    }

    fn scalars(&self) -> Vec<f64> {
        self.0.scalars()
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let numel: usize = inputs[..3].iter().map(|x| x.shape.numel()).sum();
        Ok(vec![Spec::new([numel + by_query(&inputs[0].shape).numel()], inputs[0].dtype)])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let [q, k, v, grad, out] = [0, 1, 2, 3, 4].map(|i| inputs[i].transpose(1, 2));
        let lse = inputs[5].narrow(-1, 0, q.size(-2)).unsqueeze(-1);
        let level = (out * &grad).sum_dim(-1, true);
        let (scores, seen) = self.0.scores(&q, &k, inputs.get(6));
        let weights = (scores - lse).exp();
        let weights = seen.map_or_else(|| weights.clone(), |seen| seen.where_(&weights, Const(0.0)));
        let products = grad.matmul(&v.transpose(-2, -1));
        let grad_scores = &weights * (products - &level) * self.0.scale;
        let parts = [
            grad_scores.matmul(&k).transpose(1, 2),
            grad_scores.transpose(-2, -1).matmul(&q).transpose(1, 2),
            weights.transpose(-2, -1).matmul(&grad).transpose(1, 2),
            padded_to_vec4(&level.squeeze(-1)),
        ];
        let parts = parts.map(|part| part.flatten(0, -1));
        vec![Tensor::cat(&parts.each_ref(), 0)]
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        u32::try_from(io.last()?.shape.numel()).ok()?;
        let mask = (io.len() > 7).then_some(6);
        let inputs = [0, 1, 2, mask.unwrap_or(0), 3, 4, 5].map(Buffer::Input);
        let launch = |results| {
            let specs = [&io[0], &io[1], &io[2]];
            let launch = self.0.launch(&BACKWARD, results, specs, mask.map(|i| &io[i]), limits)?;
            Some(launch.buffers(inputs.into_iter().chain([Buffer::Output(0)])))
        };
        Some(vec![launch(Results::QueryGradients)?, launch(Results::KeyAndValueGradients)?])
    }
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    use super::{Draw, Sample, Tolerance};
    use std::sync::Arc;

    // Dot products with up to 256 terms and sums over up to 210 keys, of numbers of magnitude 1: a few tens of rounding
    // errors.
    let tolerance = Tolerance { atol: 2e-5, rtol: 2e-5 };
    let floats = |shape: &[usize]| Draw::Floats(shape.into(), -1.0..1.0);
    let bools = |shape: &[usize]| Draw::Bools(shape.into());
    // Batches, heads, queries, keys, width, value width.
    let cases = [
        ([1, 1, 1, 1, 4, 4], false, None),
        ([1, 3, 33, 70, 8, 4], false, None),
        ([1, 2, 70, 34, 36, 40], true, None),
        ([1, 1, 3, 37, 4, 4], true, None),
        ([2, 3, 6, 9, 4, 4], false, Some(floats(&[2, 1, 1, 9]))),
        ([2, 3, 34, 11, 4, 4], false, Some(bools(&[1, 3, 34, 11]))),
        // Several tiles of result rows and of other rows, and every tile width of a GPU: 32, 64, 128, and twice 128.
        ([1, 2, 140, 210, 64, 64], true, None),
        ([1, 1, 140, 70, 20, 80], true, None),
        ([1, 1, 65, 140, 128, 132], false, None),
        ([1, 1, 9, 140, 256, 32], false, None),
        ([1, 2, 67, 70, 64, 128], false, Some(bools(&[1, 1, 67, 70]))),
        ([2, 1, 70, 140, 24, 64], false, Some(floats(&[2, 1, 70, 140]))),
    ];
    let mut samples = Vec::new();
    for ([batches, heads, queries, keys, width, depth], causal, mask) in cases {
        let op = Attention { causal, scale: 1.0 / (width as f64).sqrt() };
        let matrix = |rows, width| floats(&[batches, rows, heads, width]);
        let mut inputs = vec![matrix(queries, width), matrix(keys, width), matrix(keys, depth)];
        let forward = inputs.iter().cloned().chain(mask.clone()).collect();
        samples.push(Sample { op: Arc::new(op), inputs: forward, tolerance });
        // The scores are near 0, so the log-sum-exp is slightly smaller than these values.
        let log = (keys as f32).ln();
        let lse = Draw::Floats(by_query(&[batches, queries, heads]), log + 0.5..log + 1.5);
        inputs.extend([matrix(queries, depth), matrix(queries, depth), lse].into_iter().chain(mask));
        samples.push(Sample { op: Arc::new(AttentionBackward(op)), inputs, tolerance });
    }
    samples
}
