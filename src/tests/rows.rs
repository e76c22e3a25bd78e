//! Tests every operation of the table, in every layout and with every dtype that the operation accepts: its values, its
//! gradients, and the GPU against the CPU.
//!
//! The matches below have no wildcard, so a new operation does not compile until the tests have an independent
//! definition of its value.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_PI_2};

use super::common::layout::{LAYOUTS, Layout};
use super::common::{EXACT, F32, F64, Host, Tolerance, check_gpu, check_gradient, gpu};
use crate::graph::{Binary, Unary};
use crate::tensor::elementwise::{binary, unary};
use crate::{DType, Device, Tensor};

/// Computes the value of an operation independently of the table.
fn unary_value(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Neg => 0.0 - x,
        Unary::Recip => x.powi(-1),
        Unary::Exp => x.cosh() + x.sinh(),
        Unary::Log => ((x * x - 1.0) / (2.0 * x)).asinh(),
        Unary::Log1p => 2.0 * (x / (2.0 + x)).atanh(),
        Unary::Expm1 => 2.0 * (x / 2.0).sinh() * (x / 2.0).exp(),
        Unary::Sqrt => (x.ln() / 2.0).exp(),
        Unary::Sin => (x - FRAC_PI_2).cos(),
        Unary::Cos => (x + FRAC_PI_2).sin(),
        Unary::Tanh => 1.0 - 2.0 / ((2.0 * x).exp() + 1.0),
        Unary::Sigmoid => (1.0 + (x / 2.0).tanh()) / 2.0,
        Unary::Relu => (x + x.abs()) / 2.0,
        Unary::Erf => erf_by_simpson(x),
        Unary::Ndtr => (1.0 + erf_by_simpson(x * FRAC_1_SQRT_2)) / 2.0,
        Unary::Abs => (x * x).sqrt(),
        Unary::Sign => x / x.abs(),
        Unary::Floor => x - x.rem_euclid(1.0),
        Unary::Not => 1.0 - x,
    }
}

/// Computes `2/√π ∫₀ˣ exp(-t²) dt` by Simpson's rule in 2,000 steps. The error is about `x h⁴ / 15`, at most 1e-12.
fn erf_by_simpson(x: f64) -> f64 {
    let (n, f) = (2000, |t: f64| (-t * t).exp());
    let h = x / f64::from(n);
    let inner: f64 = (1..n).map(|i| f64::from(2 + 2 * (i % 2)) * f(f64::from(i) * h)).sum();
    std::f64::consts::FRAC_2_SQRT_PI * (f(0.0) + inner + f(x)) * h / 3.0
}

fn binary_value(op: Binary, a: f64, b: f64) -> f64 {
    match op {
        Binary::Add => a - (-b),
        Binary::Sub => -(b - a),
        Binary::Mul => ((a + b).powi(2) - (a - b).powi(2)) / 4.0,
        Binary::Div => a * b.recip(),
        Binary::Pow => (b * a.ln()).exp(),
        Binary::Max => (a + b + (a - b).abs()) / 2.0,
        Binary::Min => (a + b - (a - b).abs()) / 2.0,
        Binary::Lt => f64::from(b - a > 0.0),
        Binary::Eq => f64::from(a - b == 0.0),
        Binary::And => a * b,
        Binary::Or => a.max(b),
    }
}

/// Returns the tolerance of the GPU's results for operands of magnitude 1.
fn unary_tolerance(op: Unary) -> Tolerance {
    match op {
        Unary::Neg | Unary::Abs | Unary::Sign | Unary::Floor | Unary::Not | Unary::Relu => EXACT,
        // A few ulp; tests/operations/accuracy.rs has the exact numbers.
        _ => F32,
    }
}

fn binary_tolerance(op: Binary) -> Tolerance {
    match op {
        Binary::Max | Binary::Min | Binary::Lt | Binary::Eq | Binary::And | Binary::Or => EXACT,
        // The GPU may reorder a sum, use fma, or flush denormals to zero.
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Pow => F32,
    }
}

/// Widens a tolerance for gradients, which have a few additional operations.
fn wider(tolerance: Tolerance) -> Tolerance {
    Tolerance { atol: tolerance.atol.max(F32.atol) * 4.0, rtol: tolerance.rtol.max(F32.rtol) * 4.0 }
}

/// The shape of an operand.
const SHAPE: [usize; 2] = [3, 5];

/// Draws operands of an operation, away from its discontinuities and kinks.
fn unary_operand(op: Unary, seed: u64, shape: &[usize]) -> Host {
    let drawn = Host::draw(seed, shape, op.row().domain.clone());
    match op {
        Unary::Floor => drawn.map(|x| x.floor() + 0.1 + 0.75 * (x - x.floor())),
        Unary::Sign => drawn.map(|x| if x < 0.0 { x - 0.25 } else { x + 0.25 }),
        // Operands on both sides of the kink at 0, which is outside the domain.
        Unary::Relu | Unary::Abs => {
            let mut sign = -1.0;
            let flipped = drawn.data.iter().map(|x| {
                sign = -sign;
                sign * x
            });
            Host { data: flipped.collect(), shape: drawn.shape.clone() }
        }
        _ => drawn,
    }
}

