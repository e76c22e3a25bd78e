//! Adagrad.

use super::{Optim, Rule, Slots, check_positive};
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// Adagrad: the gradient divided by the root of the sum of all squared gradients
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.Adagrad.html); Duchi et al., 2011).
pub type Adagrad = Optim<SumOfSquares>;

/// The update rule of [`Adagrad`].
#[derive(Debug)]
pub struct SumOfSquares {
    lr_decay: f64,
    eps: f64,
    initial: f64,
}

impl Adagrad {
    /// Creates the optimizer with eps 1e-10.
    ///
    /// # Panics
    ///
    /// Panics if `lr` is negative or NaN, or if a parameter is listed twice.
    #[track_caller]
    pub fn new(params: Vec<Var>, lr: f64) -> Adagrad {
        Optim::with(SumOfSquares { lr_decay: 0.0, eps: 1e-10, initial: 0.0 }, params, lr)
    }

    /// Sets the decay of the learning rate: step `n` (counted from 0) uses `lr / (1 + n * lr_decay)`.
    ///
    /// # Panics
    ///
    /// Panics if `lr_decay` is negative or NaN.
    #[track_caller]
    pub fn lr_decay(mut self, lr_decay: f64) -> Adagrad {
        check_positive("Adagrad", &[("lr_decay", lr_decay)]);
        self.rule.lr_decay = lr_decay;
        self
    }

    /// Sets the number that is added to the root, to avoid a division by 0.
    ///
    /// # Panics
    ///
    /// Panics if `eps` is negative or NaN.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Adagrad {
        check_positive("Adagrad", &[("eps", eps)]);
        self.rule.eps = eps;
        self
    }

    /// Sets the initial value of the sums.
    ///
    /// # Panics
    ///
    /// Panics if `initial` is negative or NaN.
    #[track_caller]
    pub fn initial_accumulator_value(mut self, initial: f64) -> Adagrad {
        check_positive("Adagrad", &[("initial_accumulator_value", initial)]);
        self.rule.initial = initial;
        self
    }
}

impl Rule for SumOfSquares {
    const NAME: &'static str = "Adagrad";

    fn slots(&self) -> Vec<&'static str> {
        vec!["sum"]
    }

    fn update(&self, lr: f64, param: &Tensor, gradient: Tensor, slots: &mut Slots) -> Tensor {
        let rate = lr / (1.0 + f64::from(slots.steps() - 1) * self.lr_decay);
        let sum = slots.get("sum").expect("the rule has this slot") + gradient.square();
        let sum = slots.put("sum", sum + if slots.steps() == 1 { self.initial } else { 0.0 });
        param - gradient * rate / (sum.sqrt() + self.eps)
    }
}
