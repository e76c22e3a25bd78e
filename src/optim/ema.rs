//! Exponential moving averages of weights.

use super::check_shares;
use crate::core::error::Error;
use crate::core::grad_mode::no_grad;
use crate::io::{State, Stateful};
use crate::tensor::var::Var;

/// An exponential moving average of parameters (Polyak and Juditsky, 1992; PyTorch's `get_ema_multi_avg_fn`). It often
/// generalizes better than the last weights. It starts with the current parameters.
///
/// ```
/// use wgrad::optim::Ema;
/// use wgrad::{Device, Tensor, Var};
/// let w = Var::parameter(Tensor::new([1.0], [1], &Device::cpu()));
/// let mut ema = Ema::new(vec![w.clone()], 0.75);
/// w.set(Tensor::new([5.0], [1], &Device::cpu())); // a step
/// ema.update();
/// ema.swap(); // to evaluate
/// assert_eq!(w.tensor().to_vec::<f32>().unwrap(), [2.0]);
/// ema.swap(); // to train on
/// assert_eq!(w.tensor().to_vec::<f32>().unwrap(), [5.0]);
/// ```
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    /// Each parameter and its mean.
    averages: Vec<(Var, Var)>,
}

impl Ema {
    /// Creates an average. Each update keeps the fraction `decay` of the mean, in [0, 1).
    ///
    /// # Panics
    ///
    /// Panics if `decay` is not in [0, 1).
    #[track_caller]
    pub fn new(params: Vec<Var>, decay: f64) -> Ema {
        check_shares("Ema", "decay", &[decay]);
        let averages = params.into_iter().map(|param| (param.clone(), Var::buffer(param.tensor())));
        Ema { decay, averages: averages.collect() }
    }

    /// Updates the means with the current parameters. Call it after each step; the means are computed with the next
    /// step.
    pub fn update(&mut self) {
        no_grad(|| {
            for (param, mean) in &self.averages {
                mean.set(mean.tensor() * self.decay + param.tensor() * (1.0 - self.decay));
            }
        });
    }

    /// Swaps the means with the parameters. A second call swaps them back.
    pub fn swap(&mut self) {
        for (param, mean) in &self.averages {
            let tensor = param.tensor();
            param.set(mean.tensor());
            mean.set(tensor);
        }
    }
}

/// The state of an average: the means, named `0`, `1` and so on.
impl Stateful for Ema {
    fn state(&self) -> State {
        let mut state = State::default();
        for (i, (_, mean)) in self.averages.iter().enumerate() {
            state.put_tensor(&i.to_string(), mean.tensor());
        }
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        let means = self.averages.iter().enumerate().map(|(i, (_, mean))| (i.to_string(), mean.clone()));
        state.fill(means.collect())
    }
}
