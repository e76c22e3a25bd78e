//! Lion.

use super::{Optim, Rule, Slots, check_shares};
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// Lion: steps of constant size along the sign of an interpolated momentum, with decoupled weight decay (Chen et al.,
/// 2023, *Symbolic discovery of optimization algorithms*, algorithm 2). The learning rate should be 3 to 10 times
/// smaller than for AdamW, and the weight decay larger by the same factor.
pub type Lion = Optim<SignedMomentum>;

/// The update rule of [`Lion`].
#[derive(Debug)]
pub struct SignedMomentum {
    betas: (f64, f64),
}

impl Lion {
    /// Creates the optimizer with betas 0.9 and 0.99, and no weight decay.
    ///
    /// # Panics
    ///
    /// Panics if `lr` is negative or NaN, or if a parameter is listed twice.
    #[track_caller]
    pub fn new(params: Vec<Var>, lr: f64) -> Lion {
        Optim::with(SignedMomentum { betas: (0.9, 0.99) }, params, lr)
    }

    /// Sets the weight of the momentum in the direction of a step, and the decay rate of the momentum.
    ///
    /// # Panics
    ///
    /// Panics if a beta is not in [0, 1).
    #[track_caller]
    pub fn betas(mut self, first: f64, second: f64) -> Lion {
        check_shares("Lion", "betas", &[first, second]);
        self.rule.betas = (first, second);
        self
    }
}

impl Rule for SignedMomentum {
    const NAME: &'static str = "Lion";
    const DECOUPLED: bool = true;

    fn slots(&self) -> Vec<&'static str> {
        vec!["momentum"]
    }

    fn update(&self, lr: f64, param: &Tensor, gradient: Tensor, slots: &mut Slots) -> Tensor {
        let momentum = slots.get("momentum").expect("the rule has this slot");
        let direction = momentum * self.betas.0 + &gradient * (1.0 - self.betas.0);
        slots.ema_update("momentum", &gradient, self.betas.1);
        param - direction.sign() * lr
    }
}
