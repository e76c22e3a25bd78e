//! Layer norm and RMS norm. The forward pass reads each row once. The backward pass reads each row once for its
//! gradient, and each column once for the gradients of weight and bias.

use std::sync::Arc;

use super::rows::Rows;
use super::{Buffer, Fused, Io, Launch, Word};
use crate::core::limits::{AdapterKind, Limits};
use crate::core::shape::{Dims, ShapeError, Spec, refuse};
use crate::graph::Move;
use crate::tensor::Tensor;

impl Tensor {
    /// Layer norm over the last dims, whose sizes are `normalized_shape`:
    /// `(x - mean) / √(variance + eps) * weight + bias` (Ba, Kiros and Hinton, 2016; PyTorch's
    /// [`layer_norm`](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.layer_norm.html)).
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let x = Tensor::new([1.0, 3.0, 10.0, 30.0], [2, 2], &Device::cpu());
    /// let y = x.layer_norm([2], None, None, 0.0);
    /// assert_eq!(y.to_vec::<f32>().unwrap(), [-1.0, 1.0, -1.0, 1.0]);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if the tensor's shape does not end with `normalized_shape`, if `weight` or
    /// `bias` has another shape, or if the tensors are on different devices.
    #[track_caller]
    pub fn layer_norm(
        &self,
        normalized_shape: impl Into<Dims>,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Tensor {
        self.normalized(
            "layer_norm",
            normalized_shape.into(),
            weight,
            bias,
            FusedLayerNorm { centred: true, eps },
        )
    }

    /// RMS norm over the last dims, whose sizes are `normalized_shape`: `x / √(mean of x² + eps) * weight` (Zhang and
    /// Sennrich, 2019).
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if the tensor's shape does not end with `normalized_shape`, if `weight` has
    /// another shape, or if the tensors are on different devices.
    #[track_caller]
    pub fn rms_norm(&self, normalized_shape: impl Into<Dims>, weight: Option<&Tensor>, eps: f64) -> Tensor {
        self.normalized(
            "rms_norm",
            normalized_shape.into(),
            weight,
            None,
            FusedLayerNorm { centred: false, eps },
        )
    }

    /// Group norm: normalizes each of `num_groups` groups of channels (dim 1) of each sample to mean 0 and variance 1,
    /// then multiplies by `weight` and adds `bias` per channel (Wu and He, 2018).
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if the tensor has fewer than two dims, if the channels are not divisible by
    /// `num_groups`, if `weight` or `bias` is not `[channels]`, or if the tensors are on different devices.
    #[track_caller]
    pub fn group_norm(
        &self,
        num_groups: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Tensor {
        self.check_channels("group_norm", &[weight, bias]);
        if num_groups == 0 || !self.shape()[1].is_multiple_of(num_groups) {
            refuse!(
                "group_norm",
                "the channels (dim 1) of {} must be divisible by num_groups {num_groups}",
                self.spec()
            );
        }
        let (samples, channels) = (self.shape()[0], self.shape()[1]);
        let rest: usize = self.shape()[2..].iter().product();
        let groups = [samples * num_groups, channels / num_groups * rest];
        let rows = self.moved(Move::Reshape(groups.into()));
        let normal = Tensor::fused(FusedLayerNorm { centred: true, eps }, &[&rows]).remove(0);
        let normal = normal.moved(Move::Reshape(self.shape().clone()));
        normal.scaled(self.per_channel(weight).as_ref(), self.per_channel(bias).as_ref())
    }

    #[track_caller]
    fn normalized(
        &self,
        name: &str,
        shape: Dims,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        op: FusedLayerNorm,
    ) -> Tensor {
        self.check_parameters(name, &[weight, bias]);
        let shape = shape.sizes(name);
        if shape.rank() == 0 || !self.shape().ends_with(&shape) {
            refuse!(name, "the shape of {} must end with normalized_shape {shape}", self.spec());
        }
        if let Some(wrong) = [weight, bias].into_iter().flatten().find(|x| *x.shape() != shape) {
            let (wrong, x) = (wrong.spec(), self.spec());
            refuse!(name, "the parameter {wrong} does not fit normalized_shape {shape} of {x}");
        }
        let rows: usize = self.shape()[..self.rank() - shape.rank()].iter().product();
        let mut inputs = vec![self.reshape([rows, shape.numel()])];
        inputs.extend(weight.map(|x| x.reshape([shape.numel()])));
        // The kernel supports a bias only together with a weight. Without a weight, the bias is added afterwards.
        let (inside, outside) = if weight.is_some() { (bias, None) } else { (None, bias) };
        inputs.extend(inside.map(|x| x.reshape([shape.numel()])));
        let y = Tensor::fused(op, &inputs.iter().collect::<Vec<_>>()).remove(0).reshape(self.shape());
        outside.map_or_else(|| y.clone(), |bias| &y + bias)
    }
}

/// Normalization of rows: `(x [rows, length], weight [length] or none, bias [length] or none)` to
/// `(normalized rows, mean [rows], 1/√(variance + eps) [rows])`. If not `centred`, the mean is 0 and the variance is
/// the mean square.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FusedLayerNorm {
    centred: bool,
    eps: f64,
}

/// `(x, mean, rstd, gradient of the normalized rows, weight or none) -> gradient of x`. With `addend`, the last operand
/// is added to the result: the gradient of a residual connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerNormBackward {
    norm: FusedLayerNorm,
    addend: bool,
}

