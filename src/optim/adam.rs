//! Adam, and AdamW with decoupled weight decay. Both use the same rule.

use super::{Optim, Rule, Slots, check_positive, check_shares};
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// Adam (Kingma and Ba, 2015;
/// [PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html)). Weight decay is added to the
/// gradient; it is 0 by default.
pub type Adam = Optim<Moments<false>>;

/// Adam with decoupled weight decay, 0.01 by default (Loshchilov and Hutter, 2019;
/// [PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html)).
pub type AdamW = Optim<Moments<true>>;

/// The update rule of [`Adam`] and [`AdamW`].
#[derive(Debug)]
pub struct Moments<const DECOUPLED: bool> {
    betas: (f64, f64),
    eps: f64,
    amsgrad: bool,
}

impl<const DECOUPLED: bool> Optim<Moments<DECOUPLED>> {
    /// Creates the optimizer with betas 0.9 and 0.999, and eps 1e-8.
    ///
    /// # Panics
    ///
    /// Panics if `lr` is negative or NaN, or if a parameter is listed twice.
    #[track_caller]
    pub fn new(params: Vec<Var>, lr: f64) -> Self {
        let rule = Moments { betas: (0.9, 0.999), eps: 1e-8, amsgrad: false };
        Optim::with(rule, params, lr).weight_decay(if DECOUPLED { 0.01 } else { 0.0 })
    }

    /// Sets the decay rates of the running means of the gradient and of its square.
    ///
    /// # Panics
    ///
    /// Panics if a beta is not in [0, 1).
    #[track_caller]
    pub fn betas(mut self, first: f64, second: f64) -> Self {
        check_shares(Moments::<DECOUPLED>::NAME, "betas", &[first, second]);
        self.rule.betas = (first, second);
        self
    }

    /// Sets the number that is added to the root, to avoid a division by 0.
    ///
    /// # Panics
    ///
    /// Panics if `eps` is negative or NaN.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Self {
        check_positive(Moments::<DECOUPLED>::NAME, &[("eps", eps)]);
        self.rule.eps = eps;
        self
    }

    /// Divides by the maximum of the mean squares so far, so that the effective learning rate does not increase (Reddi
    /// et al., 2018). Call it before the first step.
    pub fn amsgrad(mut self, amsgrad: bool) -> Self {
        self.rule.amsgrad = amsgrad;
        self
    }
}

impl<const DECOUPLED: bool> Rule for Moments<DECOUPLED> {
    const NAME: &'static str = if DECOUPLED { "AdamW" } else { "Adam" };
    const DECOUPLED: bool = DECOUPLED;

    fn slots(&self) -> Vec<&'static str> {
        if self.amsgrad { vec!["mean", "square", "largest"] } else { vec!["mean", "square"] }
    }

    fn update(&self, lr: f64, param: &Tensor, gradient: Tensor, slots: &mut Slots) -> Tensor {
        let (first, second) = self.betas;
        let steps = slots.steps() as i32;
        let mean = slots.ema_update("mean", &gradient, first);
        let mut square = slots.ema_update("square", &gradient.square(), second);
        if let Some(largest) = slots.get("largest") {
            square = slots.put("largest", largest.maximum(square));
        }
        let size = lr / (1.0 - first.powi(steps));
        let correction = 1.0 / (1.0 - second.powi(steps)).sqrt();
        param - mean * size / (square.sqrt() * correction + self.eps)
    }
}
