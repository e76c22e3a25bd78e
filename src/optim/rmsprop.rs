//! RMSprop.

use super::{Optim, Rule, Slots, check_positive};
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// RMSprop: the gradient divided by the root of a running mean of its square
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.RMSprop.html); Hinton, 2012).
pub type RMSprop = Optim<MeanSquare>;

/// The update rule of [`RMSprop`].
#[derive(Debug)]
pub struct MeanSquare {
    alpha: f64,
    eps: f64,
    momentum: f64,
    centered: bool,
}

impl RMSprop {
    /// Creates the optimizer with alpha 0.99, eps 1e-8, and no momentum.
    ///
    /// # Panics
    ///
    /// Panics if `lr` is negative or NaN, or if a parameter is listed twice.
    #[track_caller]
    pub fn new(params: Vec<Var>, lr: f64) -> RMSprop {
        Optim::with(MeanSquare { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false }, params, lr)
    }

    /// Sets the decay rate of the running mean of the squared gradient.
    ///
    /// # Panics
    ///
    /// Panics if `alpha` is negative or NaN.
    #[track_caller]
    pub fn alpha(mut self, alpha: f64) -> RMSprop {
        check_positive("RMSprop", &[("alpha", alpha)]);
        self.rule.alpha = alpha;
        self
    }

    /// Sets the number that is added to the root, to avoid a division by 0.
    ///
    /// # Panics
    ///
    /// Panics if `eps` is negative or NaN.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> RMSprop {
        check_positive("RMSprop", &[("eps", eps)]);
        self.rule.eps = eps;
        self
    }

    /// Sets the momentum: the fraction of the last update that each step keeps. Call it before the first step.
    ///
    /// # Panics
    ///
    /// Panics if `momentum` is negative or NaN.
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> RMSprop {
        check_positive("RMSprop", &[("momentum", momentum)]);
        self.rule.momentum = momentum;
        self
    }

    /// Divides by the standard deviation of the gradient instead. Call it before the first step.
    pub fn centered(mut self, centered: bool) -> RMSprop {
        self.rule.centered = centered;
        self
    }
}

impl Rule for MeanSquare {
    const NAME: &'static str = "RMSprop";

    fn slots(&self) -> Vec<&'static str> {
        let asked = [("square", true), ("mean", self.centered), ("velocity", self.momentum != 0.0)];
        asked.into_iter().filter_map(|(name, kept)| kept.then_some(name)).collect()
    }

    fn update(&self, lr: f64, param: &Tensor, gradient: Tensor, slots: &mut Slots) -> Tensor {
        let mut variance = slots.ema_update("square", &gradient.square(), self.alpha);
        if self.centered {
            variance = variance - slots.ema_update("mean", &gradient, self.alpha).square();
        }
        let mut update = gradient / (variance.sqrt() + self.eps);
        if let Some(velocity) = slots.get("velocity") {
            update = slots.put("velocity", velocity * self.momentum + update);
        }
        param - update * lr
    }
}
