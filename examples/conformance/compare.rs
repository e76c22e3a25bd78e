//! The comparison: `|got - want| <= atol + rtol * |want|` in f64. NaN matches NaN, and an infinity matches itself.

use serde_json::Value;
use wgrad::{DType, Tensor};

use crate::case::Case;

/// Fails with the first wrong element.
pub fn tensor(case: &Case, what: &str, got: &Tensor, want: &Value) -> Result<(), String> {
    let host = case.host(want);
    if got.shape()[..] != host.shape[..] {
        return Err(format!("{what} has the shape {}, not {:?}", got.shape(), host.shape));
    }
    let got = read(got).map_err(|error| format!("{what}: {error}"))?;
    values(what, &got, &host.values(), case.tolerance(want))
}

/// Compares a gradient that must exist. An expected `null` is not checked.
pub fn gradient(case: &Case, what: &str, got: Option<Tensor>, want: &Value) -> Result<(), String> {
    match got {
        _ if want.is_null() => Ok(()),
        Some(got) => tensor(case, &format!("the gradient of {what}"), &got, want),
        None => Err(format!("{what} has no gradient")),
    }
}

pub fn values(what: &str, got: &[f64], want: &[f64], (rtol, atol): (f64, f64)) -> Result<(), String> {
    let fits = |got: f64, want: f64| {
        if want.is_finite() {
            (got - want).abs() <= atol + rtol * want.abs() // false if got is NaN or infinite
        } else {
            got == want || (got.is_nan() && want.is_nan())
        }
    };
    let wrong: Vec<usize> = (0..want.len()).filter(|&i| !fits(got[i], want[i])).collect();
    let Some(&i) = wrong.first() else { return Ok(()) };
    Err(format!(
        "{what}[{i}] is {:e}, not {:e} (off by {:.2e}, allowed {:.2e} = {atol:e} + {rtol:e} |want|; {} of {} wrong)",
        got[i],
        want[i],
        got[i] - want[i],
        atol + rtol * want[i].abs(),
        wrong.len(),
        want.len()
    ))
}

/// The elements of a tensor of any dtype.
pub fn read(tensor: &Tensor) -> Result<Vec<f64>, wgrad::Error> {
    Ok(match tensor.dtype() {
        DType::F32 => tensor.to_vec::<f64>()?,
        DType::I32 => tensor.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
        DType::U32 => tensor.to_vec::<u32>()?.into_iter().map(f64::from).collect(),
        DType::Bool => tensor.to_vec::<bool>()?.into_iter().map(f64::from).collect(),
    })
}
