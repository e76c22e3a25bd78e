//! Adam, and AdamW with its decay apart from the gradient: one formula.

use super::{Optimizer, check_positive, update_each};
use crate::tensor::var::Var;

/// What Adam and AdamW have in common.
#[derive(Debug)]
struct Moments {
    params: Vec<Var>,
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
    states: Vec<Option<State>>,
}

/// One parameter's running means, from its first step on.
#[derive(Debug)]
struct State {
    steps: i32,
    /// Of the gradient.
    mean: Var,
    /// Of its square.
    square: Var,
    /// The largest of those so far, with AMSGrad.
    largest: Option<Var>,
}

/// Where weight decay acts.
#[derive(Clone, Copy, PartialEq)]
enum Decay {
    /// On the gradient, and so scaled like it.
    Gradient,
    /// On the parameter.
    Parameter,
}

impl Moments {
    #[track_caller]
    fn new(name: &str, params: Vec<Var>, lr: f64, weight_decay: f64) -> Moments {
        check_positive(name, &[("lr", lr)]);
        let states = params.iter().map(|_| None).collect();
        Moments { params, lr, betas: (0.9, 0.999), eps: 1e-8, weight_decay, amsgrad: false, states }
    }

    fn step(&mut self, decay: Decay) {
        let Moments { lr, betas, eps, weight_decay, amsgrad, ref mut states, .. } = *self;
        update_each(&self.params, |i, param, mut gradient| {
            let mut param = param.clone();
            if weight_decay != 0.0 {
                match decay {
                    Decay::Gradient => gradient = gradient + &param * weight_decay,
                    Decay::Parameter => param = param * (1.0 - lr * weight_decay),
                }
            }
            let state = states[i].get_or_insert_with(|| State {
                steps: 0,
                mean: Var::buffer(param.zeros_like()),
                square: Var::buffer(param.zeros_like()),
                largest: amsgrad.then(|| Var::buffer(param.zeros_like())),
            });
            state.steps += 1;
            let mean = state.mean.tensor() * betas.0 + &gradient * (1.0 - betas.0);
            let square = state.square.tensor() * betas.1 + gradient.square() * (1.0 - betas.1);
            let size = lr / (1.0 - betas.0.powi(state.steps));
            let correction = 1.0 / (1.0 - betas.1.powi(state.steps)).sqrt();
            let spread = match &state.largest {
                Some(place) => {
                    let largest = place.tensor().maximum(&square);
                    place.set(largest.clone());
                    largest
                }
                None => square.clone(),
            };
            let updated = param - &mean * size / (spread.sqrt() * correction + eps);
            state.mean.set(mean);
            state.square.set(square);
            updated
        });
    }
}

macro_rules! adam {
    ($(#[$doc:meta])* $name:ident, $decay:expr, $default_decay:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(Moments);

        impl $name {
            /// With betas 0.9 and 0.999, and eps 1e-8.
            #[track_caller]
            pub fn new(params: Vec<Var>, lr: f64) -> $name {
                $name(Moments::new(stringify!($name), params, lr, $default_decay))
            }

            /// How much of the running means of the gradient and of its square each step keeps.
            #[track_caller]
            pub fn betas(mut self, first: f64, second: f64) -> $name {
                if !(0.0..1.0).contains(&first) || !(0.0..1.0).contains(&second) {
                    crate::shape::refuse!(stringify!($name), "betas must be in [0, 1): {first} and {second}");
                }
                self.0.betas = (first, second);
                self
            }

            /// Added to the root, so that nothing is divided by 0.
            #[track_caller]
            pub fn eps(mut self, eps: f64) -> $name {
                check_positive(stringify!($name), &[("eps", eps)]);
                self.0.eps = eps;
                self
            }

            /// Divides by the largest mean square so far, so that a rate never grows again (Reddi et al., 2018).
            /// To be said before the first step.
            pub fn amsgrad(mut self, amsgrad: bool) -> $name {
                self.0.amsgrad = amsgrad;
                self
            }

            /// How much of the parameter decays, for a learning rate of 1.
            #[track_caller]
            pub fn weight_decay(mut self, weight_decay: f64) -> $name {
                check_positive(stringify!($name), &[("weight_decay", weight_decay)]);
                self.0.weight_decay = weight_decay;
                self
            }
        }

        impl Optimizer for $name {
            fn step(&mut self) {
                self.0.step($decay);
            }

            fn params(&self) -> &[Var] {
                &self.0.params
            }

            fn lr(&self) -> f64 {
                self.0.lr
            }

            fn set_lr(&mut self, lr: f64) {
                self.0.lr = lr;
            }
        }
    };
}

adam! {
    /// Adam (Kingma and Ba, 2015; [PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html)).
    /// Weight decay, 0 unless set, acts on the gradient.
    Adam, Decay::Gradient, 0.0
}

adam! {
    /// Adam with decoupled weight decay, 0.01 unless set
    /// (Loshchilov and Hutter, 2019; [PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html)).
    AdamW, Decay::Parameter, 0.01
}
