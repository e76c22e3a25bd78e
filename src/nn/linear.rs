//! Linear and bilinear layers.

use super::summary::record_output;
use super::{Module, Visitor, init};
use crate::core::shape::refuse;
use crate::graph::Device;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// Linear layer, `x W^T + b`: `[.., in]` to `[.., out]`.
///
/// ```
/// use wgrad::nn::{Linear, Module};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let layer = Linear::new(8, 3, &dev).without_bias();
/// assert_eq!(layer.forward(&Tensor::zeros([5, 8], &dev)).shape()[..], [5, 3]);
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Var,
    /// `[out]`
    pub bias: Option<Var>,
}

impl Linear {
    /// Creates a layer whose weight and bias are uniform in ±1/√in, drawn from this thread's generator (PyTorch's
    /// default: Kaiming uniform with a = √5).
    ///
    /// # Panics
    ///
    /// Panics if the weight exceeds the device's storage binding limit.
    #[track_caller]
    pub fn new(in_features: usize, out_features: usize, device: &Device) -> Linear {
        let weight = init::within(in_features, [out_features, in_features], device);
        Linear { weight, bias: Some(init::within(in_features, [out_features], device)) }
    }

    /// Removes the bias.
    pub fn without_bias(self) -> Linear {
        Linear { bias: None, ..self }
    }
}

impl Module for Linear {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        record_output(self, x.linear(&self.weight.tensor(), value(&self.bias).as_ref()))
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.var("weight", &self.weight);
        visitor.optional("bias", &self.bias);
    }
}

/// Returns the tensor of an optional variable.
pub(super) fn value(var: &Option<Var>) -> Option<Tensor> {
    var.as_ref().map(Var::tensor)
}

/// Bilinear layer, `y[o] = x1 W[o] x2 + b[o]`
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.nn.Bilinear.html)).
///
/// ```
/// use wgrad::{Device, Tensor, nn::Bilinear};
/// let dev = Device::cpu();
/// let layer = Bilinear::new(4, 5, 3, &dev);
/// let y = layer.forward(&Tensor::ones([2, 4], &dev), &Tensor::ones([2, 5], &dev));
/// assert_eq!(y.shape()[..], [2, 3]);
/// ```
#[derive(Clone, Debug)]
pub struct Bilinear {
    /// `[out, in1, in2]`
    pub weight: Var,
    /// `[out]`
    pub bias: Option<Var>,
}

impl Bilinear {
    /// Creates a layer whose weight and bias are uniform in ±1/√in1.
    ///
    /// # Panics
    ///
    /// Panics if the weight exceeds the device's storage binding limit.
    #[track_caller]
    pub fn new(in1_features: usize, in2_features: usize, out_features: usize, device: &Device) -> Bilinear {
        let weight = init::within(in1_features, [out_features, in1_features, in2_features], device);
        Bilinear { weight, bias: Some(init::within(in1_features, [out_features], device)) }
    }

    /// Removes the bias.
    pub fn without_bias(self) -> Bilinear {
        Bilinear { bias: None, ..self }
    }

    /// Maps `[.., in1]` and `[.., in2]` to `[.., out]`.
    ///
    /// # Panics
    ///
    /// Panics if the leading dims of the inputs differ, if their last dims are not `in1` and `in2`, or if a tensor is
    /// not f32 or on another device.
    #[track_caller]
    pub fn forward(&self, x1: &Tensor, x2: &Tensor) -> Tensor {
        let weight = self.weight.tensor();
        let [out, in1, in2] = [0, 1, 2].map(|dim| weight.size(dim));
        let fits = x1.rank() > 0
            && x1.size(-1) == in1
            && x1.shape()[..x1.rank() - 1] == x2.shape()[..x2.rank().max(1) - 1]
            && x2.size(-1) == in2;
        if !fits {
            refuse!("Bilinear", "{x1} and {x2} do not fit the weight {weight} ([out, in1, in2])");
        }
        // One product, x1 W of shape [rows, out, in2], covers all outputs.
        let left = x1
            .reshape([x1.numel() / in1.max(1), in1])
            .matmul(&weight.transpose(0, 1).reshape([in1, out * in2]));
        let y = left.reshape([-1, out as i64, in2 as i64]).matmul(&x2.reshape([-1, in2 as i64, 1]));
        let y = y.reshape(x1.shape().with(x1.rank() - 1, out));
        record_output(self, value(&self.bias).map_or_else(|| y.clone(), |bias| &y + bias))
    }
}

impl Module for Bilinear {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.var("weight", &self.weight);
        visitor.optional("bias", &self.bias);
    }
}
