//! Lion.

use super::{Optim, Rule, Slots, check_shares};
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// Steps of one size along the sign of an interpolated momentum, with decoupled weight decay
/// (Chen et al., 2023, *Symbolic discovery of optimization algorithms*, algorithm 2). It wants a rate 3 to 10 times
/// smaller than AdamW's, and a decay as many times larger.
pub type Lion = Optim<SignedMomentum>;

/// The rule of [`Lion`].
#[derive(Debug)]
pub struct SignedMomentum {
    betas: (f64, f64),
}

impl Lion {
    /// With betas 0.9 and 0.99, and no decay.
    #[track_caller]
    pub fn new(params: Vec<Var>, lr: f64) -> Lion {
        Optim::with(SignedMomentum { betas: (0.9, 0.99) }, params, lr)
    }

    /// The share of the momentum in a step's direction, and the share of it that a step keeps.
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
        let momentum = slots.get("momentum").expect("kept from the first step on");
        let direction = momentum * self.betas.0 + &gradient * (1.0 - self.betas.0);
        slots.ema_update("momentum", &gradient, self.betas.1);
        param - direction.sign() * lr
    }
}
