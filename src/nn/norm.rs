//! Normalisations: each is a `Tensor` method with its gain and shift, and batch norm with its running statistics.

use super::linear::value;
use super::summary::record_output;
use super::{Mode, Module, Visitor, init};
use crate::core::dtype::DType;
use crate::core::shape::{Dims, Shape, refuse};
use crate::graph::Device;
use crate::tensor::Tensor;
use crate::tensor::norm::BatchNorm;
use crate::tensor::var::Var;

/// [`Tensor::layer_norm`] as a layer: mean 0 and variance 1 over the last dims, times `weight` plus `bias`.
///
/// ```
/// use wgrad::nn::{LayerNorm, Module};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let x = Tensor::new([1.0, 3.0, 10.0, 30.0], [2, 2], &dev);
/// let norm = LayerNorm::new([2], &dev).eps(0.0);
/// assert_eq!(norm.forward(&x).to_vec::<f32>().unwrap(), [-1.0, 1.0, -1.0, 1.0]);
/// ```
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// `normalized_shape`; ones at first.
    pub weight: Option<Var>,
    /// `normalized_shape`; zeros at first.
    pub bias: Option<Var>,
    /// The sizes of the last dims.
    pub normalized_shape: Shape,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// Over the last dims, of these sizes.
    #[track_caller]
    pub fn new(normalized_shape: impl Into<Dims>, device: &Device) -> LayerNorm {
        let normalized_shape = normalized_shape.into().sizes("LayerNorm");
        let (weight, bias) = init::identity(&normalized_shape, device);
        LayerNorm { weight: Some(weight), bias: Some(bias), normalized_shape, eps: 1e-5 }
    }

    /// The same without a bias.
    pub fn without_bias(self) -> LayerNorm {
        LayerNorm { bias: None, ..self }
    }

    /// The same with neither weight nor bias (PyTorch's `elementwise_affine=False`).
    pub fn without_affine(self) -> LayerNorm {
        LayerNorm { weight: None, bias: None, ..self }
    }

    /// Another number to add to the variance.
    pub fn eps(self, eps: f64) -> LayerNorm {
        LayerNorm { eps, ..self }
    }
}

impl Module for LayerNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let (weight, bias) = (value(&self.weight), value(&self.bias));
        record_output(self, x.layer_norm(&self.normalized_shape, weight.as_ref(), bias.as_ref(), self.eps))
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.optional("weight", &self.weight);
        visitor.optional("bias", &self.bias);
    }
}

/// [`Tensor::rms_norm`] as a layer: divided by the root of the mean square over the last dims, times `weight`.
#[derive(Clone, Debug)]
pub struct RMSNorm {
    /// `normalized_shape`; ones at first.
    pub weight: Option<Var>,
    /// The sizes of the last dims.
    pub normalized_shape: Shape,
    /// Added to the mean square.
    pub eps: f64,
}

impl RMSNorm {
    /// Over the last dims, of these sizes. `eps` is that of f32, 2^-23, as PyTorch's is.
    #[track_caller]
    pub fn new(normalized_shape: impl Into<Dims>, device: &Device) -> RMSNorm {
        let normalized_shape = normalized_shape.into().sizes("RMSNorm");
        let (weight, _) = init::identity(&normalized_shape, device);
        RMSNorm { weight: Some(weight), normalized_shape, eps: f32::EPSILON.into() }
    }

    /// The same without a weight (PyTorch's `elementwise_affine=False`).
    pub fn without_affine(self) -> RMSNorm {
        RMSNorm { weight: None, ..self }
    }

    /// Another number to add to the mean square.
    pub fn eps(self, eps: f64) -> RMSNorm {
        RMSNorm { eps, ..self }
    }
}

impl Module for RMSNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        record_output(self, x.rms_norm(&self.normalized_shape, value(&self.weight).as_ref(), self.eps))
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.optional("weight", &self.weight);
    }
}

/// [`Tensor::group_norm`] as a layer: mean 0 and variance 1 over each group of channels (dim 1) of each sample, times
/// `weight` plus `bias` for each channel.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// `[channels]`; ones at first.
    pub weight: Option<Var>,
    /// `[channels]`; zeros at first.
    pub bias: Option<Var>,
    /// How many groups the channels make.
    pub num_groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl GroupNorm {
    /// So many groups of so many channels in all.
    #[track_caller]
    pub fn new(num_groups: usize, num_channels: usize, device: &Device) -> GroupNorm {
        let (weight, bias) = init::identity(&[num_channels].into(), device);
        GroupNorm { weight: Some(weight), bias: Some(bias), num_groups, eps: 1e-5 }
    }

    /// The same with neither weight nor bias (PyTorch's `affine=False`).
    pub fn without_affine(self) -> GroupNorm {
        GroupNorm { weight: None, bias: None, ..self }
    }

    /// Another number to add to the variance.
    pub fn eps(self, eps: f64) -> GroupNorm {
        GroupNorm { eps, ..self }
    }
}