/// Draws two operands. For comparisons, maximum and minimum, no element of one operand is close to any element of the
/// other operand.
fn binary_operands(op: Binary, layouts: [Layout; 2]) -> [Host; 2] {
    let domain = op.row().domain.clone();
    let draw = |i: usize| Host::draw(20 + i as u64, &layouts[i].leaf(&SHAPE), domain.clone());
    // Multiples of 1/8 for the first operand, and multiples of 1/8 plus 1/16 for the second: elements are at least 1/16
    // apart.
    let apart = |x: f64, i: usize| (x * 8.0).round() / 8.0 + i as f64 / 16.0;
    match op {
        Binary::Max | Binary::Min | Binary::Lt | Binary::Eq => [0, 1].map(|i| draw(i).map(|x| apart(x, i))),
        _ => [0, 1].map(draw),
    }
}

/// An operation is marked as discontinuous exactly if its gradient is 0 everywhere.
#[test]
fn rows_jump_where_their_gradient_is_zero() {
    let dev = Device::cpu();
    let flat = |x: &Tensor, y: Tensor| {
        let gradient =
            y.dtype().is_float().then(|| crate::autograd::grad(&y.sum(), &[x], false)[0].clone()).flatten();
        gradient.is_none_or(|gradient| gradient.to_vec::<f64>().unwrap() == [0.0; 7])
    };
    let operand = |domain: &std::ops::Range<f64>| {
        let inside = |i: i32| domain.start + (domain.end - domain.start) * (f64::from(i) + 0.37) / 7.0;
        Tensor::new((0..7).map(inside).collect::<Vec<_>>(), [7], &dev).requires_grad()
    };
    for op in Unary::ALL.iter().filter(|op| op.row().accepts.dtype(DType::F32)) {
        let x = operand(&op.row().domain);
        assert_eq!(flat(&x, unary(*op, &x)), op.row().jumps, "{}", op.row().name);
    }
    for op in Binary::ALL.iter().filter(|op| op.row().accepts.dtype(DType::F32)) {
        let x = operand(&op.row().domain);
        assert_eq!(
            flat(&x, binary(*op, (&x).into(), x.flip(0).detach().into())),
            op.row().jumps,
            "{}",
            op.row().name
        );
    }
}

#[test]
fn unary_rows() {
    for &op in Unary::ALL.iter().filter(|op| op.row().accepts.dtype(DType::F32)) {
        for (seed, layout) in LAYOUTS.into_iter().enumerate() {
            let name = &format!("{} ({layout:?})", op.row().name);
            let input = unary_operand(op, seed as u64, &layout.leaf(&SHAPE));
            let apply = |xs: &[Tensor]| unary(op, &layout.view(&xs[0], &SHAPE));
            let seen = Host::read(&layout.view(&input.tensor(&Device::cpu()), &SHAPE));
            let value = Host::read(&apply(&[input.tensor(&Device::cpu())]));
            value.assert_close(name, &seen.map(|x| unary_value(op, x)), F64);
            let inputs = [input];
            check_gradient(name, &inputs, &apply);
            let tolerance = unary_tolerance(op);
            check_gpu(name, &inputs, &apply, tolerance, wider(tolerance));
        }
    }
}

#[test]
fn binary_rows() {
    use Layout::*;
    let pairs = [
        [Contiguous, Contiguous],
        [Transposed, Sliced],
        [Sliced, Transposed],
        [Broadcast, Contiguous],
        [Contiguous, Broadcast],
        [RealisedTransposed, RealisedFlipped],
        [RealisedSliced, RealisedTransposed],
        [Empty, Empty],
        [Empty, Broadcast],
    ];
    for &op in Binary::ALL.iter().filter(|op| op.row().accepts.dtype(DType::F32)) {
        for layouts in pairs {
            let name = &format!("{} {layouts:?}", op.row().name);
            let inputs = binary_operands(op, layouts);
            // An operand with one row of five elements is not expanded if the other operand is empty.
            let view = |i: usize, x: &Tensor| match layouts[0] {
                Empty => x.clone(),
                _ => layouts[i].view(x, &SHAPE),
            };
            let operands = |xs: &[Tensor]| [view(0, &xs[0]), view(1, &xs[1])];
            let apply = |xs: &[Tensor]| {
                let [a, b] = operands(xs);
                binary(op, a.into(), b.into())
            };
            let xs = inputs.clone().map(|input| input.tensor(&Device::cpu()));
            let [a, b] = operands(&xs).map(|x| Host::read(&x));
            let want = Host {
                data: a.data.iter().zip(&b.data).map(|(&a, &b)| binary_value(op, a, b)).collect(),
                shape: a.shape,
            };
            Host::read(&apply(&xs)).assert_close(name, &want, F64);
            if !op.row().compares {
                check_gradient(name, &inputs, &apply);
            }
            let tolerance = binary_tolerance(op);
            check_gpu(name, &inputs, &apply, tolerance, wider(tolerance));
        }
    }
}

