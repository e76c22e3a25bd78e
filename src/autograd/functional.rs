//! Derivatives of functions: Jacobians, Hessians, and their products with vectors. All of them use reverse passes,
//! which can be differentiated again.
//!
//! The function is called with new leaves that have the values of the inputs. The results are detached from the graph.

use super::{check_seed, grad_with};
use crate::core::grad_mode::enable_grad;
use crate::core::shape::refuse;
use crate::tensor::Tensor;

/// Vector-Jacobian product: returns the function's value and, for each input, `vector · J`.
///
/// ```
/// use wgrad::{Device, Tensor, autograd::functional};
/// let x = Tensor::new([1.0, 2.0], [2], &Device::cpu());
/// let (y, gradients) = functional::vjp(|x| x[0].square(), &[&x], &Tensor::new([1.0, 10.0], [2], x.device()));
/// assert_eq!(y.to_vec::<f32>().unwrap(), [1.0, 4.0]);
/// assert_eq!(gradients[0].to_vec::<f32>().unwrap(), [2.0, 40.0]);
/// ```
///
/// # Panics
///
/// Panics if `vector` does not have the shape, dtype and device of the result.
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

/// Jacobian-vector product: returns the function's value and `J · tangents`. It takes two reverse passes: the gradient
/// is linear in the incoming vector, and its gradient with respect to that vector is the product.
///
/// ```
/// use wgrad::{Device, Tensor, autograd::functional};
/// let x = Tensor::new([1.0, 2.0], [2], &Device::cpu());
/// let (_, tangent) = functional::jvp(|x| x[0].square(), &[&x], &[&Tensor::new([1.0, 10.0], [2], x.device())]);
/// assert_eq!(tangent.to_vec::<f32>().unwrap(), [2.0, 40.0]);
/// ```
///
/// # Panics
///
/// Panics if there is not one tangent with the shape, dtype and device of each input.
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

/// Computes the Jacobian: for each input, the derivative of every element of the result with respect to every element
/// of the input. Its shape is the shape of the result followed by the shape of the input. It takes one reverse pass for
/// each element of the result.
///
/// ```
/// use wgrad::{Device, Tensor, autograd::functional};
/// let x = Tensor::new([1.0, 2.0], [2], &Device::cpu());
/// let jacobian = functional::jacobian(|x| x[0].square(), &[&x]).remove(0);
/// assert_eq!(jacobian.to_vec::<f32>().unwrap(), [2.0, 0.0, 0.0, 4.0]);
/// ```
///
/// # Panics
///
/// Panics if `f` panics.
#[track_caller]
pub fn jacobian(f: impl FnOnce(&[Tensor]) -> Tensor, inputs: &[&Tensor]) -> Vec<Tensor> {
    let (leaves, y) = apply(f, inputs);
    rows(&y, &leaves)
}

/// Computes the Hessian of a scalar function: for the inputs `i` and `j`, a tensor with the shape of input `i` followed
/// by the shape of input `j`. It takes one reverse pass for each element of the inputs.
///
/// ```
/// use wgrad::{Device, Tensor, autograd::functional};
/// let x = Tensor::new([1.0, 2.0], [2], &Device::cpu());
/// let hessian = functional::hessian(|x| x[0].prod().square(), &[&x]).remove(0).remove(0);
/// assert_eq!(hessian.to_vec::<f32>().unwrap(), [8.0, 8.0, 8.0, 2.0]);
/// ```
///
/// # Panics
///
/// Panics if the result does not have exactly one element.
#[track_caller]
pub fn hessian(f: impl FnOnce(&[Tensor]) -> Tensor, inputs: &[&Tensor]) -> Vec<Vec<Tensor>> {
    let (leaves, y) = apply(f, inputs);
    let first = slope("hessian", &y, &leaves);
    first.iter().map(|gradient| rows(gradient, &leaves)).collect()
}

/// Hessian-vector product: returns the value of a scalar function and, for each input, its Hessian times `vectors`, one
/// vector per input. It takes two reverse passes and does not materialize the Hessian (PyTorch's
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
///
/// # Panics
///
/// Panics if the result does not have exactly one element, or if there is not one vector with the shape, dtype and
/// device of each input.
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

/// Checks that there is one vector with the shape of each input.
#[track_caller]
fn check_vectors(op: &str, inputs: &[&Tensor], vectors: &[&Tensor]) {
    if inputs.len() != vectors.len() {
        refuse!(op, "{} inputs, but {} vectors", inputs.len(), vectors.len());
    }
    for (input, vector) in inputs.iter().zip(vectors) {
        if input.spec() != vector.spec() {
            refuse!(op, "the vector {} does not fit the input {}", vector.spec(), input.spec());
        }
    }
}

/// Computes the gradient of a scalar as a differentiable graph.
#[track_caller]
fn slope(op: &str, y: &Tensor, leaves: &[Tensor]) -> Vec<Tensor> {
    if y.numel() != 1 {
        refuse!(op, "expects a result with one element, got {}", y.spec());
    }
    enable_grad(|| gradients(y, &y.ones_like(), leaves, true))
}

/// Computes the sum of the products of gradients and vectors; `None` if there are no gradients.
fn along(gradients: &[Tensor], vectors: &[&Tensor]) -> Option<Tensor> {
    let products = gradients.iter().zip(vectors).map(|(gradient, &vector)| (gradient * vector).sum());
    products.reduce(|a, b| a + b)
}

/// Evaluates the function at new leaves.
#[track_caller]
fn apply(f: impl FnOnce(&[Tensor]) -> Tensor, inputs: &[&Tensor]) -> (Vec<Tensor>, Tensor) {
    let mut leaves = Vec::new();
    for input in inputs {
        leaves.push(input.detach().requires_grad());
    }
    let y = enable_grad(|| f(&leaves));
    (leaves, y)
}

/// Computes the gradients of the leaves. The gradient is zero for a leaf on which the output does not depend.
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
