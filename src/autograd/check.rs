//! `gradcheck`: compares gradients with central differences in f64.

use super::grad_with;
use crate::core::error::Error;
use crate::core::grad_mode::no_grad;
use crate::core::random::Generator;
use crate::core::shape::{Shape, refuse};
use crate::graph::Device;
use crate::tensor::Tensor;

/// The step of the differences. It minimizes the error, which is about `step²` plus `1e-16 / step`: 1e-10 in total.
const STEP: f64 = 1e-6;

/// The tolerance of a gradient: `ATOL + RTOL * |difference|`.
const ATOL: f64 = 1e-7;
const RTOL: f64 = 1e-5;

/// The reason why [`gradcheck`] or [`ops::check`](crate::ops::check) failed: the first element that differs, or the
/// device's error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct CheckError(pub String);

/// Compares the gradients of `f` with `(f(x + h) - f(x - h)) / 2h`, one element at a time, in f64 on the CPU reference.
/// The outputs of `f` are weighted with fixed random numbers, so that errors in different outputs do not cancel. `f`
/// must be smooth near the inputs.
///
/// ```
/// use wgrad::{Device, Tensor, autograd::gradcheck};
/// let x = Tensor::new([0.5, -1.5, 2.0], [3], &Device::cpu());
/// gradcheck(|x| x[0].tanh() * x[0].exp(), &[&x]).unwrap();
/// let wrong = gradcheck(|x| &x[0] * x[0].detach(), &[&x]).unwrap_err();
/// assert!(wrong.0.starts_with("gradcheck: input 0 [0]"), "{}", wrong.0);
/// ```
///
/// # Errors
///
/// Returns a message that names the first element that differs, or the failure if a value cannot be computed.
///
/// # Panics
///
/// Panics if an input is not f32 or not on the CPU reference ([`Device::cpu`]).
#[track_caller]
pub fn gradcheck(f: impl Fn(&[Tensor]) -> Tensor, inputs: &[&Tensor]) -> Result<(), CheckError> {
    let cpu = Device::cpu();
    if let Some(other) = inputs.iter().find(|x| *x.device() != cpu || !x.dtype().is_float()) {
        refuse!(
            "gradcheck",
            "expects f32 inputs on the CPU reference, got {} on {}",
            other.spec(),
            other.device()
        );
    }
    let read = |x: &Tensor| x.to_vec::<f64>().map_err(failed);
    let data = inputs.iter().map(|x| read(x)).collect::<Result<Vec<_>, _>>()?;
    let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape().clone()).collect();
    let leaf = |i: usize, data: &[f64]| Tensor::new(data, &shapes[i], &cpu);

    let leaves: Vec<Tensor> = (0..data.len()).map(|i| leaf(i, &data[i]).requires_grad()).collect();
    let y = f(&leaves);
    let weights = Tensor::new(Generator::new(1).normal(y.numel()), y.shape(), &cpu);
    let gradients = grad_with(&y, &weights, &leaves.iter().collect::<Vec<_>>(), false);
    let value = |i: usize, data: &[f64]| -> Result<f64, CheckError> {
        let mut moved: Vec<Tensor> = leaves.iter().map(Tensor::detach).collect();
        moved[i] = leaf(i, data);
        no_grad(|| (f(&moved) * &weights).sum()).item().map_err(failed)
    };
    for (i, gradient) in gradients.iter().enumerate() {
        let gradient = match gradient {
            Some(gradient) => read(gradient)?,
            None => vec![0.0; data[i].len()],
        };
        for (n, coords) in shapes[i].coords().enumerate() {
            let at = |step: f64| {
                let mut data = data[i].clone();
                data[n] += step;
                value(i, &data)
            };
            let difference = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
            let close = (gradient[n] - difference).abs() <= ATOL + RTOL * difference.abs();
            if !close {
                return Err(CheckError(format!(
                    "gradcheck: input {i} {}: the gradient is {}, the central difference {difference}",
                    Shape::from(&coords[..]),
                    gradient[n]
                )));
            }
        }
    }
    Ok(())
}

fn failed(error: Error) -> CheckError {
    CheckError(format!("gradcheck: {error}"))
}
