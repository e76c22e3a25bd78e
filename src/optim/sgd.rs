//! Stochastic gradient descent.

use super::{Optimizer, check_positive, update_each};
use crate::tensor::var::Var;

/// Gradient descent with momentum, Nesterov's variant and weight decay
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
#[derive(Debug)]
pub struct SGD {
    params: Vec<Var>,
    lr: f64,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
    weight_decay: f64,
    /// The running mean of each parameter's gradients, from its first step on.
    velocities: Vec<Option<Var>>,
}

impl SGD {
    /// Plain gradient descent.
    #[track_caller]
    pub fn new(params: Vec<Var>, lr: f64) -> SGD {
        check_positive("SGD", &[("lr", lr)]);
        let velocities = vec![None; params.len()];
        SGD { params, lr, momentum: 0.0, dampening: 0.0, nesterov: false, weight_decay: 0.0, velocities }
    }

    /// The share of the running mean that each step keeps.
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> SGD {
        check_positive("SGD", &[("momentum", momentum)]);
        self.momentum = momentum;
        self
    }

    /// The share of a new gradient that momentum leaves out.
    pub fn dampening(mut self, dampening: f64) -> SGD {
        self.dampening = dampening;
        self
    }

    /// Looks ahead along the momentum.
    #[track_caller]
    pub fn nesterov(mut self, nesterov: bool) -> SGD {
        if nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            crate::shape::refuse!("SGD", "nesterov wants a momentum, and no dampening");
        }
        self.nesterov = nesterov;
        self
    }

    /// Adds this multiple of the parameter to its gradient.
    #[track_caller]
    pub fn weight_decay(mut self, weight_decay: f64) -> SGD {
        check_positive("SGD", &[("weight_decay", weight_decay)]);
        self.weight_decay = weight_decay;
        self
    }
}

impl Optimizer for SGD {
    fn step(&mut self) {
        let SGD { lr, momentum, dampening, nesterov, weight_decay, .. } = *self;
        let velocities = &mut self.velocities;
        update_each(&self.params, |i, param, mut gradient| {
            if weight_decay != 0.0 {
                gradient = gradient + param * weight_decay;
            }
            if momentum != 0.0 {
                let velocity = match &velocities[i] {
                    Some(old) => old.tensor() * momentum + &gradient * (1.0 - dampening),
                    None => gradient.clone(),
                };
                gradient = if nesterov { gradient + &velocity * momentum } else { velocity.clone() };
                match &velocities[i] {
                    Some(place) => place.set(velocity),
                    None => velocities[i] = Some(Var::buffer(velocity)),
                }
            }
            param - gradient * lr
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