/// A number as the first or second operand is equivalent to a tensor filled with this number.
#[test]
fn binary_rows_with_a_number() {
    let x = Host::draw(3, &[7], 0.5..3.0);
    for device in [Device::cpu_rounded(), gpu()] {
        for &op in Binary::ALL.iter().filter(|op| op.row().accepts.dtype(DType::F32)) {
            let (tensor, full) = (x.tensor(&device), Tensor::full([7], 1.25, &device));
            let name = op.row().name;
            let number = binary(op, (&tensor).into(), 1.25.into());
            let want = Host::read(&binary(op, (&tensor).into(), (&full).into()));
            Host::read(&number).assert_close(name, &want, EXACT);
            let number = binary(op, 1.25.into(), (&tensor).into());
            let want = Host::read(&binary(op, (&full).into(), (&tensor).into()));
            Host::read(&number).assert_close(name, &want, EXACT);
        }
    }
}

const INTS: [i32; 10] = [0, 1, -1, 2, -7, 46_341, -65_536, i32::MAX, i32::MIN, 123_456_789];

/// Computes the value of an operation on integers, which wrap as in WGSL.
fn unary_int(op: Unary, x: i32) -> i32 {
    match op {
        Unary::Neg => x.wrapping_neg(),
        Unary::Abs => x.wrapping_abs(),
        Unary::Sign => x.signum(),
        _ => panic!("say what {op:?} does to an i32"),
    }
}

fn binary_int(op: Binary, a: i32, b: i32) -> i32 {
    match op {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
        Binary::Lt => i32::from(a < b),
        Binary::Eq => i32::from(a == b),
        _ => panic!("say what {op:?} does to an i32"),
    }
}

fn binary_uint(op: Binary, a: u32, b: u32) -> u32 {
    match op {
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
        Binary::Lt => u32::from(a < b),
        _ => binary_int(op, a as i32, b as i32) as u32,
    }
}

#[test]
fn integer_rows() {
    let n = INTS.len();
    let pairs = || (0..n * n).map(|i| (INTS[i / n], INTS[i % n]));
    let uints = INTS.map(|x| x as u32);
    for device in [Device::cpu(), gpu()] {
        let (x, u) = (Tensor::new(INTS, [n], &device), Tensor::new(uints, [n], &device));
        for &op in Unary::ALL.iter().filter(|op| op.row().accepts.dtype(DType::I32)) {
            let want = INTS.map(|x| f64::from(unary_int(op, x)));
            Host::read(&unary(op, &x)).assert_close(op.row().name, &Host::new(&want, &[n]), EXACT);
            assert!(!op.row().accepts.dtype(DType::U32), "say what {op:?} does to a u32");
        }
        for &op in Binary::ALL.iter().filter(|op| op.row().accepts.dtype(DType::I32)) {
            let name = op.row().name;
            let want: Vec<f64> = pairs().map(|(a, b)| f64::from(binary_int(op, a, b))).collect();
            let got = binary(op, x.unsqueeze(1).into(), x.unsqueeze(0).into());
            Host::read(&got).assert_close(name, &Host::new(&want, &[n, n]), EXACT);
            let want: Vec<f64> =
                pairs().map(|(a, b)| f64::from(binary_uint(op, a as u32, b as u32))).collect();
            let got = binary(op, u.unsqueeze(1).into(), u.unsqueeze(0).into());
            Host::read(&got).assert_close(name, &Host::new(&want, &[n, n]), EXACT);
        }
    }
}

#[test]
fn bool_rows() {
    let bools = [false, true];
    for device in [Device::cpu(), gpu()] {
        let x = Tensor::new(bools, [2], &device);
        for &op in Unary::ALL.iter().filter(|op| op.row().accepts.dtype(DType::Bool)) {
            let want = bools.map(|x| unary_value(op, f64::from(x)));
            Host::read(&unary(op, &x)).assert_close(op.row().name, &Host::new(&want, &[2]), EXACT);
        }
        for &op in Binary::ALL.iter().filter(|op| op.row().accepts.dtype(DType::Bool)) {
            let want = Host::tabulate(&[2, 2], |c| binary_value(op, c[0] as f64, c[1] as f64));
            let got = binary(op, x.unsqueeze(1).into(), x.unsqueeze(0).into());
            Host::read(&got).assert_close(op.row().name, &want, EXACT);
        }
    }
}
