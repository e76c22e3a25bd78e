//! Derivatives of derivatives. With `create_graph` a gradient is graph like any other, and has a gradient itself.

use crate::{Place, common, jacobian, numbers, values};
use wgrad::{Tensor, autograd};

on_both_devices!(
    derivatives_of_a_power,
    derivatives_that_come_back,
    hessian_of_rosenbrock,
    hessian_of_a_matrix_product,
    hessian_through_many_pieces,
    hessian_of_cross_entropy,
    gradient_of_a_gradients_length,
    backward_through_a_gradient,
);

/// The derivative of the scalar `y`, as graph.
#[track_caller]
fn differentiable(y: &Tensor, x: &Tensor) -> Tensor {
    autograd::grad(y, &[x], true)[0].clone().expect("y depends on x")
}

/// The derivatives of f of all orders up to `order`, at a point; an order that no longer depends on x is 0.
fn orders(f: impl Fn(&Tensor) -> Tensor, x: &Tensor, order: usize) -> Vec<f64> {
    let mut y = Some(f(x));
    let mut found = Vec::new();
    for _ in 0..order {
        y = y.and_then(|y| autograd::grad(&y, &[x], true)[0].clone());
        found.push(y.as_ref().map_or(0.0, |y| y.item().unwrap()));
    }
    found
}

/// x^5: 5 x^4, 20 x^3, 60 x^2, 120 x, 120, and then nothing.
fn derivatives_of_a_power(on: &Place) {
    for x in [-1.5f64, 0.0, 0.5, 2.0] {
        let want = [5.0 * x.powi(4), 20.0 * x.powi(3), 60.0 * x.powi(2), 120.0 * x, 120.0, 0.0];
        let got = orders(|x| x.pow(5.0), &on.number(x), 6);
        common::close(&format!("derivatives of x^5 at {x}"), &got, &want, on.atol, on.rtol);
    }
    // By the general power too, whose derivative divides nothing by x.
    for x in [0.5f64, 2.0] {
        let want = [5.0 * x.powi(4), 20.0 * x.powi(3), 60.0 * x.powi(2)];
        let got = orders(|x| x.powf(5.0), &on.number(x), 3);
        common::close(&format!("derivatives of powf(x, 5) at {x}"), &got, &want, on.atol, on.rtol);
    }
}

/// e^x is its own derivative; sin's come round every four; those of 1/x and ln are powers.
fn derivatives_that_come_back(on: &Place) {
    let x = 0.75f64;
    let (sin, cos, exp) = (x.sin(), x.cos(), x.exp());
    let t = x.tanh();
    #[allow(clippy::type_complexity)]
    let functions: [(&str, fn(&Tensor) -> Tensor, [f64; 4]); 5] = [
        ("e^x", |x| x.exp(), [exp, exp, exp, exp]),
        ("sin x", |x| x.sin(), [cos, -sin, -cos, sin]),
        ("1 / x", |x| x.reciprocal(), [-x.powi(-2), 2.0 * x.powi(-3), -6.0 * x.powi(-4), 24.0 * x.powi(-5)]),
        ("ln x", |x| x.log(), [1.0 / x, -x.powi(-2), 2.0 * x.powi(-3), -6.0 * x.powi(-4)]),
        ("tanh x", |x| x.tanh(), {
            let s = 1.0 - t * t;
            [s, -2.0 * t * s, (6.0 * t * t - 2.0) * s, (16.0 * t - 24.0 * t.powi(3)) * s]
        }),
    ];
    for (name, f, want) in functions {
        let got = orders(f, &on.number(x), 4);
        common::close(&format!("derivatives of {name}"), &got, &want, on.atol, on.rtol);
    }
}

/// f(x, y) = (1 - x)^2 + 100 (y - x^2)^2, a bent valley with its lowest point at (1, 1).
fn hessian_of_rosenbrock(on: &Place) {
    for [x, y] in [[1.0, 1.0], [0.0, 0.0], [-1.25, 0.75], [0.5, 2.0]] {
        let v = on.variable([x, y], &[2]);
        let (a, b) = (v.select(0, 0), v.select(0, 1));
        let f = (1.0 - &a).square() + (b - a.square()).square() * 100.0;
        let slope = differentiable(&f, &v);
        on.close("gradient", &slope, &[-2.0 * (1.0 - x) - 400.0 * x * (y - x * x), 200.0 * (y - x * x)]);
        // The Hessian is the Jacobian of the gradient.
        let want = [1200.0 * x * x - 400.0 * y + 2.0, -400.0 * x, -400.0 * x, 200.0];
        common::close(&format!("Hessian at {x}, {y}"), &jacobian(&slope, &v), &want, on.atol, on.rtol);
    }
}

