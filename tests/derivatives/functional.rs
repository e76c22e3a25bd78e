//! Products of vectors with Jacobians and Hessians, against the matrices themselves.

use crate::{Place, common, numbers, values};
use wgrad::{Tensor, autograd::functional, no_grad};

on_both_devices!(
    products_with_the_jacobian,
    products_with_the_hessian,
    a_quadratic_form,
    what_does_not_bend_has_no_hessian,
);

/// `matrix · vector`, `[n, m] x [m]`, and from the left, `[n] x [n, m]`.
fn times(matrix: &[f64], vector: &[f64]) -> Vec<f64> {
    matrix.chunks(vector.len()).map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum()).collect()
}

fn times_from_left(vector: &[f64], matrix: &[f64]) -> Vec<f64> {
    let width = matrix.len() / vector.len();
    (0..width).map(|j| (0..vector.len()).map(|i| vector[i] * matrix[i * width + j]).sum()).collect()
}

fn add(a: Vec<f64>, b: Vec<f64>) -> Vec<f64> {
    a.iter().zip(&b).map(|(a, b)| a + b).collect()
}

/// Two operands of different shapes, and a vector for each.
fn operands(on: &Place) -> [Tensor; 4] {
    [(1, &[2, 3][..]), (2, &[3]), (3, &[2, 3]), (4, &[3])]
        .map(|(seed, shape)| on.constant(numbers(shape.iter().product(), seed), shape))
}

/// A map of both operands to four numbers, in which none stands alone.
fn map(x: &[Tensor]) -> Tensor {
    let rows = (x[0].tanh() * &x[1]).sum_dim(1, false);
    Tensor::cat(&[&rows, &(&rows * &rows.flip(0)).exp().reciprocal()], 0)
}

fn products_with_the_jacobian(on: &Place) {
    let [a, b, va, vb] = operands(on);
    let jacobian = functional::jacobian(map, &[&a, &b]);
    let blocks = [values(&jacobian[0]), values(&jacobian[1])];

    let seed = on.constant(numbers(4, 5), &[4]);
    let (y, gradients) = functional::vjp(map, &[&a, &b], &seed);
    on.close("value", &y, &values(&map(&[a.clone(), b.clone()])));
    for (gradient, block) in gradients.iter().zip(&blocks) {
        on.close("vector · J", gradient, &times_from_left(&values(&seed), block));
    }
    let (y, tangent) = functional::jvp(map, &[&a, &b], &[&va, &vb]);
    on.close("value", &y, &values(&map(&[a, b])));
    let want = add(times(&blocks[0], &values(&va)), times(&blocks[1], &values(&vb)));
    on.close("J · vectors", &tangent, &want);
}

/// Both rows of blocks, also where the caller records no history.
fn products_with_the_hessian(on: &Place) {
    let [a, b, va, vb] = operands(on);
    let f = |x: &[Tensor]| map(x).square().sum();
    let hessian = functional::hessian(f, &[&a, &b]);
    let (y, products) = no_grad(|| functional::hvp(f, &[&a, &b], &[&va, &vb]));
    on.close("value", &y, &values(&f(&[a, b])));
    assert!(products.iter().all(|product| !product.needs_grad()), "they have no history");
    for (i, product) in products.iter().enumerate() {
        let [left, right] = [0, 1].map(|j| values(&hessian[i][j]));
        let want = add(times(&left, &values(&va)), times(&right, &values(&vb)));
        common::close("H · vectors", &values(product), &want, 4.0 * on.atol, 4.0 * on.rtol);
    }
}

/// xᵀ A x has the Hessian A + Aᵀ.
fn a_quadratic_form(on: &Place) {
    let (a, v) = (numbers(9, 6), [1.0, -2.0, 0.5]);
    let matrix = on.constant(&a, &[3, 3]);
    let form = |x: &[Tensor]| x[0].matmul(&matrix).matmul(&x[0]);
    let (x, vector) = (on.constant([0.5, 1.0, -1.5], &[3]), on.constant(v, &[3]));
    let (_, products) = functional::hvp(form, &[&x], &[&vector]);
    on.close("(A + Aᵀ) v", &products[0], &add(times(&a, &v), times_from_left(&v, &a)));
}

/// Zeros for a linear function, and for an operand that it does not depend on.
fn what_does_not_bend_has_no_hessian(on: &Place) {
    let [a, b, va, vb] = operands(on);
    let (y, products) = functional::hvp(|x| x[0].sum() * 3.0, &[&a, &b], &[&va, &vb]);
    on.close("3 Σ x", &y, &[3.0 * values(&a).iter().sum::<f64>()]);
    on.close("for the operand", &products[0], &[0.0; 6]);
    on.close("for the other", &products[1], &[0.0; 3]);
}
