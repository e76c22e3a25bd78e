//! Modules without parameters. Each calls the `Tensor` method of its name, with PyTorch's defaults.

use super::Module;
use super::summary::record_output;
use crate::tensor::Tensor;

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident $method:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;

        impl Module for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                record_output(self, x.$method())
            }
        }
    )* };
}
activations! {
    /// `max(x, 0)`: [`Tensor::relu`].
    ReLU relu;
    /// The hyperbolic tangent: [`Tensor::tanh`].
    Tanh tanh;
    /// `1 / (1 + e^-x)`: [`Tensor::sigmoid`].
    Sigmoid sigmoid;
    /// `x sigmoid(x)`: [`Tensor::silu`].
    SiLU silu;
    /// `ln sigmoid(x)`: [`Tensor::logsigmoid`].
    LogSigmoid logsigmoid;
}

macro_rules! modules {
    ($($name:ident |$own:ident, $x:ident| $call:expr;)*) => { $(
        impl Module for $name {
            #[track_caller]
            fn forward(&self, $x: &Tensor) -> Tensor {
                let $own = self;
                record_output(self, $call)
            }
        }
    )* };
}
modules! {
    GELU |own, x| if own.tanh { x.gelu_tanh() } else { x.gelu() };
    LeakyReLU |own, x| x.leaky_relu(own.negative_slope);
    ELU |own, x| x.elu(own.alpha);
    Softplus |own, x| x.softplus(own.beta, own.threshold);
    Softmax |own, x| x.softmax(own.0);
    LogSoftmax |own, x| x.log_softmax(own.0);
    Flatten |_own, x| x.flatten(1, -1);
}

/// `x Φ(x)`: [`Tensor::gelu`].
#[derive(Clone, Copy, Debug, Default)]
pub struct GELU {
    /// Use the tanh approximation, [`Tensor::gelu_tanh`].
    pub tanh: bool,
}

/// `x` where `x > 0`, else `negative_slope x`: [`Tensor::leaky_relu`].
#[derive(Clone, Copy, Debug)]
pub struct LeakyReLU {
    /// The slope for negative `x`; 0.01 by default.
    pub negative_slope: f64,
}

impl Default for LeakyReLU {
    fn default() -> LeakyReLU {
        LeakyReLU { negative_slope: 0.01 }
    }
}

/// `x` where `x > 0`, else `alpha (e^x - 1)`: [`Tensor::elu`].
#[derive(Clone, Copy, Debug)]
pub struct ELU {
    /// The limit for large negative `x` is `-alpha`; 1 by default.
    pub alpha: f64,
}

impl Default for ELU {
    fn default() -> ELU {
        ELU { alpha: 1.0 }
    }
}

/// `ln(1 + e^(beta x)) / beta`: [`Tensor::softplus`].
#[derive(Clone, Copy, Debug)]
pub struct Softplus {
    /// The sharpness; 1 by default.
    pub beta: f64,
    /// Where `beta x` is above the threshold, the result is `x`; 20 by default.
    pub threshold: f64,
}

impl Default for Softplus {
    fn default() -> Softplus {
        Softplus { beta: 1.0, threshold: 20.0 }
    }
}

/// [`Tensor::softmax`] along the given dim.
#[derive(Clone, Copy, Debug)]
pub struct Softmax(pub i64);

/// [`Tensor::log_softmax`] along the given dim.
#[derive(Clone, Copy, Debug)]
pub struct LogSoftmax(pub i64);

/// Merges all dims except the first: `[batch, ..]` to `[batch, features]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flatten;
