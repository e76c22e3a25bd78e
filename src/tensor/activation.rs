//! Activations that compose from the table's rows. Where a branch that is not taken could overflow, its operand is
//! limited first: a gradient of 0 times infinity would be NaN.

use std::f64::consts::FRAC_2_PI;

use super::{Const, Operand, Tensor, check_operands};
use crate::graph::Accepts;

impl Tensor {
    /// `x` where it is positive, else `negative_slope * x` (Maas et al., 2013).
    #[track_caller]
    pub fn leaky_relu(&self, negative_slope: impl Into<Operand>) -> Tensor {
        check_operands("leaky_relu", Accepts::Float, &[self]);
        self.gt(Const(0.0)).where_(self, self * negative_slope)
    }

    /// `x` where it is positive, else `alpha * (e^x - 1)` (Clevert et al., 2015).
    #[track_caller]
    pub fn elu(&self, alpha: impl Into<Operand>) -> Tensor {
        check_operands("elu", Accepts::Float, &[self]);
        let positive = self.gt(Const(0.0));
        positive.where_(self, positive.where_(Const(0.0), self).expm1() * alpha)
    }

    /// `x * sigmoid(x)` (Elfwing et al., 2017).
    #[track_caller]
    pub fn silu(&self) -> Tensor {
        check_operands("silu", Accepts::Float, &[self]);
        self * self.sigmoid()
    }

    /// `x Φ(x)` with the exact normal distribution function (Hendrycks and Gimpel, 2016).
    #[track_caller]
    pub fn gelu(&self) -> Tensor {
        check_operands("gelu", Accepts::Float, &[self]);
        self * self.ndtr()
    }

    /// [`gelu`](Tensor::gelu) by its approximation with a tanh, `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`: written as
    /// `x sigmoid(2 √(2/π) (x + 0.044715 x³))`, which keeps its digits where the tanh is near -1.
    #[track_caller]
    pub fn gelu_tanh(&self) -> Tensor {
        check_operands("gelu_tanh", Accepts::Float, &[self]);
        let scale = 2.0 * FRAC_2_PI.sqrt();
        self * (self * (self.square() * Const(0.044715 * scale) + Const(scale))).sigmoid()
    }

    /// `ln(1 + e^(beta x)) / beta`; `x` itself where `beta x` is above `threshold`.
    #[track_caller]
    pub fn softplus(&self, beta: f64, threshold: f64) -> Tensor {
        check_operands("softplus", Accepts::Float, &[self]);
        let scaled = self * beta;
        let linear = scaled.gt(threshold);
        linear.where_(self, linear.where_(Const(0.0), &scaled).exp().log1p() * (1.0 / beta))
    }

    /// `ln sigmoid(x)`, without overflow.
    #[track_caller]
    pub fn logsigmoid(&self) -> Tensor {
        check_operands("logsigmoid", Accepts::Float, &[self]);
        self.minimum(Const(0.0)) - (-self.abs()).exp().log1p()
    }
}
