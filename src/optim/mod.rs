//! Optimizers: each is a formula over a parameter, its gradient and some state, written as ordinary graph. A step is
//! one plan with the forward and the backward pass; rates and step counts are uniforms, so that changing them plans
//! and compiles nothing.

mod adagrad;
mod adam;
mod clip;
mod rmsprop;
mod schedule;
mod sgd;

pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use clip::clip_grad_norm;
pub use rmsprop::RMSprop;
pub use schedule::{CosineAnnealingLR, LinearLR, OneCycleLR, Schedule, StepLR};
pub use sgd::SGD;

use crate::no_grad;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// Changes parameters by their gradients.
pub trait Optimizer {
    /// Updates every parameter that has a gradient, takes the gradient (a new one starts from nothing), and has the
    /// device compute what is pending. It does not wait; a failure comes out of the next read.
    fn step(&mut self);

    /// The places it trains.
    fn params(&self) -> &[Var];

    /// The learning rate.
    fn lr(&self) -> f64;

    /// Changes the learning rate from the next step on.
    fn set_lr(&mut self, lr: f64);

    /// Forgets all gradients. Needed only where gradients were computed that no step shall use.
    fn zero_grad(&self) {
        self.params().iter().for_each(Var::zero_grad);
    }
}

/// Gives each parameter that has a gradient the tensor that `update` makes of its number, its value and its gradient.
fn update_each(params: &[Var], mut update: impl FnMut(usize, &Tensor, Tensor) -> Tensor) {
    no_grad(|| {
        for (i, param) in params.iter().enumerate() {
            if let Some(gradient) = param.take_grad() {
                param.set(update(i, &param.tensor(), gradient));
            }
        }
    });
    if let Some(param) = params.first() {
        param.tensor().device().realize_pending();
    }
}

/// Panics unless every number is at least 0: the message names the optimizer and the argument.
#[track_caller]
fn check_positive(optimizer: &str, arguments: &[(&str, f64)]) {
    for (name, value) in arguments {
        if value.is_nan() || *value < 0.0 {
            crate::shape::refuse!(optimizer, "{name} must not be negative: {value}");
        }
    }
}
