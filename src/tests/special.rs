//! Tests operations of the table on operands for which results must be exact: ties, discontinuities, zeros, infinities
//! and NaN, on the CPU and the GPU.

use super::common::{EXACT, F32, Host, SUMS, gpu};
use crate::graph::{Binary, Unary};
use crate::tensor::elementwise::{binary, unary};
use crate::{Device, Tensor, autograd};

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

fn devices() -> [Device; 2] {
    [Device::cpu(), gpu()]
}

#[test]
fn unary_specials() {
    let table: &[(Unary, &[f64], &[f64])] = &[
        (Unary::Sign, &[-2.0, -0.0, 0.0, 1e-30, NAN, INF, -INF], &[-1.0, 0.0, 0.0, 1.0, 0.0, 1.0, -1.0]),
        (Unary::Floor, &[-1.0, -0.5, 0.0, 0.999, 1.0, 3e9], &[-1.0, -1.0, 0.0, 0.0, 1.0, 3e9]),
        (Unary::Relu, &[-1.0, 0.0, NAN, INF, -INF], &[0.0, 0.0, NAN, INF, 0.0]),
        (Unary::Abs, &[-0.0, -INF, NAN], &[0.0, INF, NAN]),
        (Unary::Exp, &[-INF, -200.0, 0.0, 200.0, INF], &[0.0, 0.0, 1.0, INF, INF]),
        (Unary::Log, &[0.0, 1.0, INF], &[-INF, 0.0, INF]),
        (Unary::Sqrt, &[0.0, 4.0, INF], &[0.0, 2.0, INF]),
        (Unary::Recip, &[INF, -INF, 0.25], &[0.0, 0.0, 4.0]),
        (Unary::Tanh, &[-INF, -100.0, 0.0, 100.0, INF, NAN], &[-1.0, -1.0, 0.0, 1.0, 1.0, NAN]),
        (Unary::Sigmoid, &[-INF, -200.0, 0.0, 200.0, INF], &[0.0, 0.0, 0.5, 1.0, 1.0]),
        (Unary::Erf, &[-INF, -10.0, 0.0, 10.0, INF, NAN], &[-1.0, -1.0, 0.0, 1.0, 1.0, NAN]),
    ];
    for device in [Device::cpu_rounded(), gpu()] {
        for (op, operands, want) in table {
            let n = operands.len();
            let got = unary(*op, &Tensor::new(operands, [n], &device));
            Host::read(&got).assert_close(
                &format!("{} on {device}", op.row().name),
                &Host::new(want, &[n]),
                F32,
            );
        }
    }
}

#[test]
fn binary_specials() {
    type Row = (Binary, f64, f64, f64);
    let table: &[Row] = &[
        (Binary::Max, NAN, 1.0, NAN),
        (Binary::Max, 1.0, NAN, NAN),
        (Binary::Max, -INF, INF, INF),
        (Binary::Min, NAN, 1.0, NAN),
        (Binary::Min, 1.0, NAN, NAN),
        (Binary::Min, -INF, INF, -INF),
        (Binary::Lt, 1.0, 1.0, 0.0),
        (Binary::Lt, -INF, 1.0, 1.0),
        (Binary::Eq, 1.5, 1.5, 1.0),
        (Binary::Eq, 0.0, -0.0, 1.0),
        (Binary::Eq, INF, INF, 1.0),
        (Binary::Eq, 1.0, 1.0 + f32::EPSILON as f64, 0.0),
        (Binary::Pow, 0.0, 0.0, 1.0),
        (Binary::Pow, 0.0, 2.0, 0.0),
        (Binary::Pow, 0.0, -1.0, INF),
        (Binary::Pow, -2.0, 3.0, -8.0),
        (Binary::Pow, -2.0, 2.0, 4.0),
        (Binary::Pow, -2.0, -1.0, -0.5),
        (Binary::Pow, -2.0, 0.5, NAN),
        (Binary::Pow, 1.0, 77.0, 1.0),
        (Binary::Pow, 2.0, 0.0, 1.0),
        (Binary::Div, 1.0, INF, 0.0),
    ];
    for device in devices() {
        for &op in Binary::ALL {
            let rows: Vec<&Row> = table.iter().filter(|row| row.0 == op).collect();
            if rows.is_empty() {
                continue;
            }
            let column = |pick: fn(&Row) -> f64| -> Vec<f64> { rows.iter().map(|row| pick(row)).collect() };
            let tensor = |data: Vec<f64>| Tensor::new(data, [rows.len()], &device);
            let got = binary(op, tensor(column(|row| row.1)).into(), tensor(column(|row| row.2)).into());
            let want = Host::new(&column(|row| row.3), &[rows.len()]);
            Host::read(&got).assert_close(&format!("{} on {device}", op.row().name), &want, SUMS);
        }
    }
}