/// `(x, mean, rstd, gradient of the normalized rows) -> (gradient of weight, gradient of bias)`, each
/// `[chunks, length]`: the sums over [`CHUNK`] rows. Primitive operations add the chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerNormColumns;

/// Number of rows that one invocation adds. It is small enough for the invocations of all columns to occupy a device.
const CHUNK: usize = 64;

/// Computes the normalized rows, before weight and bias.
fn normal(x: &Tensor, mean: &Tensor, rstd: &Tensor) -> Tensor {
    (x - mean.unsqueeze(1)) * rstd.unsqueeze(1)
}

impl Fused for FusedLayerNorm {
    fn name(&self) -> &'static str {
        if self.centred { "layer_norm" } else { "rms_norm" }
    }

    fn attributes(&self) -> Vec<u64> {
        vec![self.centred.into()]
    }

    fn scalars(&self) -> Vec<f64> {
        vec![self.eps]
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let row = Spec::new([inputs[0].shape[0]], inputs[0].dtype);
        Ok(vec![inputs[0].clone(), row.clone(), row])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let x = &inputs[0];
        let mean = x.mean_dim(1, false);
        let mean = if self.centred { mean } else { mean.zeros_like() };
        let variance = (x - mean.unsqueeze(1)).square().mean_dim(1, false);
        let rstd = (variance + self.eps).rsqrt();
        let mut y = normal(x, &mean, &rstd);
        if let Some(weight) = inputs.get(1) {
            y = y * weight;
        }
        if let Some(bias) = inputs.get(2) {
            y = y + bias;
        }
        vec![y, mean, rstd]
    }

    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        let [Some(grad), None, None] = grads else { return None };
        let (x, mean, rstd) = (&io.inputs[0], &io.outputs[1], &io.outputs[2]);
        let inputs: Vec<&Tensor> = [x, mean, rstd, grad].into_iter().chain(io.inputs.get(1)).collect();
        let grad_x = Tensor::fused(LayerNormBackward { norm: *self, addend: false }, &inputs).remove(0);
        let sums = Tensor::fused(LayerNormColumns, &inputs[..4]);
        let parameters = sums.iter().map(|chunks| chunks.sum_dim(0, false));
        Some(std::iter::once(grad_x).chain(parameters).take(io.inputs.len()).map(Some).collect())
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let parameters = io.len() - 4;
        // Without a weight or bias, `x` is bound as a placeholder and is not read.
        let bound = |i: usize| Buffer::Input(if i <= parameters { i } else { 0 });
        let rows = Rows::new(io[0].shape[0], io[0].shape[1]);
        let [count, length, _] = rows.words();
        let launch = rows
            .launch(include_str!("../../shaders/layer_norm.wgsl"), 3, limits)?
            .constant("CENTRED", self.centred.into())
            .constant("WEIGHT", (parameters > 0).into())
            .constant("BIAS", (parameters > 1).into())
            .buffers([bound(0), bound(1), bound(2)].into_iter().chain([0, 1, 2].map(Buffer::Output)))
            .uniforms([count, length, Word::Scalar(0)]);
        Some(vec![launch])
    }
}

impl Fused for LayerNormBackward {
    fn name(&self) -> &'static str {
        if self.norm.centred { "layer_norm_backward" } else { "rms_norm_backward" }
    }

    fn attributes(&self) -> Vec<u64> {
        vec![self.norm.centred.into(), self.addend.into()]
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        Ok(vec![inputs[0].clone()])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let (inputs, other) = inputs.split_at(inputs.len() - usize::from(self.addend));
        let [x, mean, rstd, grad] = &inputs[..4] else {
            unreachable!("the gradient has four or five inputs")
        };
        let n = normal(x, mean, rstd);
        let g = inputs.get(4).map_or_else(|| grad.clone(), |weight| grad * weight);
        let along = &g - &n * (&g * &n).mean_dim(1, true);
        let along = if self.norm.centred { along - g.mean_dim(1, true) } else { along };
        let grad_x = along * rstd.unsqueeze(1);
        vec![other.iter().fold(grad_x, |grad_x, other| grad_x + other)]
    }

    fn with_addend(&self) -> Option<Arc<dyn Fused>> {
        (!self.addend).then(|| Arc::new(LayerNormBackward { addend: true, ..*self }) as Arc<dyn Fused>)
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let last = io.len() - 2; // the index of the last input
        let weighted = last > 3 + usize::from(self.addend);
        let rows = Rows::new(io[0].shape[0], io[0].shape[1]);
        let [count, length, _] = rows.words();
        // `x` is bound as a placeholder for a missing operand, and the kernel does not read it.
        let [weight, other] = [(weighted, 4), (self.addend, last)].map(|(is, i)| if is { i } else { 0 });
        let inputs = [0, 1, 2, 3, weight, other].map(Buffer::Input);
        let launch = rows
            .launch(include_str!("../../shaders/layer_norm_backward.wgsl"), 2, limits)?
            .constant("CENTRED", self.norm.centred.into())
            .constant("WEIGHT", weighted.into())
            .constant("PLUS", self.addend.into())
            .buffers(inputs.into_iter().chain([Buffer::Output(0)]))
            .uniforms([count, length]);
        Some(vec![launch])
    }
}

