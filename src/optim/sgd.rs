//! Stochastic gradient descent.

use super::{Optim, Rule, Slots, check_positive};
use crate::core::shape::refuse;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// SGD: gradient descent with momentum, Nesterov momentum and weight decay
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html); Sutskever et al., 2013).
///
/// ```
/// use wgrad::optim::{Optimizer, SGD};
/// use wgrad::{Device, Tensor, Var};
/// let w = Var::parameter(Tensor::new([4.0], [1], &Device::cpu()));
/// let mut opt = SGD::new(vec![w.clone()], 0.25);
/// w.tensor().square().sum().backward();
/// opt.step();
/// assert_eq!(w.tensor().to_vec::<f32>().unwrap(), [2.0]);
/// ```
pub type SGD = Optim<Descent>;

/// The update rule of [`SGD`].
#[derive(Debug, Default)]
pub struct Descent {
    momentum: f64,
    dampening: f64,
    nesterov: bool,
}

impl SGD {
    /// Creates plain gradient descent.
    ///
    /// # Panics
    ///
    /// Panics if `lr` is negative or NaN, or if a parameter is listed twice.
    #[track_caller]
    pub fn new(params: Vec<Var>, lr: f64) -> SGD {
        Optim::with(Descent::default(), params, lr)
    }

    /// Sets the momentum: the fraction of the momentum buffer that each step keeps. Call it before the first step.
    ///
    /// # Panics
    ///
    /// Panics if `momentum` is negative or NaN.
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> SGD {
        check_positive("SGD", &[("momentum", momentum)]);
        self.rule.momentum = momentum;
        self
    }

    /// Sets the dampening: each step adds `1 - dampening` times the gradient to the momentum buffer.
    pub fn dampening(mut self, dampening: f64) -> SGD {
        self.rule.dampening = dampening;
        self
    }

    /// Whether to use Nesterov momentum.
    ///
    /// # Panics
    ///
    /// Panics if `nesterov` is set without momentum or with dampening.
    #[track_caller]
    pub fn nesterov(mut self, nesterov: bool) -> SGD {
        if nesterov && (self.rule.momentum == 0.0 || self.rule.dampening != 0.0) {
            refuse!("SGD", "nesterov needs momentum > 0 and dampening 0");
        }
        self.rule.nesterov = nesterov;
        self
    }
}

impl Rule for Descent {
    const NAME: &'static str = "SGD";

    fn slots(&self) -> Vec<&'static str> {
        if self.momentum == 0.0 { vec![] } else { vec!["velocity"] }
    }

    fn update(&self, lr: f64, param: &Tensor, mut gradient: Tensor, slots: &mut Slots) -> Tensor {
        if let Some(old) = slots.get("velocity") {
            let share = if slots.steps() == 1 { 1.0 } else { 1.0 - self.dampening };
            let velocity = slots.put("velocity", old * self.momentum + &gradient * share);
            gradient = if self.nesterov { gradient + velocity * self.momentum } else { velocity };
        }
        param - gradient * lr
    }
}
