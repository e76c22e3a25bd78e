//! Many numbers in: the gradient. Many numbers out: the Jacobian. And what both are for: the linear map that follows
//! the function best.

use crate::{Place, common, gradient, jacobian, numbers, values};
use wgrad::Tensor;

on_both_devices!(gradient_has_the_inputs_shape, jacobian_by_rows, best_linear_map, jacobians_chain);

/// y = sum of x^3: whatever shape x has, each element of the gradient stands where its x stands.
fn gradient_has_the_inputs_shape(on: &Place) {
    let shapes: &[&[usize]] = &[&[], &[1], &[5], &[2, 3], &[3, 1, 2], &[2, 1, 2, 3], &[0], &[2, 0]];
    for &shape in shapes {
        let data = numbers(shape.iter().product(), shape.len());
        let x = on.variable(&data, shape);
        let got = gradient(&x.pow(3.0).sum(), &x);
        assert_eq!(got.shape()[..], *shape);
        let want: Vec<f64> = data.iter().map(|x| 3.0 * x * x).collect();
        on.close(&format!("gradient of sum(x^3) for {shape:?}"), &got, &want);
    }
}

/// A function of D numbers to K, and its Jacobian `[K, D]` by hand.
struct Map {
    name: &'static str,
    f: fn(&Tensor) -> Tensor,
    jacobian: fn(&[f64]) -> Vec<f64>,
    at: &'static [f64],
}

/// The constant matrix of the linear map below, `[2, 3]`.
const MATRIX: [f64; 6] = [1.0, -2.0, 0.5, 3.0, 0.25, -1.0];

const MAPS: &[Map] = &[
    Map {
        name: "R3 to R1: x0 x1 x2",
        f: |x| (x.select(0, 0) * x.select(0, 1) * x.select(0, 2)).unsqueeze(0),
        jacobian: |x| vec![x[1] * x[2], x[0] * x[2], x[0] * x[1]],
        at: &[0.5, -1.25, 2.0],
    },
    Map {
        name: "R1 to R3: a curve",
        f: |x| Tensor::cat(&[&x.cos(), &x.sin(), &(x * 0.5)], 0),
        jacobian: |x| vec![-x[0].sin(), x[0].cos(), 0.5],
        at: &[0.75],
    },
    Map {
        name: "R2 to R2: polar coordinates",
        f: |x| {
            let (r, angle) = (x.select(0, 0), x.select(0, 1));
            Tensor::stack(&[&(&r * angle.cos()), &(&r * angle.sin())], 0)
        },
        jacobian: |x| vec![x[1].cos(), -x[0] * x[1].sin(), x[1].sin(), x[0] * x[1].cos()],
        at: &[1.5, 0.625],
    },
    Map {
        name: "R3 to R2: a linear map is its own Jacobian",
        f: |x| Tensor::new(MATRIX, [2, 3], x.device()).matmul(x),
        jacobian: |_| MATRIX.to_vec(),
        at: &[0.5, -1.25, 2.0],
    },
    Map {
        name: "R4 to R4: each for itself, so diagonal",
        f: |x| x.tanh(),
        jacobian: |x| {
            let diagonal = |k: usize, d: usize| if k == d { 1.0 - x[d].tanh().powi(2) } else { 0.0 };
            (0..16).map(|i| diagonal(i / 4, i % 4)).collect()
        },
        at: &[-1.0, 0.0, 0.5, 2.0],
    },
    Map {
        name: "R3 to R3: softmax, diag(p) - p p^T",
        f: |x| x.softmax(0),
        jacobian: |x| {
            let total: f64 = x.iter().map(|x| x.exp()).sum();
            let p: Vec<f64> = x.iter().map(|x| x.exp() / total).collect();
            (0..9).map(|i| p[i / 3] * (f64::from(i / 3 == i % 3) - p[i % 3])).collect()
        },
        at: &[0.5, -1.25, 2.0],
    },
    Map {
        name: "R3 to R4: a mix",
        f: |x| {
            let [a, b, c] = [0, 1, 2].map(|i| x.select(0, i));
            Tensor::stack(&[&(&a * &b), &(&b * c.exp()), &(&a / &c), &(c.square() - &a)], 0)
        },
        jacobian: |x| {
            let (a, b, c) = (x[0], x[1], x[2]);
            #[rustfmt::skip]
            let rows = vec![
                b, a, 0.0,
                0.0, c.exp(), b * c.exp(),
                1.0 / c, 0.0, -a / (c * c),
                -1.0, 0.0, 2.0 * c,
            ];
            rows
        },
        at: &[0.5, -1.25, 2.0],
    },
];

