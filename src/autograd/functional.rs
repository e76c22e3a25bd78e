//! Derivatives of functions: Jacobians, Hessians, and products of both with vectors. All from reverse passes, which can
//! be differentiated themselves.
//!
//! The function is called with fresh leaves of the inputs' values; what comes back has no history.

use super::{check_seed, grad_with};
use crate::core::grad_mode::enable_grad;
use crate::core::shape::refuse;
use crate::tensor::Tensor;

/// The function's value, and the gradient of each input from the `vector` that flows into it: `vector · J`.
///
/// ```
/// use wgrad::{Device, Tensor, autograd::functional};
/// let x = Tensor::new([1.0, 2.0], [2], &Device::cpu());
/// let (y, gradients) = functional::vjp(|x| x[0].square(), &[&x], &Tensor::new([1.0, 10.0], [2], x.device()));
/// assert_eq!(y.to_vec::<f32>().unwrap(), [1.0, 4.0]);
/// assert_eq!(gradients[0].to_vec::<f32>().unwrap(), [2.0, 40.0]);
/// ```
#[track_caller]
pub fn vjp(
    f: impl FnOnce(&[Tensor]) -> Tensor,
    inputs: &[&Tensor],
    vector: &Tensor,
) -> (Tensor, Vec<Tensor>) {
    let (leaves, y) = apply(f, inputs);
    check_seed("vjp", &y, vector);
    let gradients = gradients(&y, vector, &leaves, false);
    (y.detach(), gradients)
}

/// The function's value, and its change along the `tangents` of the inputs: `J · tangents`. Two reverse passes: the
/// gradient is linear in the vector that flows in, and its own gradient for that vector is the product.
///
/// ```
/// use wgrad::{Device, Tensor, autograd::functional};
/// let x = Tensor::new([1.0, 2.0], [2], &Device::cpu());
/// let (_, tangent) = functional::jvp(|x| x[0].square(), &[&x], &[&Tensor::new([1.0, 10.0], [2], x.device())]);
/// assert_eq!(tangent.to_vec::<f32>().unwrap(), [2.0, 40.0]);
/// ```
#[track_caller]
pub fn jvp(
    f: impl FnOnce(&[Tensor]) -> Tensor,
    inputs: &[&Tensor],
    tangents: &[&Tensor],
) -> (Tensor, Tensor) {
    check_vectors("jvp", inputs, tangents);
    let (leaves, y) = apply(f, inputs);
    let vector = y.zeros_like().requires_grad();
    let tangent = enable_grad(|| {
        let along = along(&gradients(&y, &vector, &leaves, true), tangents)?;
        Some(gradients(&along, &along.ones_like(), std::slice::from_ref(&vector), false).remove(0))
    });
    let tangent = tangent.unwrap_or_else(|| y.zeros_like());
    (y.detach(), tangent)
}

/// For each input the derivative of every element of the result by every element of the input: the result's shape
/// followed by the input's. One reverse pass for each element of the result.
///
/// ```
/// use wgrad::{Device, Tensor, autograd::functional};
/// let x = Tensor::new([1.0, 2.0], [2], &Device::cpu());
/// let jacobian = functional::jacobian(|x| x[0].square(), &[&x]).remove(0);
/// assert_eq!(jacobian.to_vec::<f32>().unwrap(), [2.0, 0.0, 0.0, 4.0]);
/// ```
#[track_caller]
pub fn jacobian(f: impl FnOnce(&[Tensor]) -> Tensor, inputs: &[&Tensor]) -> Vec<Tensor> {
    let (leaves, y) = apply(f, inputs);
    rows(&y, &leaves)
}

/// The second derivatives of a scalar function: for inputs `i` and `j` the shape of the one followed by that of the
/// other. One reverse pass for each element of the inputs.
///
/// ```
/// use wgrad::{Device, Tensor, autograd::functional};
/// let x = Tensor::new([1.0, 2.0], [2], &Device::cpu());
/// let hessian = functional::hessian(|x| x[0].prod().square(), &[&x]).remove(0).remove(0);
/// assert_eq!(hessian.to_vec::<f32>().unwrap(), [8.0, 8.0, 8.0, 2.0]);
/// ```
#[track_caller]
pub fn hessian(f: impl FnOnce(&[Tensor]) -> Tensor, inputs: &[&Tensor]) -> Vec<Vec<Tensor>> {
    let (leaves, y) = apply(f, inputs);
    let first = slope("hessian", &y, &leaves);
    first.iter().map(|gradient| rows(gradient, &leaves)).collect()
}

