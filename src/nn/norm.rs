//! Normalization layers. Each calls a `Tensor` method with its weight and bias; batch norm also has running statistics.

use super::linear::value;
use super::summary::record_output;
use super::{Mode, Module, Visitor, init};
use crate::core::dtype::DType;
use crate::core::shape::{Dims, Shape, refuse};
use crate::graph::Device;
use crate::tensor::Tensor;
use crate::tensor::norm::BatchNorm;
use crate::tensor::var::Var;

/// [`Tensor::layer_norm`] as a layer: normalizes the last dims to mean 0 and variance 1, then multiplies by `weight`
/// and adds `bias`.
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
    /// The scale, of shape `normalized_shape`; initially ones.
    pub weight: Option<Var>,
    /// `normalized_shape`; initially zeros.
    pub bias: Option<Var>,
    /// The sizes of the last dims.
    pub normalized_shape: Shape,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// Creates a layer that normalizes the last dims, whose sizes are `normalized_shape`.
    ///
    /// # Panics
    ///
    /// Panics if a size is negative.
    #[track_caller]
    pub fn new(normalized_shape: impl Into<Dims>, device: &Device) -> LayerNorm {
        let normalized_shape = normalized_shape.into().sizes("LayerNorm");
        let (weight, bias) = init::identity(&normalized_shape, device);
        LayerNorm { weight: Some(weight), bias: Some(bias), normalized_shape, eps: 1e-5 }
    }

    /// Removes the bias.
    pub fn without_bias(self) -> LayerNorm {
        LayerNorm { bias: None, ..self }
    }

    /// Removes weight and bias (PyTorch's `elementwise_affine=False`).
    pub fn without_affine(self) -> LayerNorm {
        LayerNorm { weight: None, bias: None, ..self }
    }

    /// Sets the number that is added to the variance.
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

/// [`Tensor::rms_norm`] as a layer: divides by the root mean square over the last dims, then multiplies by `weight`.
#[derive(Clone, Debug)]
pub struct RMSNorm {
    /// The scale, of shape `normalized_shape`; initially ones.
    pub weight: Option<Var>,
    /// The sizes of the last dims.
    pub normalized_shape: Shape,
    /// Added to the mean square.
    pub eps: f64,
}

impl RMSNorm {
    /// Creates a layer that normalizes the last dims, whose sizes are `normalized_shape`. `eps` is the f32 epsilon,
    /// 2^-23, as in PyTorch.
    ///
    /// # Panics
    ///
    /// Panics if a size is negative.
    #[track_caller]
    pub fn new(normalized_shape: impl Into<Dims>, device: &Device) -> RMSNorm {
        let normalized_shape = normalized_shape.into().sizes("RMSNorm");
        let (weight, _) = init::identity(&normalized_shape, device);
        RMSNorm { weight: Some(weight), normalized_shape, eps: f32::EPSILON.into() }
    }

    /// Removes the weight (PyTorch's `elementwise_affine=False`).
    pub fn without_affine(self) -> RMSNorm {
        RMSNorm { weight: None, ..self }
    }

    /// Sets the number that is added to the mean square.
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

/// [`Tensor::group_norm`] as a layer: normalizes each group of channels (dim 1) of each sample to mean 0 and variance
/// 1, then multiplies by `weight` and adds `bias` per channel.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// `[channels]`; initially ones.
    pub weight: Option<Var>,
    /// `[channels]`; initially zeros.
    pub bias: Option<Var>,
    /// The number of groups of channels.
    pub num_groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl GroupNorm {
    /// Creates a layer for `num_channels` channels in `num_groups` groups.
    ///
    /// # Panics
    ///
    /// Panics if the parameters exceed the device's storage binding limit. [`Module::forward`] panics if the channels
    /// are not divisible by the groups.
    #[track_caller]
    pub fn new(num_groups: usize, num_channels: usize, device: &Device) -> GroupNorm {
        let (weight, bias) = init::identity(&[num_channels].into(), device);
        GroupNorm { weight: Some(weight), bias: Some(bias), num_groups, eps: 1e-5 }
    }

    /// Removes weight and bias (PyTorch's `affine=False`).
    pub fn without_affine(self) -> GroupNorm {
        GroupNorm { weight: None, bias: None, ..self }
    }

    /// Sets the number that is added to the variance.
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

/// Batch norm for `[batch, channels]` or `[batch, channels, length]`.
pub type BatchNorm1d = BatchNormNd<1>;

/// Batch norm for `[batch, channels, height, width]`.
///
/// ```
/// use wgrad::nn::{BatchNorm2d, Module};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let norm = BatchNorm2d::new(3, &dev);
/// norm.forward(&Tensor::ones([8, 3, 4, 4], &dev)); // the running mean becomes 0.9 * 0 + 0.1 * 1
/// assert_eq!(norm.running_mean.tensor().to_vec::<f32>().unwrap(), [0.1; 3]);
/// ```
pub type BatchNorm2d = BatchNormNd<2>;

/// Normalizes each channel (dim 1) to mean 0 and variance 1, then multiplies by `weight` and adds `bias`. In training
/// it uses the statistics of the batch and updates the running statistics with `momentum`
/// ([`Tensor::batch_norm_train`]); in evaluation it uses the running statistics ([`Tensor::batch_norm`]). It is
/// PyTorch's [`BatchNorm`](https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html).
#[derive(Clone, Debug)]
pub struct BatchNormNd<const N: usize> {
    /// `[channels]`; initially ones.
    pub weight: Option<Var>,
    /// `[channels]`; initially zeros.
    pub bias: Option<Var>,
    /// `[channels]`; initially zeros.
    pub running_mean: Var,
    /// `[channels]`; initially ones.
    pub running_var: Var,
    /// The number of training batches so far: an i32 (in PyTorch an int64).
    pub num_batches_tracked: Var,
    /// The weight of a new batch in the running statistics. With `None` they are the mean over all batches.
    pub momentum: Option<f64>,
    /// Added to the variance.
    pub eps: f64,
    mode: Mode,
}

impl<const N: usize> BatchNormNd<N> {
    /// Creates a layer for `num_features` channels.
    ///
    /// # Panics
    ///
    /// Panics if the parameters exceed the device's storage binding limit.
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

    /// Removes weight and bias (PyTorch's `affine=False`).
    pub fn without_affine(self) -> Self {
        BatchNormNd { weight: None, bias: None, ..self }
    }

    /// Sets the weight of a new batch in the running statistics. With `None` the running statistics are the mean over
    /// all batches, all with the same weight.
    pub fn momentum(self, momentum: impl Into<Option<f64>>) -> Self {
        BatchNormNd { momentum: momentum.into(), ..self }
    }

    /// Sets the number that is added to the variance.
    pub fn eps(self, eps: f64) -> Self {
        BatchNormNd { eps, ..self }
    }
}

impl<const N: usize> Module for BatchNormNd<N> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        if x.rank() != N + 2 && (N != 1 || x.rank() != 2) {
            refuse!(self.kind(), "expects [batch, channels] and {N} more dims, got {x}");
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
            // With momentum 1, the running statistics are the statistics of this batch.
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