impl Fused for LayerNormColumns {
    fn name(&self) -> &'static str {
        "layer_norm_columns"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let [rows, length] = inputs[0].shape[..] else { unreachable!("the input is a matrix") };
        let sums = Spec::new([rows.div_ceil(CHUNK), length], inputs[0].dtype);
        Ok(vec![sums.clone(), sums])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let [x, mean, rstd, grad] = inputs else { unreachable!("the operation has four inputs") };
        let (chunks, length) = (x.size(0).div_ceil(CHUNK), x.size(1));
        let sums = |terms: Tensor| {
            let whole = terms.pad_or_crop(0, 0, chunks * CHUNK);
            whole.reshape([chunks, CHUNK, length]).sum_dim(1, false)
        };
        vec![sums(grad * normal(x, mean, rstd)), sums(grad.clone())]
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let rows = Rows::new(io[0].shape[0], io[0].shape[1]);
        let (pack, sums) = (rows.pack(), io[4].shape.numel() / rows.pack());
        let elements = u32::try_from(io[0].shape.numel()).ok()?;
        let group = if limits.kind == AdapterKind::Software { 8 } else { 64 };
        let launch =
            Launch::from_source(rows.source(include_str!("../../shaders/layer_norm_columns.wgsl"), false))
                .trusted()
                .constant("GROUP", group)
                .buffers([0, 1, 2, 3].map(Buffer::Input).into_iter().chain([0, 1].map(Buffer::Output)))
                .uniforms(
                    [rows.count, rows.length / pack, CHUNK, sums].map(|size: usize| Word::Size(size as u32)),
                )
                .workgroups((sums as u32).div_ceil(group))
                .work(4 * u64::from(elements));
        Some(vec![launch])
    }
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    use super::{Draw, Sample, Tolerance};

    // For rows near 0: sums with up to 130 terms and a root, with a few tens of rounding errors. Second-order gradients
    // contain rstd².
    let tolerance = Tolerance { atol: 2e-5, rtol: 2e-5 };
    // For rows with mean 100, which is accurate to 4e-6, and rstd 3.5: an error of 1.5e-5 for each factor n. Without
    // subtracting the mean first, the error of the variance would be 1e-3.
    let offset = Tolerance { atol: 2e-4, rtol: 1e-4 };
    let cases = [
        (true, 2, [1, 2], -2.0..2.0, tolerance),
        (true, 0, [3, 1], -2.0..2.0, tolerance),
        (true, 1, [5, 7], -2.0..2.0, tolerance),
        (true, 2, [9, 65], -2.0..2.0, tolerance),
        (true, 2, [130, 13], -2.0..2.0, tolerance),
        (true, 2, [70, 4], -2.0..2.0, tolerance),
        (true, 2, [3, 260], -2.0..2.0, tolerance),
        (false, 1, [9, 68], -2.0..2.0, tolerance),
        (true, 0, [4, 130], 100.0..101.0, offset),
        (true, 0, [4, 132], 100.0..101.0, offset),
        (false, 0, [5, 7], -2.0..2.0, tolerance),
        (false, 1, [9, 65], -2.0..2.0, tolerance),
    ];
    let mut samples = Vec::new();
    for (centred, parameters, [rows, length], range, tolerance) in cases {
        let op = FusedLayerNorm { centred, eps: 1e-2 };
        let matrix = |range| Draw::Floats([rows, length].into(), range);
        let row = |range| Draw::Floats([rows].into(), range);
        let parameter = Draw::Floats([length].into(), -1.0..1.0);
        let mut inputs = vec![matrix(range)];
        inputs.extend(vec![parameter.clone(); parameters]);
        samples.push(Sample { op: Arc::new(op), inputs, tolerance });
        let mut inputs = vec![matrix(-2.0..2.0), row(-0.5..0.5), row(0.5..2.0), matrix(-1.0..1.0)];
        samples.push(Sample { op: Arc::new(LayerNormColumns), inputs: inputs.clone(), tolerance });
        inputs.extend(vec![parameter; parameters.min(1)]);
        let backward = LayerNormBackward { norm: op, addend: false };
        samples.push(Sample { op: Arc::new(backward), inputs: inputs.clone(), tolerance });
        inputs.push(matrix(-1.0..1.0));
        samples.push(Sample {
            op: Arc::new(LayerNormBackward { addend: true, ..backward }),
            inputs,
            tolerance,
        });
    }
    samples
}
