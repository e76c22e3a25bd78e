//! Adagrad.

use super::{Optimizer, check_positive, update_each};
use crate::tensor::var::Var;

/// Gradient descent divided by the root of the sum of the squares of all gradients so far
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.Adagrad.html); Duchi et al., 2011).
#[derive(Debug)]
pub struct Adagrad {
    params: Vec<Var>,
    lr: f64,
    lr_decay: f64,
    eps: f64,
    weight_decay: f64,
    initial: f64,
    states: Vec<Option<State>>,
}

/// One parameter's, from its first step on.
#[derive(Debug)]
struct State {
    steps: u32,
    /// The sum of the gradients' squares.
    sum: Var,
}

impl Adagrad {
    /// With eps 1e-10.
    #[track_caller]
    pub fn new(params: Vec<Var>, lr: f64) -> Adagrad {
        check_positive("Adagrad", &[("lr", lr)]);
        let states = params.iter().map(|_| None).collect();
        Adagrad { params, lr, lr_decay: 0.0, eps: 1e-10, weight_decay: 0.0, initial: 0.0, states }
    }

    /// Step `n` (from 0 on) has the rate `lr / (1 + n * lr_decay)`.
    #[track_caller]
    pub fn lr_decay(mut self, lr_decay: f64) -> Adagrad {
        check_positive("Adagrad", &[("lr_decay", lr_decay)]);
        self.lr_decay = lr_decay;
        self
    }

    /// Added to the root, so that nothing is divided by 0.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Adagrad {
        check_positive("Adagrad", &[("eps", eps)]);
        self.eps = eps;
        self
    }

    /// Adds this multiple of the parameter to its gradient.
    #[track_caller]
    pub fn weight_decay(mut self, weight_decay: f64) -> Adagrad {
        check_positive("Adagrad", &[("weight_decay", weight_decay)]);
        self.weight_decay = weight_decay;
        self
    }

    /// Where the sums start.
    #[track_caller]
    pub fn initial_accumulator_value(mut self, initial: f64) -> Adagrad {
        check_positive("Adagrad", &[("initial_accumulator_value", initial)]);
        self.initial = initial;
        self
    }
}

impl Optimizer for Adagrad {
    fn step(&mut self) {
        let Adagrad { lr, lr_decay, eps, weight_decay, initial, ref mut states, .. } = *self;
        update_each(&self.params, |i, param, mut gradient| {
            if weight_decay != 0.0 {
                gradient = gradient + param * weight_decay;
            }
            let state = states[i]
                .get_or_insert_with(|| State { steps: 0, sum: Var::buffer(param.zeros_like() + initial) });
            let rate = lr / (1.0 + f64::from(state.steps) * lr_decay);
            state.steps += 1;
            let sum = state.sum.tensor() + gradient.square();
            state.sum.set(sum.clone());
            param - gradient * rate / (sum.sqrt() + eps)
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