/// f(A) = the sum of the squares of A B: the second derivative for a[i][k] and a[j][l] is 2 (B B^T)[k][l] if i = j, and
/// 0 else. A matrix product differentiated twice.
fn hessian_of_a_matrix_product(on: &Place) {
    let (rows, inner, cols) = (2, 3, 4);
    let b = numbers(inner * cols, 2);
    let a = on.variable(numbers(rows * inner, 1), &[rows, inner]);
    let f = a.matmul(&on.constant(&b, &[inner, cols])).square().sum();
    let got = jacobian(&differentiable(&f, &a), &a);
    let mut want = Vec::new();
    for (i, k) in (0..rows).flat_map(|i| (0..inner).map(move |k| (i, k))) {
        for (j, l) in (0..rows).flat_map(|j| (0..inner).map(move |l| (j, l))) {
            let product: f64 = (0..cols).map(|c| b[k * cols + c] * b[l * cols + c]).sum();
            want.push(if i == j { 2.0 * product } else { 0.0 });
        }
    }
    common::close("Hessian of |A B|^2", &got, &want, on.atol, on.rtol);
}

/// f(x) = the sum of x[i]^2 x[-1 - i]: the second derivatives are 2 x[-1 - i] for x[i] twice and 2 (x[i] + x[-1 - i])
/// for x[i] and x[-1 - i]. Of so many pieces that joining them is an operation of its own, and its gradient another.
fn hessian_through_many_pieces(on: &Place) {
    let n = 12;
    let data = numbers(n, 3);
    let x = on.variable(&data, &[n]);
    let pieces = x.unbind(0);
    let back = Tensor::stack(&pieces.iter().rev().collect::<Vec<_>>(), 0);
    let squares: Vec<Tensor> = pieces.iter().map(Tensor::square).collect();
    let f = (Tensor::stack(&squares.iter().collect::<Vec<_>>(), 0) * back).sum();
    let want = (0..n * n).map(|place| match (place / n, place % n) {
        (i, j) if i == j => 2.0 * data[n - 1 - i],
        (i, j) if i + j == n - 1 => 2.0 * (data[i] + data[j]),
        _ => 0.0,
    });
    let want: Vec<f64> = want.collect();
    common::close("Hessian", &jacobian(&differentiable(&f, &x), &x), &want, on.atol, on.rtol);
}

/// The Hessian of a row's cross-entropy is diag(p) - p p^T, whatever the label: p (1 - p) on the diagonal. Rows do not
/// meet, and the mean divides by their number.
fn hessian_of_cross_entropy(on: &Place) {
    for (rows, classes) in [(1, 2), (2, 3), (3, 2)] {
        let data = numbers(rows * classes, 5);
        let p: Vec<f64> = data
            .chunks(classes)
            .flat_map(|row| {
                let total: f64 = row.iter().map(|x| x.exp()).sum();
                row.iter().map(move |x| x.exp() / total)
            })
            .collect();
        let mut want = Vec::new();
        for i in 0..p.len() {
            for j in 0..p.len() {
                let same_row = f64::from(i / classes == j / classes);
                want.push(same_row * p[i] * (f64::from(i == j) - p[j]) / rows as f64);
            }
        }
        for label in [0, classes as i32 - 1] {
            let logits = on.variable(&data, &[rows, classes]);
            let loss = logits.cross_entropy(&Tensor::new(vec![label; rows], [rows], &on.device));
            let got = jacobian(&differentiable(&loss, &logits), &logits);
            let name = format!("Hessian of cross-entropy, {rows} rows of {classes}, label {label}");
            common::close(&name, &got, &want, on.atol, on.rtol);
        }
    }
}

/// |f'|^2 differentiated, as a gradient penalty needs it: 2 H f'. Here f = sum of x^3 / 3, f' = x^2, H = diag(2 x).
fn gradient_of_a_gradients_length(on: &Place) {
    let data = [0.5, -1.5, 2.0];
    let x = on.variable(data, &[3]);
    let slope = differentiable(&(x.pow(3.0) / 3.0).sum(), &x);
    slope.square().sum().backward();
    on.close_grad("4 x^3", &x, &data.map(|x: f64| 4.0 * x.powi(3)));
}

/// A gradient may be read, kept and used as a number before it is differentiated.
fn backward_through_a_gradient(on: &Place) {
    let x = on.number(2.0);
    let y = x.pow(3.0);
    let slope = differentiable(&y, &x);
    assert_eq!(values(&slope).len(), 1);
    assert!(slope.needs_grad());
    // y * y' = 3 x^5, whose derivative is 15 x^4.
    (&y * &slope).backward();
    on.close_grad("15 x^4", &x, &[240.0]);
}