impl Module for GroupNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let (weight, bias) = (value(&self.weight), value(&self.bias));
        record_output(self, x.group_norm(self.num_groups, weight.as_ref(), bias.as_ref(), self.eps))
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.optional("weight", &self.weight);
        visitor.optional("bias", &self.bias);
    }
}

/// Batch norm of `[batch, channels]` or `[batch, channels, length]`.
pub type BatchNorm1d = BatchNormNd<1>;

/// Batch norm of `[batch, channels, height, width]`.
///
/// ```
/// use wgrad::nn::{BatchNorm2d, Module};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let norm = BatchNorm2d::new(3, &dev);
/// norm.forward(&Tensor::ones([8, 3, 4, 4], &dev)); // moves the running mean a tenth of the way from 0 to 1
/// assert_eq!(norm.running_mean.tensor().to_vec::<f32>().unwrap(), [0.1; 3]);
/// ```
pub type BatchNorm2d = BatchNormNd<2>;

/// Each channel (dim 1) with mean 0 and variance 1, times `weight` plus `bias`: in training by the batch's statistics,
/// towards which the running ones move by `momentum` ([`Tensor::batch_norm_train`]), afterwards by the running ones
/// ([`Tensor::batch_norm`]). PyTorch's
/// [`BatchNorm`](https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html).
#[derive(Clone, Debug)]
pub struct BatchNormNd<const N: usize> {
    /// `[channels]`; ones at first.
    pub weight: Option<Var>,
    /// `[channels]`; zeros at first.
    pub bias: Option<Var>,
    /// `[channels]`; zeros at first.
    pub running_mean: Var,
    /// `[channels]`; ones at first.
    pub running_var: Var,
    /// How many batches it was trained with: an i32 (PyTorch's int64).
    pub num_batches_tracked: Var,
    /// The share of a new batch in the running statistics; `None`: they are the mean over all batches.
    pub momentum: Option<f64>,
    /// Added to the variance.
    pub eps: f64,
    mode: Mode,
}

impl<const N: usize> BatchNormNd<N> {
    /// Of so many channels.
    #[track_caller]
    pub fn new(num_features: usize, device: &Device) -> Self {
        let channels = [num_features].into();
        let (weight, bias) = init::identity(&channels, device);
        BatchNormNd {
            weight: Some(weight),
            bias: Some(bias),
            running_mean: Var::buffer(Tensor::zeros(&channels, device)),
            running_var: Var::buffer(Tensor::ones(&channels, device)),
            num_batches_tracked: Var::buffer(Tensor::scalar(0, device)),
            momentum: Some(0.1),
            eps: 1e-5,
            mode: Mode::default(),
        }
    }

    /// The same with neither weight nor bias (PyTorch's `affine=False`).
    pub fn without_affine(self) -> Self {
        BatchNormNd { weight: None, bias: None, ..self }
    }

    /// Another share of a new batch in the running statistics; with `None` they are the mean over all batches, in which
    /// each weighs the same.
    pub fn momentum(self, momentum: impl Into<Option<f64>>) -> Self {
        BatchNormNd { momentum: momentum.into(), ..self }
    }

    /// Another number to add to the variance.
    pub fn eps(self, eps: f64) -> Self {
        BatchNormNd { eps, ..self }
    }
}

impl<const N: usize> Module for BatchNormNd<N> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        if x.rank() != N + 2 && (N != 1 || x.rank() != 2) {
            refuse!(self.kind(), "{x} is not [batch, channels] and {N} further dims");
        }
        let (mean, var) = (self.running_mean.tensor(), self.running_var.tensor());
        let (weight, bias) = (value(&self.weight), value(&self.bias));
        if !self.mode.training() {
            return record_output(self, x.batch_norm(&mean, &var, weight.as_ref(), bias.as_ref(), self.eps));
        }
        let batches = self.num_batches_tracked.tensor() + 1;
        let share = self.momentum.unwrap_or(1.0);
        let BatchNorm { output, mut running_mean, mut running_var } =
            x.batch_norm_train(&mean, &var, weight.as_ref(), bias.as_ref(), share, self.eps);
        if self.momentum.is_none() {
            // They are the batch's own.
            let count = batches.to_dtype(DType::F32);
            running_mean = &mean + (running_mean - &mean) / &count;
            running_var = &var + (running_var - &var) / &count;
        }
        self.running_mean.set(running_mean);
        self.running_var.set(running_var);
        self.num_batches_tracked.set(batches);
        record_output(self, output)
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.optional("weight", &self.weight);
        visitor.optional("bias", &self.bias);
        visitor.var("running_mean", &self.running_mean);
        visitor.var("running_var", &self.running_var);
        visitor.var("num_batches_tracked", &self.num_batches_tracked);
        visitor.mode(&self.mode);
    }

    fn kind(&self) -> String {
        format!("BatchNorm{N}d")
    }
}