/// The value of a scalar function, and its Hessian times the `vectors`, one for each input: the change of the gradient
/// along them. Two reverse passes, and no Hessian in memory (PyTorch's
/// [`hvp`](https://docs.pytorch.org/docs/stable/generated/torch.autograd.functional.hvp.html)).
///
/// ```
/// use wgrad::{Device, Tensor, autograd::functional};
/// let x = Tensor::new([1.0, 2.0], [2], &Device::cpu());
/// let vector = Tensor::new([1.0, 10.0], [2], x.device());
/// let (y, products) = functional::hvp(|x| x[0].prod().square(), &[&x], &[&vector]);
/// assert_eq!(y.item().unwrap(), 4.0);
/// assert_eq!(products[0].to_vec::<f32>().unwrap(), [88.0, 28.0]); // [[8, 8], [8, 2]] times [1, 10]
/// ```
#[track_caller]
pub fn hvp(
    f: impl FnOnce(&[Tensor]) -> Tensor,
    inputs: &[&Tensor],
    vectors: &[&Tensor],
) -> (Tensor, Vec<Tensor>) {
    check_vectors("hvp", inputs, vectors);
    let (leaves, y) = apply(f, inputs);
    let first = slope("hvp", &y, &leaves);
    let products = enable_grad(|| {
        let along = along(&first, vectors)?;
        Some(gradients(&along, &along.ones_like(), &leaves, false))
    });
    (y.detach(), products.unwrap_or_default())
}

/// A vector for each input, of its shape.
#[track_caller]
fn check_vectors(op: &str, inputs: &[&Tensor], vectors: &[&Tensor]) {
    if inputs.len() != vectors.len() {
        refuse!(op, "{} inputs, but {} vectors", inputs.len(), vectors.len());
    }
    for (input, vector) in inputs.iter().zip(vectors) {
        if input.spec() != vector.spec() {
            refuse!(op, "a vector {} does not fit the input {}", vector.spec(), input.spec());
        }
    }
}

/// The gradient of a scalar, as graph.
#[track_caller]
fn slope(op: &str, y: &Tensor, leaves: &[Tensor]) -> Vec<Tensor> {
    if y.numel() != 1 {
        refuse!(op, "{} is no scalar", y.spec());
    }
    enable_grad(|| gradients(y, &y.ones_like(), leaves, true))
}

/// The sum of products of gradients with vectors; `None` of none.
fn along(gradients: &[Tensor], vectors: &[&Tensor]) -> Option<Tensor> {
    let products = gradients.iter().zip(vectors).map(|(gradient, &vector)| (gradient * vector).sum());
    products.reduce(|a, b| a + b)
}

/// The function's value at fresh leaves.
#[track_caller]
fn apply(f: impl FnOnce(&[Tensor]) -> Tensor, inputs: &[&Tensor]) -> (Vec<Tensor>, Tensor) {
    let mut leaves = Vec::new();
    for input in inputs {
        leaves.push(input.detach().requires_grad());
    }
    let y = enable_grad(|| f(&leaves));
    (leaves, y)
}

/// Zeros where the output does not depend on an input.
fn gradients(y: &Tensor, vector: &Tensor, leaves: &[Tensor], create_graph: bool) -> Vec<Tensor> {
    let found = grad_with(y, vector, &leaves.iter().collect::<Vec<_>>(), create_graph);
    found.into_iter().zip(leaves).map(|(found, leaf)| found.unwrap_or_else(|| leaf.zeros_like())).collect()
}

fn rows(y: &Tensor, leaves: &[Tensor]) -> Vec<Tensor> {
    let mut rows: Vec<Vec<Tensor>> = vec![Vec::new(); leaves.len()];
    for i in 0..y.numel() {
        let mut seed = vec![0.0f32; y.numel()];
        seed[i] = 1.0;
        let seed = Tensor::new(seed, y.shape(), y.device());
        for (rows, row) in rows.iter_mut().zip(gradients(y, &seed, leaves, false)) {
            rows.push(row);
        }
    }
    let joined = |(rows, leaf): (&Vec<Tensor>, &Tensor)| {
        let shape: Vec<usize> = y.shape().iter().chain(leaf.shape().iter()).copied().collect();
        if rows.is_empty() {
            return Tensor::zeros(shape, y.device());
        }
        Tensor::stack(&rows.iter().collect::<Vec<_>>(), 0).reshape(shape)
    };
    rows.iter().zip(leaves).map(joined).collect()
}
