//! RMSprop.

use super::{Optimizer, check_positive, update_each};
use crate::tensor::var::Var;

/// Gradient descent divided by a running root mean square of the gradient
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.RMSprop.html); Hinton, 2012).
#[derive(Debug)]
pub struct RMSprop {
    params: Vec<Var>,
    lr: f64,
    alpha: f64,
    eps: f64,
    weight_decay: f64,
    momentum: f64,
    centered: bool,
    states: Vec<Option<State>>,
}

/// One parameter's, from its first step on; those that are not asked for are not kept.
#[derive(Debug)]
struct State {
    /// The running mean of the gradient's square.
    square: Var,
    /// That of the gradient.
    mean: Option<Var>,
    velocity: Option<Var>,
}

impl RMSprop {
    /// With alpha 0.99, eps 1e-8, no momentum.
    #[track_caller]
    pub fn new(params: Vec<Var>, lr: f64) -> RMSprop {
        check_positive("RMSprop", &[("lr", lr)]);
        let states = params.iter().map(|_| None).collect();
        let (weight_decay, momentum, centered) = (0.0, 0.0, false);
        RMSprop { params, lr, alpha: 0.99, eps: 1e-8, weight_decay, momentum, centered, states }
    }

    /// How much of the running mean of the gradient's square each step keeps.
    #[track_caller]
    pub fn alpha(mut self, alpha: f64) -> RMSprop {
        check_positive("RMSprop", &[("alpha", alpha)]);
        self.alpha = alpha;
        self
    }

    /// Added to the root, so that nothing is divided by 0.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> RMSprop {
        check_positive("RMSprop", &[("eps", eps)]);
        self.eps = eps;
        self
    }

    /// Adds this multiple of the parameter to its gradient.
    #[track_caller]
    pub fn weight_decay(mut self, weight_decay: f64) -> RMSprop {
        check_positive("RMSprop", &[("weight_decay", weight_decay)]);
        self.weight_decay = weight_decay;
        self
    }

    /// The share of the last update that each step keeps. To be said before the first step.
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> RMSprop {
        check_positive("RMSprop", &[("momentum", momentum)]);
        self.momentum = momentum;
        self
    }

    /// Divides by the deviation of the gradient instead. To be said before the first step.
    pub fn centered(mut self, centered: bool) -> RMSprop {
        self.centered = centered;
        self
    }
}

impl Optimizer for RMSprop {
    fn step(&mut self) {
        let RMSprop { lr, alpha, eps, weight_decay, momentum, centered, ref mut states, .. } = *self;
        update_each(&self.params, |i, param, mut gradient| {
            if weight_decay != 0.0 {
                gradient = gradient + param * weight_decay;
            }
            let zeros = || Var::buffer(param.zeros_like());
            let state = states[i].get_or_insert_with(|| State {
                square: zeros(),
                mean: centered.then(zeros),
                velocity: (momentum != 0.0).then(zeros),
            });
            let square = state.square.tensor() * alpha + gradient.square() * (1.0 - alpha);
            state.square.set(square.clone());
            let spread = match &state.mean {
                Some(place) => {
                    let mean = place.tensor() * alpha + &gradient * (1.0 - alpha);
                    place.set(mean.clone());
                    square - mean.square()
                }
                None => square,
            };
            let mut update = gradient / (spread.sqrt() + eps);
            if let Some(place) = &state.velocity {
                update = place.tensor() * momentum + update;
                place.set(update.clone());
            }
            param - update * lr
        });
    }

    fn params(&self) -> &[Var] {
        &self.params
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }
}
