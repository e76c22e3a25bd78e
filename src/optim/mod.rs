//! Optimizers: each is a formula over a parameter, its gradient and some state, written as ordinary graph. A step is
//! one plan with the forward and the backward pass; rates and step counts are uniforms, so that changing them plans
//! and compiles nothing.
//!
//! Gradients that several `backward` calls add up before one [`step`](Optimizer::step) are accumulated: divide each
//! loss by their number, and it is the step of the larger batch.
//!
//! ```
//! use wgrad::optim::{Optimizer, SGD};
//! use wgrad::{Device, Tensor, Var};
//! let w = Var::parameter(Tensor::new([1.0], [1], &Device::cpu()));
//! let mut opt = SGD::new(vec![w.clone()], 0.5);
//! for x in [2.0, 4.0] {
//!     (w.tensor() * x / 2.0).sum().backward();
//! }
//! opt.step(); // by the mean gradient, 3
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

/// Changes parameters by their gradients.
pub trait Optimizer: Stateful + Debug {
    /// Puts into every parameter that has a gradient what the optimizer makes of it, and takes the gradient (a new one
    /// starts from nothing). Nothing is computed yet: [`step`](Optimizer::step) does both.
    fn update(&mut self);

    /// The places it trains, of all its groups.
    fn params(&self) -> Vec<Var>;

    /// The learning rate: the first group's, where there are several.
    fn lr(&self) -> f64;

    /// Changes the learning rate from the next step on; the other groups' in proportion.
    fn set_lr(&mut self, lr: f64);

    /// Updates the parameters, and has the device compute what is pending. It does not wait; a failure comes out of the
    /// next read.
    fn step(&mut self) {
        self.update();
        if let Some(param) = self.params().first() {
            param.tensor().device().realize_pending();
        }
    }

    /// Forgets all gradients. Needed only where gradients were computed that no step shall use.
    fn zero_grad(&self) {
        self.params().iter().for_each(Var::zero_grad);
    }
}

/// Panics unless every number is at least 0: the message names the optimizer and the argument.
#[track_caller]
fn check_positive(optimizer: &str, arguments: &[(&str, f64)]) {
    for (name, value) in arguments {
        if value.is_nan() || *value < 0.0 {
            crate::core::shape::refuse!(optimizer, "{name} must not be negative: {value}");
        }
    }
}

/// Panics unless every number is in [0, 1).
#[track_caller]
fn check_shares(optimizer: &str, name: &str, shares: &[f64]) {
    if let Some(wrong) = shares.iter().find(|share| !(0.0..1.0).contains(*share)) {
        crate::core::shape::refuse!(optimizer, "{name} must be in [0, 1): {wrong}");
    }
}
