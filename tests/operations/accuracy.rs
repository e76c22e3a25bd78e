//! How far elementwise results are from the right ones, over operands of every size, in ulp: units in the last place that
//! the right result has in f32. Right is what the CPU computes in f64.

use wgrad::{DType, Device, Generator, Tensor};

use super::list::{OPERATIONS, Operation};
use super::source;

/// An adapter may take what is smaller for 0.
const SMALLEST_NORMAL: f64 = f32::MIN_POSITIVE as f64;

/// The largest error of an elementwise operation on a device, in ulp, and the operands and the result for which it is.
pub fn worst(operation: &Operation, device: &Device) -> (f64, String) {
    let operands = if operation.operands.len() == 1 { vec![numbers()] } else { pairs() };
    let apply = |operands: &[Vec<f32>], device: &Device| {
        let tensors: Vec<_> = operands.iter().map(|x| Tensor::new(x.clone(), [x.len()], device)).collect();
        (operation.apply)(&tensors).to_vec::<f64>().expect("it can be read")
    };
    // Whether or not the adapter takes denormal operands for 0.
    let wants: Vec<Vec<f64>> = (0..1 << operands.len())
        .map(|choice| {
            let flushed = |(i, x): (usize, &Vec<f32>)| {
                x.iter()
                    .map(|&x| if choice >> i & 1 == 1 && x.is_subnormal() { 0.0 * x } else { x })
                    .collect()
            };
            apply(&operands.iter().enumerate().map(flushed).collect::<Vec<_>>(), &Device::cpu())
        })
        .collect();
    let got = apply(&operands, device);
    // A factor may have been taken for 0, and the other be 88 at most where it is no 0 in f64 either.
    let negligible = if operation.is_composed() { 88.0 * SMALLEST_NORMAL } else { SMALLEST_NORMAL };
    let error =
        |i: usize| wants.iter().map(|want| ulps(got[i], want[i], negligible)).fold(f64::INFINITY, f64::min);
    let errors = (0..got.len()).map(|i| (error(i), i));
    let (error, i) = errors.max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are operands");
    let at: Vec<f32> = operands.iter().map(|x| x[i]).collect();
    (error, format!("{} of {at:?} is {:e} instead of {:e}", operation.name(), got[i], wants[0][i]))
}

/// How many ulp of what was wanted lie between the two. Infinity is what follows the largest number.
fn ulps(got: f64, want: f64, negligible: f64) -> f64 {
    let number = |x: f64| if f64::from(x as f32).is_infinite() { 128f64.exp2().copysign(x) } else { x };
    let (got, want) = (number(got), number(want));
    if (want.abs() < negligible && got.abs() <= negligible) || (got.is_nan() && want.is_nan()) {
        return 0.0;
    }
    if got.is_nan() || want.is_nan() { f64::INFINITY } else { (got - want).abs() / ulp(want) }
}

/// What the last place of an f32 about x counts.
pub fn ulp(x: f64) -> f64 {
    let exponent = x.abs().clamp(SMALLEST_NORMAL, f64::from(f32::MAX)).log2().floor();
    (exponent - 23.0).exp2()
}

/// Numbers of every size and both signs, many about 1, and the special ones.
fn numbers() -> Vec<f32> {
    let mut random = Generator::new(11);
    let mut numbers = SPECIAL.to_vec();
    for exponent in 0..255 {
        let sizes = random.uniform(64).into_iter().map(|x| (exponent << 23) + (x * 8_388_608.0) as u32);
        numbers.extend(sizes.enumerate().map(|(i, size)| f32::from_bits((i as u32 % 2) << 31 | size)));
    }
    for width in [0.5, 2.0, 20.0, 110.0, 1e5] {
        numbers.extend(random.uniform(8000).iter().map(|x| (2.0 * x - 1.0) * width));
    }
    numbers
}

#[rustfmt::skip]
const SPECIAL: [f32; 20] = [
    0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 1e-40, 1e-30, 1e30, 1e38, -1e38, 16_777_215.0,
    f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN,
];

/// Each special number with each; bases of all sizes, and bases about 1, where a logarithm's last digit counts most, with
/// exponents for which the power is a number or nearly one.
fn pairs() -> Vec<Vec<f32>> {
    let mut random = Generator::new(12);
    let n = 30_000;
    let wide = random.uniform(n).into_iter().map(|x| (250.0 * x - 125.0).exp2());
    let bases: Vec<f32> = wide.chain(random.uniform(n).into_iter().map(|x| 0.7 + 0.75 * x)).collect();
    let exponent = |(x, base): (f32, &f32)| (258.0 * x - 129.0) / base.log2().abs().max(1e-7);
    let exponents = random.uniform(2 * n).into_iter().zip(&bases).map(exponent);
    let special = || SPECIAL.iter().flat_map(|&x| SPECIAL.map(|y| (x, y)));
    vec![
        special().map(|pair| pair.0).chain(bases.iter().copied()).collect(),
        special().map(|pair| pair.1).chain(exponents).collect(),
    ]
}

/// Each row of the table of elementwise operations that gives numbers has a bound, which `table` holds it to.
#[test]
fn every_float_row_has_a_bound() {
    let rows = source::rows();
    let floats = OPERATIONS.iter().filter(|op| op.dtypes.contains(&DType::F32) && op.constant.is_none());
    let missing: Vec<&str> =
        floats.filter(|op| rows.contains(op.name()) && op.ulps.is_none()).map(Operation::name).collect();
    assert!(missing.is_empty(), "without a bound: {missing:?}");
}
