//! Gradient clipping: by the norm of all gradients together, or by the value of each element.

use crate::core::grad_mode::no_grad;
use crate::core::shape::refuse;
use crate::tensor::var::Var;
use crate::tensor::{Const, Tensor};

/// Scales all gradients so that their total norm is at most `max_norm` (as in PyTorch, 1e-6 is added to the norm).
/// Returns the norm before clipping, without waiting for it. `norm_type` is 1, 2, infinity or another positive number
/// (Pascanu et al., 2013; PyTorch's `clip_grad_norm_`).
///
/// ```
/// use wgrad::{Device, Tensor, Var, optim};
/// let w = Var::parameter(Tensor::new([3.0, 4.0], [2], &Device::cpu()));
/// (w.tensor().square().sum() * 0.5).backward();
/// let norm = optim::clip_grad_norm(&[w.clone()], 1.0, 2.0);
/// assert_eq!(norm.item().unwrap(), 5.0);
/// assert!((w.grad().unwrap().to_vec::<f64>().unwrap()[0] - 0.6).abs() < 1e-6);
/// ```
///
/// # Panics
///
/// Panics if `max_norm` is negative or NaN, if `norm_type` is not positive, if `params` is empty, or if the gradients
/// are on different devices.
#[track_caller]
pub fn clip_grad_norm(params: &[Var], max_norm: f64, norm_type: f64) -> Tensor {
    if norm_type.is_nan() || norm_type <= 0.0 || max_norm.is_nan() || max_norm < 0.0 {
        refuse!("clip_grad_norm", "expects max_norm >= 0 and norm_type > 0, got {max_norm} and {norm_type}");
    }
    let Some(first) = params.first() else { refuse!("clip_grad_norm", "expects at least one parameter") };
    no_grad(|| {
        let gradients: Vec<(&Var, Tensor)> =
            params.iter().filter_map(|p| Some((p, p.take_grad()?))).collect();
        let part = |gradient: &Tensor| match norm_type {
            1.0 => gradient.abs().sum(),
            2.0 => gradient.square().sum(),
            f64::INFINITY => gradient.abs().amax((), false),
            p => gradient.abs().powf(p).sum(),
        };
        let join = |a: Tensor, b: Tensor| if norm_type.is_infinite() { a.maximum(b) } else { a + b };
        let parts =
            gradients.iter().filter(|(_, gradient)| gradient.numel() > 0).map(|(_, gradient)| part(gradient));
        let total = parts.reduce(join).unwrap_or_else(|| Tensor::zeros((), first.tensor().device()));
        let norm = match norm_type {
            1.0 | f64::INFINITY => total,
            2.0 => total.sqrt(),
            p => total.powf(1.0 / p),
        };
        let scale = (&norm + 1e-6).reciprocal() * max_norm;
        let scale = scale.minimum(Const(1.0));
        for (param, gradient) in gradients {
            param.put_grad(gradient * &scale);
        }
        norm
    })
}

/// Limits every element of every gradient to `[-clip_value, clip_value]` (PyTorch's `clip_grad_value_`).
///
/// ```
/// use wgrad::{Device, Tensor, Var, optim};
/// let w = Var::parameter(Tensor::new([3.0, -0.5], [2], &Device::cpu()));
/// (w.tensor().square().sum() * 0.5).backward();
/// optim::clip_grad_value(&[w.clone()], 1.0);
/// assert_eq!(w.grad().unwrap().to_vec::<f32>().unwrap(), [1.0, -0.5]);
/// ```
///
/// # Panics
///
/// Panics if `clip_value` is negative or NaN.
#[track_caller]
pub fn clip_grad_value(params: &[Var], clip_value: f64) {
    if clip_value.is_nan() || clip_value < 0.0 {
        refuse!("clip_grad_value", "clip_value must not be negative: {clip_value}");
    }
    no_grad(|| {
        for param in params {
            if let Some(gradient) = param.take_grad() {
                param.put_grad(gradient.clamp(-clip_value, clip_value));
            }
        }
    });
}
