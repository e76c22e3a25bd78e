//! The affine layer.

use super::{Module, Visitor};
use crate::device::Device;
use crate::random;
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// `x W^T + b`: `[.., in]` to `[.., out]`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Var,
    /// `[out]`
    pub bias: Option<Var>,
}

impl Linear {
    /// With weight and bias uniform in ±1/√in, drawn from this thread's generator (PyTorch's default: Kaiming uniform
    /// with a = √5).
    #[track_caller]
    pub fn new(in_features: usize, out_features: usize, device: &Device) -> Linear {
        let weight = uniform([out_features, in_features].into(), in_features, device);
        let bias = uniform([out_features].into(), in_features, device);
        Linear { weight, bias: Some(bias) }
    }

    /// Without a bias.
    #[track_caller]
    pub fn without_bias(in_features: usize, out_features: usize, device: &Device) -> Linear {
        Linear { weight: uniform([out_features, in_features].into(), in_features, device), bias: None }
    }
}

/// Drawn on the host, so that a seed gives the same weights on every device.
#[track_caller]
fn uniform(shape: Shape, fan_in: usize, device: &Device) -> Var {
    let bound = 1.0 / (fan_in as f32).sqrt();
    let data: Vec<f32> =
        random::next_stream().uniform(shape.numel()).iter().map(|x| (2.0 * x - 1.0) * bound).collect();
    Var::parameter(Tensor::new(data, shape, device))
}

impl Module for Linear {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight.tensor(), self.bias.as_ref().map(Var::tensor).as_ref())
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.var("weight", &self.weight);
        if let Some(bias) = &self.bias {
            visitor.var("bias", bias);
        }
    }
}