/// NaN is unordered and not equal to any value, and operations composed of comparisons are consistent with these rules.
#[test]
fn nan_compares_as_ieee_says() {
    for device in devices() {
        let a = Tensor::new([NAN, NAN, 1.0, 1.0], [4], &device);
        let b = Tensor::new([NAN, 1.0, NAN, 1.0], [4], &device);
        let table: [(&str, Tensor, [f64; 4]); 6] = [
            ("eq", a.eq(&b), [0.0, 0.0, 0.0, 1.0]),
            ("ne", a.ne(&b), [1.0, 1.0, 1.0, 0.0]),
            ("lt", a.lt(&b), [0.0; 4]),
            ("gt", a.gt(&b), [0.0; 4]),
            ("le", a.le(&b), [0.0, 0.0, 0.0, 1.0]),
            ("ge", a.ge(&b), [0.0, 0.0, 0.0, 1.0]),
        ];
        for (name, got, want) in table {
            Host::read(&got).assert_close(&format!("{name} on {device}"), &Host::new(&want, &[4]), EXACT);
        }
    }
}

/// Equal operands share the gradient, and an operation's gradient at its kink is 0.
#[test]
fn gradients_at_ties() {
    type Loss = fn(&Tensor, &Tensor) -> Tensor;
    let table: &[(&str, Loss, [f64; 2], [f64; 2])] = &[
        ("maximum", |a, b| a.maximum(b), [2.0, 2.0], [0.5, 0.5]),
        ("minimum", |a, b| a.minimum(b), [2.0, 2.0], [0.5, 0.5]),
        ("relu", |a, b| a.relu() + b.relu(), [0.0, 1.0], [0.0, 1.0]),
        ("abs", |a, b| a.abs() + b.abs(), [0.0, -1.0], [0.0, -1.0]),
        ("clamp", |a, b| a.clamp(0.0, 1.0) + b.clamp(0.0, 1.0), [0.0, 1.0], [0.0, 0.0]),
        ("powf at 0^2", |a, b| a.powf(b), [0.0, 2.0], [0.0, 0.0]),
        ("powf at 0^0", |a, b| a.powf(b), [0.0, 0.0], [0.0, 0.0]),
        ("powf of a negative base", |a, _| a.powf(3.0), [-2.0, 0.0], [12.0, 0.0]),
        ("amax", |a, b| Tensor::stack(&[a, b], 0).amax(0, false), [3.0, 3.0], [0.5, 0.5]),
        ("amin", |a, b| Tensor::stack(&[a, b], 0).amin(0, false), [3.0, 3.0], [0.5, 0.5]),
    ];
    for device in devices() {
        for (name, loss, at, want) in table {
            let [a, b] = at.map(|x| Tensor::scalar(x, &device).requires_grad());
            let got = autograd::grad(&loss(&a, &b), &[&a, &b], false);
            let got = got.iter().map(|g| g.as_ref().map_or(0.0, |g| g.item().unwrap())).collect::<Vec<_>>();
            let got = Host::new(&got, &[2]);
            got.assert_close(&format!("gradient of {name} on {device}"), &Host::new(want, &[2]), SUMS);
        }
    }
}
