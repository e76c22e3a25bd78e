//! `where_` and conversions.

use crate::common::{EXACT, F32, Host, check, gpu};
use wgrad::{DType, Device, Tensor};

#[test]
fn where_chooses() {
    let inputs = [
        Host::draw(1, &[3, 1], -1.0..1.0),
        Host::draw(2, &[3, 4], -1.0..1.0),
        Host::draw(3, &[4], -1.0..1.0),
    ];
    let [c, a, b] = &inputs;
    let want =
        Host::tabulate(&[3, 4], |i| if c.at([i[0], 0]) > 0.0 { a.at([i[0], i[1]]) } else { b.at([i[1]]) });
    check("where", &inputs, &|xs| xs[0].gt(0.0).where_(&xs[1], &xs[2]), &want, EXACT);
    let want = Host::tabulate(&[3, 4], |i| if a.at([i[0], i[1]]) < 0.0 { 7.0 } else { c.at([i[0], 0]) });
    check("masked_fill", &inputs[..2], &|xs| xs[0].masked_fill(&xs[1].lt(0.0), 7.0), &want, EXACT);
    let want = a.map(|x| if x > 0.0 { 1.0 } else { -1.0 });
    check("where of numbers", &inputs[1..2], &|xs| xs[0].gt(0.0).where_(1.0, -1.0), &want, EXACT);
    let want = a.map(|x| x.clamp(-0.25, 0.5));
    check("clamp", &inputs[1..2], &|xs| xs[0].clamp(-0.25, 0.5), &want, EXACT);
}

#[test]
fn where_of_other_dtypes() {
    for device in [Device::cpu(), gpu()] {
        let mask = Tensor::new([true, false], [2], &device);
        let ints = mask.where_(Tensor::new([5, 6], [2], &device), -3);
        assert_eq!(ints.to_vec::<i32>().unwrap(), [5, -3]);
        let bools = mask.where_(mask.logical_not(), &mask);
        assert_eq!(bools.to_vec::<bool>().unwrap(), [false, false]);
    }
}

/// Every dtype to every other; floats are truncated towards zero and clamped to the integer's range.
#[test]
fn casts() {
    let floats = [0.0, -0.5, 0.99, -2.75, 2.5, 1e9, 1.0, 16_777_217.0];
    let ints = [0, 1, -1, 2_000_000_001, i32::MIN, i32::MAX, 16_777_217, -5];
    let uints = [0, 1, u32::MAX, 1 << 31, 2_000_000_001, 3, 16_777_217, 9];
    let bools = [true, false, true, true, false, false, true, false];
    for device in [Device::cpu_rounded(), gpu()] {
        let sources = [
            (Tensor::new(floats, [8], &device), floats.map(|x| f64::from(x as f32))),
            (Tensor::new(ints, [8], &device), ints.map(f64::from)),
            (Tensor::new(uints, [8], &device), uints.map(f64::from)),
            (Tensor::new(bools, [8], &device), bools.map(f64::from)),
        ];
        for (source, values) in &sources {
            for &to in DType::ALL {
                // i32 and u32 are converted to each other by their bits, as in WGSL.
                let integers = matches!(source.dtype(), DType::I32 | DType::U32);
                let convert = |x: f64| match to {
                    DType::F32 => f64::from(x as f32),
                    DType::I32 if integers => f64::from(x as i64 as i32),
                    DType::I32 => f64::from(x as i32),
                    DType::U32 if integers => f64::from(x as i64 as u32),
                    DType::U32 => f64::from(x as u32),
                    DType::Bool => f64::from(x != 0.0),
                };
                let name = format!("{} to {to} on {device}", source.dtype());
                let want = Host::new(&values.map(convert), &[8]);
                Host::read(&source.to_dtype(to)).assert_close(&name, &want, EXACT);
            }
        }
    }
}

#[test]
fn floats_out_of_an_integers_range() {
    for device in [Device::cpu(), gpu()] {
        let x = Tensor::new([3e9, -3e9, 5e9, -1.0, f64::INFINITY, f64::NEG_INFINITY], [6], &device);
        // The largest f32 below the limit, where the limit itself is none.
        let (i, u) = (
            x.to_dtype(DType::I32).to_vec::<i32>().unwrap(),
            x.to_dtype(DType::U32).to_vec::<u32>().unwrap(),
        );
        let most = |x: i32| x >= 2_147_483_520;
        assert!(
            most(i[0]) && i[1] == i32::MIN && most(i[2]) && i[3] == -1 && most(i[4]) && i[5] == i32::MIN,
            "{i:?} on {device}"
        );
        let most = |x: u32| x >= 4_294_967_040;
        assert!(
            u[0] == 3_000_000_000 && u[1] == 0 && most(u[2]) && u[3] == 0 && most(u[4]) && u[5] == 0,
            "{u:?} on {device}"
        );
    }
}

/// The values of methods that are composed of rows. Their gradients follow from those of the rows.
#[test]
fn composed_methods() {
    type Method = (&'static str, fn(&Tensor) -> Tensor, fn(f64) -> f64);
    let table: &[Method] = &[
        ("square", |x| x.square(), |x| x * x),
        ("rsqrt", |x| x.rsqrt(), |x| 1.0 / x.sqrt()),
        ("pow 3", |x| x.pow(3.0), |x| x * x * x),
        ("pow -2", |x| x.pow(-2.0), |x| 1.0 / (x * x)),
        ("pow 13", |x| (x * 0.5).pow(13), |x| (x * 0.5).powi(13)),
        ("pow 0.5", |x| x.pow(0.5), f64::sqrt),
        ("silu", |x| x.silu(), |x| x / (1.0 + (-x).exp())),
        ("gelu", |x| x.gelu(), |x| 0.5 * x * erfc_by_series(-x / std::f64::consts::SQRT_2)),
        ("2 - x", |x| 2.0 - x, |x| 2.0 - x),
        ("2 / x", |x| 2.0 / x, |x| 2.0 / x),
        ("-x", |x| -x, |x| -x),
        ("x + 1", |x| x + 1, |x| x + 1.0),
    ];
    let x = Host::draw(5, &[3, 3], 0.5..1.5);
    for (name, method, value) in table {
        let tolerance = crate::common::Tolerance { atol: F32.atol, rtol: 1e-5 };
        check(name, std::slice::from_ref(&x), &|xs| method(&xs[0]), &x.map(value), tolerance);
    }
}

/// `erfc(x)` for x < 0, as a Taylor series of erf: enough terms for |x| < 1.1.
fn erfc_by_series(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    1.0 - std::f64::consts::FRAC_2_SQRT_PI * sum
}
