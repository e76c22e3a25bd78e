//! A variable that acts on several ways: the total derivative is the sum over the ways, and a partial derivative
//! follows one of them while the others are held still.

#![allow(clippy::eq_op)] // x - x and x / x are what is tested

use crate::{Place, gradient, numbers};
use wgrad::{Tensor, autograd};

on_both_devices!(total_and_partial, sums_over_all_ways, one_input_without_gradient, sum_reshaped);

/// y = f(x, z) = x z + z^2 with z = g(x, w) = x^2 w: x acts twice, directly and through z.
///
/// ```text
/// x ──────────────> y       dy/dx = f_x + f_z g_x = z + (x + 2 z) 2 x w
///   └──> z ────────┘        dy/dw =       f_z g_w =     (x + 2 z) x^2
/// w ─────┘
/// ```
fn total_and_partial(on: &Place) {
    let (x0, w0) = (1.5, -0.75);
    let z0 = x0 * x0 * w0;
    let (f_x, f_z, g_x, g_w) = (z0, x0 + 2.0 * z0, 2.0 * x0 * w0, x0 * x0);
    let f = |x: &Tensor, z: &Tensor| x * z + z * z;

    let (x, w) = (on.number(x0), on.number(w0));
    let z = &x * &x * &w;
    let y = f(&x, &z);

    let total = autograd::grad(&y, &[&x, &w, &z], false).into_iter().map(Option::unwrap);
    let total: Vec<Tensor> = total.collect();
    on.close("total dy/dx", &total[0], &[f_x + f_z * g_x]);
    on.close("total dy/dw", &total[1], &[f_z * g_w]);
    on.close("dy/dz", &total[2], &[f_z]);

    // Partial: z is held still, so only the direct way from x is left.
    on.close("partial dy/dx with z held", &gradient(&f(&x, &z.detach()), &x), &[f_x]);
    // And the other way alone: the x of f is held, that of g is not.
    on.close("dy/dx through z alone", &gradient(&f(&x.detach(), &z), &x), &[f_z * g_x]);
}

/// A scalar of a few scalars, and its derivative for each of them.
struct Graph {
    name: &'static str,
    f: fn(&[Tensor]) -> Tensor,
    derivatives: fn(&[f64]) -> Vec<f64>,
    at: &'static [f64],
}

const GRAPHS: &[Graph] = &[
    Graph { name: "x acts twice: x x", f: |v| &v[0] * &v[0], derivatives: |v| vec![2.0 * v[0]], at: &[-1.5] },
    Graph { name: "x acts twice: x + x", f: |v| &v[0] + &v[0], derivatives: |_| vec![2.0], at: &[-1.5] },
    Graph {
        name: "x acts against itself: x - x",
        f: |v| &v[0] - &v[0],
        derivatives: |_| vec![0.0],
        at: &[-1.5],
    },
    Graph {
        name: "x acts against itself: x / x",
        f: |v| &v[0] / &v[0],
        derivatives: |_| vec![0.0],
        at: &[-1.5],
    },
    Graph {
        name: "diamond: a = x^2, b = e^x, y = a b",
        f: |v| {
            let (a, b) = (v[0].square(), v[0].exp());
            a * b
        },
        derivatives: |v| vec![(2.0 * v[0] + v[0] * v[0]) * v[0].exp()],
        at: &[0.75],
    },
    Graph {
        name: "diamond on diamond: four ways from x to y",
        f: |v| {
            let middle = v[0].square() + &v[0] * 3.0;
            middle.square() + middle.exp()
        },
        derivatives: |v| {
            let middle = v[0] * v[0] + 3.0 * v[0];
            vec![(2.0 * middle + middle.exp()) * (2.0 * v[0] + 3.0)]
        },
        at: &[0.25],
    },
    Graph {
        name: "d = a + a b, e = d + c + 3",
        f: |v| {
            let d = &v[0] + &v[0] * &v[1];
            d + &v[2] + 3.0
        },
        derivatives: |v| vec![1.0 + v[1], v[0], 1.0],
        at: &[2.0, -3.0, 0.5],
    },
    Graph {
        name: "c = a / b, d = a - b, e = c + d",
        f: |v| {
            let (c, d) = (&v[0] / &v[1], &v[0] - &v[1]);
            c + d
        },
        derivatives: |v| vec![1.0 / v[1] + 1.0, -v[0] / (v[1] * v[1]) - 1.0],
        at: &[2.0, -4.0],
    },
    Graph {
        name: "a mix with numbers: a b + 3 c",
        f: |v| &v[0] * &v[1] + 3.0 * &v[2],
        derivatives: |v| vec![v[1], v[0], 3.0],
        at: &[2.0, -3.0, 0.5],
    },
];

/// Along each way the derivatives multiply; where ways meet again they add.
fn sums_over_all_ways(on: &Place) {
    for graph in GRAPHS {
        let variables: Vec<Tensor> = graph.at.iter().map(|&value| on.number(value)).collect();
        (graph.f)(&variables).backward();
        let want = (graph.derivatives)(graph.at);
        for (i, variable) in variables.iter().enumerate() {
            on.close_grad(&format!("{}, variable {i}", graph.name), variable, &want[i..=i]);
        }
    }
}

/// A tensor that requires no gradient gets none, and does not affect the others.
fn one_input_without_gradient(on: &Place) {
    let (a, b, c) = (on.number(2.0), on.constant([5.0], &[]), on.number(-1.0));
    let y = &a * &b + &b * &c * &c;
    y.backward();
    on.close_grad("dy/da", &a, &[5.0]);
    on.close_grad("dy/dc", &c, &[-10.0]);
    assert!(b.grad().is_none(), "b did not ask for a gradient");
    // A variable that y does not depend on has no derivative here either.
    let stranger = on.number(1.0);
    let y = &a * &b;
    let found = autograd::grad(&y, &[&a, &b, &stranger], false);
    assert!(found[0].is_some() && found[1].is_none() && found[2].is_none());
}

/// (a + b) reshaped and weighted: the weights go back to where the elements came from.
fn sum_reshaped(on: &Place) {
    let weights = numbers(6, 3);
    let (a, b) = (on.variable(numbers(6, 1), &[2, 3]), on.variable(numbers(6, 2), &[2, 3]));
    let y = ((&a + &b).reshape([3, 2]) * on.constant(&weights, &[3, 2])).sum();
    y.backward();
    on.close_grad("reshape, a", &a, &weights);
    on.close_grad("reshape, b", &b, &weights);
}
