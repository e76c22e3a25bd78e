//! Activations composed of elementwise operations. An operand that could overflow in a branch that is not selected is
//! clamped first: otherwise the gradient would be 0 times infinity, which is NaN.

use std::f64::consts::FRAC_2_PI;

use super::{Const, Operand, Tensor, check_operands};
use crate::graph::Accepts;

impl Tensor {
    /// `x` where `x > 0`, else `negative_slope * x` (Maas et al., 2013).
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32, or if `negative_slope` is a tensor that does not broadcast with it.
    #[track_caller]
    pub fn leaky_relu(&self, negative_slope: impl Into<Operand>) -> Tensor {
        check_operands("leaky_relu", Accepts::Float, &[self]);
        self.gt(Const(0.0)).where_(self, self * negative_slope)
    }

    /// `x` where `x > 0`, else `alpha * (e^x - 1)` (Clevert et al., 2015).
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32, or if `alpha` is a tensor that does not broadcast with it.
    #[track_caller]
    pub fn elu(&self, alpha: impl Into<Operand>) -> Tensor {
        check_operands("elu", Accepts::Float, &[self]);
        let positive = self.gt(Const(0.0));
        positive.where_(self, positive.where_(Const(0.0), self).expm1() * alpha)
    }

    /// `x * sigmoid(x)` (Elfwing et al., 2017).
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32.
    #[track_caller]
    pub fn silu(&self) -> Tensor {
        check_operands("silu", Accepts::Float, &[self]);
        self * self.sigmoid()
    }

    /// `x Φ(x)` with the exact normal distribution function (Hendrycks and Gimpel, 2016).
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32.
    #[track_caller]
    pub fn gelu(&self) -> Tensor {
        check_operands("gelu", Accepts::Float, &[self]);
        self * self.ndtr()
    }

    /// The tanh approximation of [`gelu`](Tensor::gelu), `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`. It is computed as
    /// `x sigmoid(2 √(2/π) (x + 0.044715 x³))`, which stays accurate where the tanh is near -1.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32.
    #[track_caller]
    pub fn gelu_tanh(&self) -> Tensor {
        check_operands("gelu_tanh", Accepts::Float, &[self]);
        let scale = 2.0 * FRAC_2_PI.sqrt();
        self * (self * (self.square() * Const(0.044715 * scale) + Const(scale))).sigmoid()
    }

    /// `ln(1 + e^(beta x)) / beta`, or `x` where `beta x > threshold`.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32.
    #[track_caller]
    pub fn softplus(&self, beta: f64, threshold: f64) -> Tensor {
        check_operands("softplus", Accepts::Float, &[self]);
        let scaled = self * beta;
        let linear = scaled.gt(threshold);
        linear.where_(self, linear.where_(Const(0.0), &scaled).exp().log1p() * (1.0 / beta))
    }

    /// `ln sigmoid(x)`, computed without overflow.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32.
    #[track_caller]
    pub fn logsigmoid(&self) -> Tensor {
        check_operands("logsigmoid", Accepts::Float, &[self]);
        self.minimum(Const(0.0)) - (-self.abs()).exp().log1p()
    }
}