/// Row k of the Jacobian is the gradient of output k.
fn jacobian_by_rows(on: &Place) {
    for map in MAPS {
        let x = on.variable(map.at, &[map.at.len()]);
        let got = jacobian(&(map.f)(&x), &x);
        common::close(&format!("Jacobian of {}", map.name), &got, &(map.jacobian)(map.at), on.atol, on.rtol);
    }
}

/// The derivative at x is the one linear map J for which the rest f(x + d) - f(x) - J d vanishes faster than d: where f
/// is smooth, like |d|^2. So each time d is halved, the rest falls to a quarter (the third order makes that a little
/// more or less, by a share of |d|). With any other J it would fall to a half only, for d small enough.
///
/// In f32 d stays above 2^-5: the rest is then above 1e-4, a thousand times the rounding of f. Only f64 shows what
/// happens further down, to 2^-12, where the rest is of the order 1e-8.
fn best_linear_map(on: &Place) {
    let halvings = if on.is_exact() { 12 } else { 5 };
    // A linear map has no rest.
    for map in MAPS.iter().filter(|map| !map.name.contains("linear")) {
        let x = on.variable(map.at, &[map.at.len()]);
        let y = values(&(map.f)(&x));
        let slopes = jacobian(&(map.f)(&x), &x);
        let rest = |size: f64| -> f64 {
            // The same direction always, exact in f32, with no element 0.
            let d: Vec<f64> = (0..map.at.len()).map(|i| size * [1.0, -0.5, 0.75, 0.5][i]).collect();
            let moved: Vec<f64> = map.at.iter().zip(&d).map(|(x, d)| x + d).collect();
            let there = values(&(map.f)(&on.constant(&moved, &[moved.len()])));
            let along: Vec<f64> =
                slopes.chunks(d.len()).map(|row| row.iter().zip(&d).map(|(j, d)| j * d).sum()).collect();
            let squares = (0..y.len()).map(|k| (there[k] - y[k] - along[k]).powi(2));
            squares.sum::<f64>().sqrt()
        };
        for halving in 3..halvings {
            let size = 2f64.powi(-halving);
            let ratio = rest(size) / rest(size / 2.0);
            let allowed = 6.0 * size + 0.05;
            assert!(
                (ratio - 4.0).abs() < allowed,
                "{}: halving d = {size} divides the rest by {ratio}, not by 4 +- {allowed}",
                map.name
            );
        }
    }
}

/// The chain rule of maps: the Jacobian of g(f(x)) is the matrix product of g's, at f(x), and f's, at x.
fn jacobians_chain(on: &Place) {
    let mix = MAPS.last().expect("there are maps");
    let (f, g) = (mix.f, |y: &Tensor| Tensor::stack(&[&(y * y).sum(), &y.tanh().sum()], 0));
    let x = on.variable(mix.at, &[3]);
    let y = f(&x);
    let middle = on.variable(values(&y), &[4]);
    let (outer, inner) = (jacobian(&g(&middle), &middle), jacobian(&y, &x));
    let product: Vec<f64> =
        (0..6).map(|i| (0..4).map(|k| outer[i / 3 * 4 + k] * inner[k * 3 + i % 3]).sum()).collect();
    // Four products of Jacobians' elements in each: four times the tolerance of one.
    common::close("Jacobian of g after f", &jacobian(&g(&y), &x), &product, 4.0 * on.atol, on.rtol);
}
