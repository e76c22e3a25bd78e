//! Optimizers. Each optimizer is a formula of a parameter, its gradient and its state, built as an ordinary graph. A
//! step is computed in one plan together with the forward and the backward pass. Learning rates and step counts are
//! uniforms, so changing them does not cause new plans or kernels.
//!
//! Gradients of several `backward` calls before one [`step`](Optimizer::step) are accumulated. If each loss is divided
//! by the number of calls, the step equals the step for the larger batch.
//!
//! ```
//! use wgrad::optim::{Optimizer, SGD};
//! use wgrad::{Device, Tensor, Var};
//! let w = Var::parameter(Tensor::new([1.0], [1], &Device::cpu()));
//! let mut opt = SGD::new(vec![w.clone()], 0.5);
//! for x in [2.0, 4.0] {
//!     (w.tensor() * x / 2.0).sum().backward();
//! }
//! opt.step(); // uses the mean gradient, 3
//! assert_eq!(w.tensor().to_vec::<f32>().unwrap(), [-0.5]);
//! ```

mod adagrad;
mod adam;
mod clip;
mod ema;
mod lion;
mod lr_schedule;
mod muon;
mod rmsprop;
mod rule;
mod sgd;

pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use clip::{clip_grad_norm, clip_grad_value};
pub use ema::Ema;
pub use lion::Lion;
pub use lr_schedule::{
    CosineAnnealingLR, CosineAnnealingWarmRestarts, ExponentialLR, LinearLR, MultiStepLR, OneCycleLR,
    PolynomialLR, ReduceLROnPlateau, Schedule, SequentialLR, StepLR,
};
pub use muon::Muon;
pub use rmsprop::RMSprop;
pub use rule::{Optim, Rule, Slots};
pub use sgd::SGD;

use std::fmt::Debug;

use crate::io::Stateful;
use crate::tensor::var::Var;

/// Updates parameters with their gradients.
pub trait Optimizer: Stateful + Debug {
    /// Sets every parameter that has a gradient to its updated value, and clears the gradient. Nothing is computed yet;
    /// [`step`](Optimizer::step) does both.
    fn update(&mut self);

    /// Returns the parameters of all groups.
    fn params(&self) -> Vec<Var>;

    /// Returns the learning rate of the first group.
    fn lr(&self) -> f64;

    /// Sets the learning rate for the next steps. The rates of the other groups change by the same factor.
    fn set_lr(&mut self, lr: f64);

    /// Updates the parameters and submits everything pending to the device. Does not wait for the device; the next read
    /// returns an error if the step fails.
    fn step(&mut self) {
        self.update();
        if let Some(param) = self.params().first() {
            param.tensor().device().realize_pending();
        }
    }

    /// Clears all gradients. This is needed only for gradients that no step should use.
    fn zero_grad(&self) {
        self.params().iter().for_each(Var::zero_grad);
    }
}

/// Panics if a number is negative or NaN. The message names the optimizer and the argument.
#[track_caller]
fn check_positive(optimizer: &str, arguments: &[(&str, f64)]) {
    for (name, value) in arguments {
        if value.is_nan() || *value < 0.0 {
            crate::core::shape::refuse!(optimizer, "{name} must not be negative: {value}");
        }
    }
}

/// Panics if a number is not in [0, 1).
#[track_caller]
fn check_shares(optimizer: &str, name: &str, shares: &[f64]) {
    if let Some(wrong) = shares.iter().find(|share| !(0.0..1.0).contains(*share)) {
        crate::core::shape::refuse!(optimizer, "{name} must be in [0, 1): {wrong}");
    }
}
