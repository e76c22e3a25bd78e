//! Check of a fused operation: compares its kernels and its gradient rule with its decomposition in f64.

use std::sync::Arc;

use super::check::CheckError;
use super::grad_with;
use crate::core::error::Error;
use crate::core::random::Generator;
use crate::core::shape::Shape;
use crate::graph::Device;
use crate::tensor::Tensor;
use crate::tensor::fused::Fused;

/// The tolerance of a kernel: `atol + rtol * |decomposition|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Absolute tolerance.
    pub atol: f64,
    /// Tolerance relative to the decomposition's value.
    pub rtol: f64,
}

/// Compares an operation on the inputs' device with its decomposition ([`decomposition`](Fused::decomposition)) in f64
/// on the CPU: every output, the gradient of each output with respect to each input, and the second-order gradients.
/// The incoming gradients are random, so that errors do not cancel.
///
/// This function does not check the decomposition itself. Compare the decomposition with an independent implementation.
///
/// # Errors
///
/// Returns a message that names the first element that differs, or the failure if a value cannot be computed.
///
/// # Panics
///
/// Panics if the inputs do not fit the operation ([`Fused::outputs`]).
#[track_caller]
pub fn check(op: impl Fused, inputs: &[&Tensor], tolerance: Tolerance) -> Result<(), CheckError> {
    check_shared(&(Arc::new(op) as Arc<dyn Fused>), inputs, tolerance, true)
}

/// Performs [`check`], optionally for the outputs only.
#[track_caller]
pub(crate) fn check_shared(
    op: &Arc<dyn Fused>,
    inputs: &[&Tensor],
    tolerance: Tolerance,
    differentiated: bool,
) -> Result<(), CheckError> {
    let name = op.name();
    let cpu = Device::cpu();
    let failed = |error: Error| CheckError(format!("{name}: {error}"));
    let leaf = |x: &Tensor, device: &Device| {
        let copy = x.to_device(device)?;
        Ok(if copy.dtype().is_float() { copy.requires_grad() } else { copy })
    };
    let leaves = |device: &Device| inputs.iter().map(|x| leaf(x, device)).collect::<Result<Vec<_>, _>>();
    let device = inputs.first().map_or(&cpu, |x| x.device());
    let (ours, theirs) = (leaves(device).map_err(failed)?, leaves(&cpu).map_err(failed)?);
    let outputs = Tensor::fused_shared(op.clone(), &ours.iter().collect::<Vec<_>>());
    let decompositions = op.decomposition(&theirs);
    if decompositions.len() != outputs.len() {
        return Err(CheckError(format!(
            "{name}: {} outputs, but the decomposition has {}",
            outputs.len(),
            decompositions.len()
        )));
    }
    for (i, (output, decomposition)) in outputs.iter().zip(&decompositions).enumerate() {
        compare(&format!("{name}: output {i}"), output, decomposition, tolerance)?;
    }
    for (i, (output, decomposition)) in outputs.iter().zip(&decompositions).enumerate() {
        if !differentiated || !decomposition.needs_grad() {
            continue;
        }
        let first = gradients(&[(output, decomposition)], &ours, &theirs, i as u64);
        let label =
            |order: &str, input: usize| format!("{name}: {order} gradient of output {i} by input {input}");
        for (input, found, want) in &first {
            compare(&label("the", *input), found, want, tolerance)?;
        }
        let pairs: Vec<_> = first.iter().map(|(_, found, want)| (found, want)).collect();
        let differentiable = pairs.into_iter().filter(|(_, want)| want.needs_grad());
        for (input, found, want) in
            gradients(&differentiable.collect::<Vec<_>>(), &ours, &theirs, 100 + i as u64)
        {
            compare(&label("the second", input), &found, &want, tolerance)?;
        }
    }
    Ok(())
}

/// Returns, for each float input, its index and two gradients of the weighted outputs: the gradient of the operation
/// and the gradient of its decomposition. A missing gradient is replaced by zeros.
fn gradients(
    outputs: &[(&Tensor, &Tensor)],
    ours: &[Tensor],
    theirs: &[Tensor],
    seed: u64,
) -> Vec<(usize, Tensor, Tensor)> {
    let weighted = |pick: fn(&(&Tensor, &Tensor)) -> Tensor| {
        let sums = outputs.iter().zip(seed..).map(|(pair, seed)| {
            let x = pick(pair);
            let weights = Tensor::new(Generator::new(seed).normal(x.numel()), x.shape(), x.device());
            (x * weights).sum()
        });
        sums.reduce(|a, b| a + b)
    };
    let of = |pick: fn(&(&Tensor, &Tensor)) -> Tensor, leaves: &[Tensor]| -> Vec<Tensor> {
        let leaves: Vec<&Tensor> = leaves.iter().filter(|x| x.dtype().is_float()).collect();
        let found = match weighted(pick) {
            Some(loss) if loss.needs_grad() => grad_with(&loss, &loss.ones_like(), &leaves, true),
            _ => vec![None; leaves.len()],
        };
        found.into_iter().zip(leaves).map(|(found, x)| found.unwrap_or_else(|| x.zeros_like())).collect()
    };
    let floats = (0..ours.len()).filter(|&i| ours[i].dtype().is_float());
    let found = of(|pair| pair.0.clone(), ours).into_iter().zip(of(|pair| pair.1.clone(), theirs));
    floats.zip(found).map(|(i, (found, want))| (i, found, want)).collect()
}

fn compare(
    what: &str,
    found: &Tensor,
    want: &Tensor,
    Tolerance { atol, rtol }: Tolerance,
) -> Result<(), CheckError> {
    if found.spec() != want.spec() {
        return Err(CheckError(format!("{what} is {}, its decomposition {}", found.spec(), want.spec())));
    }
    let read = |x: &Tensor| {
        x.to_dtype(crate::DType::F32).to_vec::<f64>().map_err(|error| CheckError(format!("{what}: {error}")))
    };
    let (found, values) = (read(found)?, read(want)?);
    let same =
        |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= atol + rtol * b.abs();
    let wrong = (0..found.len()).find(|&i| !same(found[i], values[i]));
    wrong.map_or(Ok(()), |i| {
        let coords = want.shape().coords().nth(i).expect("the index is in range");
        Err(CheckError(format!(
            "{what} {} is {:e}, its decomposition {:e}: off by {:e}, tolerance {atol:e} + {rtol:e} * |decomposition|",
            Shape::from(&coords[..]),
            found[i],
            values[i],
            (found[i] - values[i]).abs()
        )))
    })
}
