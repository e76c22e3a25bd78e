//! Muon.

use super::{Optim, Rule, Slots, check_shares};
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// The coefficients of the quintic iteration, chosen by Jordan et al. for a steep slope at 0.
const COEFFICIENTS: (f64, f64, f64) = (3.4445, -4.775, 2.0315);

/// Muon: orthogonalizes the momentum of a matrix approximately (all singular values near 1) with Newton-Schulz
/// iterations (Jordan et al., 2024, <https://kellerjordan.github.io/posts/muon>;
/// [PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.Muon.html), but in f32). Use it for the
/// weights of hidden layers, `[rows, columns]`, and put the other parameters into another group.
///
/// ```
/// use wgrad::nn::{Linear, Module};
/// use wgrad::optim::{AdamW, Muon};
/// let model = Linear::new(8, 8, &wgrad::Device::cpu());
/// let (matrices, rest) = model.params().into_iter().partition(|param| param.tensor().rank() == 2);
/// let opt = Muon::new(matrices, 0.02).group(AdamW::new(rest, 3e-4));
/// ```
pub type Muon = Optim<Orthogonal>;

/// The update rule of [`Muon`].
#[derive(Debug)]
pub struct Orthogonal {
    momentum: f64,
    nesterov: bool,
    iterations: usize,
}

impl Muon {
    /// Creates the optimizer with Nesterov momentum of 0.95, 5 iterations, and weight decay 0.1.
    ///
    /// # Panics
    ///
    /// Panics if a parameter is not a matrix or is listed twice, or if `lr` is negative or NaN.
    #[track_caller]
    pub fn new(params: Vec<Var>, lr: f64) -> Muon {
        let rule = Orthogonal { momentum: 0.95, nesterov: true, iterations: 5 };
        Optim::with(rule, params, lr).weight_decay(0.1)
    }

    /// Sets the decay rate of the running mean of the gradient.
    ///
    /// # Panics
    ///
    /// Panics if `momentum` is not in [0, 1).
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> Muon {
        check_shares("Muon", "momentum", &[momentum]);
        self.rule.momentum = momentum;
        self
    }

    /// Whether to use Nesterov momentum.
    pub fn nesterov(mut self, nesterov: bool) -> Muon {
        self.rule.nesterov = nesterov;
        self
    }

    /// Sets the number of Newton-Schulz iterations.
    pub fn iterations(mut self, iterations: usize) -> Muon {
        self.rule.iterations = iterations;
        self
    }
}

impl Rule for Orthogonal {
    const NAME: &'static str = "Muon";
    const DECOUPLED: bool = true;

    fn slots(&self) -> Vec<&'static str> {
        vec!["momentum"]
    }

    fn accepts(&self, param: &Tensor) -> Result<(), String> {
        match param.rank() {
            2 => Ok(()),
            _ => Err(format!(
                "expects matrices, got {}: put it into a group with another optimizer",
                param.spec()
            )),
        }
    }

    fn update(&self, lr: f64, param: &Tensor, gradient: Tensor, slots: &mut Slots) -> Tensor {
        let mut momentum = slots.ema_update("momentum", &gradient, self.momentum);
        if self.nesterov {
            momentum = gradient * (1.0 - self.momentum) + momentum * self.momentum;
        }
        let [rows, columns] = [0, 1].map(|dim| param.size(dim) as f64);
        let size = lr * (rows / columns).max(1.0).sqrt();
        param - orthogonal(&momentum, self.iterations) * size
    }
}

/// Approximates `U V^T` for the singular value decomposition `U S V^T` of the matrix. Each iteration maps every
/// singular value `s` to `a s + b s³ + c s⁵`.
fn orthogonal(matrix: &Tensor, iterations: usize) -> Tensor {
    let tall = matrix.size(0) > matrix.size(1);
    let wide = if tall { matrix.t() } else { matrix.clone() };
    let norm = wide.square().sum().sqrt().clamp_min(1e-7);
    let (a, b, c) = COEFFICIENTS;
    let near = (0..iterations).fold(wide / norm, |x, _| {
        let gram = x.matmul(&x.t());
        let powers = &gram * b + gram.matmul(&gram) * c;
        &x * a + powers.matmul(&x)
    });
    if tall { near.t() } else { near }
}
