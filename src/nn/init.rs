//! Weight initialization, drawn on the host from this thread's generator: a seed gives the same weights on every
//! device.
//!
//! Layers start with PyTorch's defaults. These functions set a variable to other values, like
//! [`torch.nn.init`](https://docs.pytorch.org/docs/stable/nn.init.html). `gain` depends on the activation that follows
//! the layer: 1 for none and sigmoid, 5/3 for tanh, √2 for ReLU, √(2 / (1 + a²)) for leaky ReLU with slope a.
//!
//! ```
//! use wgrad::nn::init::{self, Fan};
//! use wgrad::{Device, nn::Linear};
//! let layer = Linear::new(784, 256, &Device::cpu());
//! init::kaiming_normal(&layer.weight, Fan::In, 2f64.sqrt());
//! init::constant(layer.bias.as_ref().unwrap(), 0.0);
//! ```

use crate::core::random::next_stream;
use crate::core::shape::{Shape, refuse};
use crate::graph::Device;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// The side on which [`kaiming_uniform`] and [`kaiming_normal`] preserve the variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// The activations, in the forward pass.
    In,
    /// The gradients, in the backward pass.
    Out,
}

/// Sets every element to `value`.
///
/// # Panics
///
/// Panics if the variable exceeds the device's storage binding limit.
#[track_caller]
pub fn constant(var: &Var, value: f64) {
    let own = var.tensor();
    var.set(Tensor::full(own.shape(), value, own.device()));
}

/// Draws from the uniform distribution on [low, high).
///
/// # Panics
///
/// Panics if the variable is not f32.
#[track_caller]
pub fn uniform(var: &Var, low: f64, high: f64) {
    fill(var, |n| next_stream().uniform(n).iter().map(|&x| low + f64::from(x) * (high - low)).collect());
}

/// Draws from the normal distribution with this mean and standard deviation.
///
/// # Panics
///
/// Panics if the variable is not f32.
#[track_caller]
pub fn normal(var: &Var, mean: f64, std: f64) {
    fill(var, |n| next_stream().normal(n).iter().map(|&x| mean + f64::from(x) * std).collect());
}

/// Draws from the normal distribution truncated to `low..=high`: values outside the interval are redrawn.
///
/// # Panics
///
/// Panics if `std` is not positive, if `low` is not below `high`, if the interval is more than 4 standard deviations
/// from the mean, or if the variable is not f32.
#[track_caller]
pub fn trunc_normal(var: &Var, mean: f64, std: f64, low: f64, high: f64) {
    // Too far from the mean, almost all values would be rejected.
    if !(low < high && low < mean + 4.0 * std && high > mean - 4.0 * std && std > 0.0) {
        refuse!(
            "trunc_normal",
            "expects low < high within 4 std of the mean, got {low} to {high} for mean {mean}, std {std}"
        );
    }
    fill(var, |n| {
        let mut kept = Vec::with_capacity(n);
        while kept.len() < n {
            let drawn = next_stream().normal(n).into_iter().map(|x| mean + f64::from(x) * std);
            kept.extend(drawn.filter(|x| (low..=high).contains(x)).take(n - kept.len()));
        }
        kept
    });
}

/// Draws from the uniform distribution with mean 0 and standard deviation `gain √(2 / (in + out))` (Glorot and Bengio,
/// 2010).
///
/// # Panics
///
/// Panics if the variable is not f32, has fewer than two dims, or is empty.
#[track_caller]
pub fn xavier_uniform(var: &Var, gain: f64) {
    let bound = gain * (6.0 / fans("xavier_uniform", var).iter().sum::<f64>()).sqrt();
    uniform(var, -bound, bound);
}

/// Draws from the normal distribution with mean 0 and standard deviation `gain √(2 / (in + out))` (Glorot and Bengio,
/// 2010).
///
/// # Panics
///
/// Panics if the variable is not f32, has fewer than two dims, or is empty.
#[track_caller]
pub fn xavier_normal(var: &Var, gain: f64) {
    normal(var, 0.0, gain * (2.0 / fans("xavier_normal", var).iter().sum::<f64>()).sqrt());
}

/// Draws from the uniform distribution with mean 0 and standard deviation `gain / √fan` (He et al., 2015).
///
/// # Panics
///
/// Panics if the variable is not f32, has fewer than two dims, or is empty.
#[track_caller]
pub fn kaiming_uniform(var: &Var, fan: Fan, gain: f64) {
    let bound = gain * (3.0 / fans("kaiming_uniform", var)[fan as usize]).sqrt();
    uniform(var, -bound, bound);
}

/// Draws from the normal distribution with mean 0 and standard deviation `gain / √fan` (He et al., 2015).
///
/// # Panics
///
/// Panics if the variable is not f32, has fewer than two dims, or is empty.
#[track_caller]
pub fn kaiming_normal(var: &Var, fan: Fan, gain: f64) {
    normal(var, 0.0, gain / fans("kaiming_normal", var)[fan as usize].sqrt());
}

/// Sets the variable to `gain` times a random matrix with orthonormal rows, or orthonormal columns if there are fewer
/// columns (Saxe et al., 2014). The dims after the first are merged.
///
/// # Panics
///
/// Panics if the variable is not f32, has fewer than two dims, or is empty.
#[track_caller]
pub fn orthogonal(var: &Var, gain: f64) {
    let shape = var.tensor().shape().clone();
    if shape.rank() < 2 || shape.numel() == 0 {
        refuse!("orthogonal", "expects rank >= 2 and at least one element, got {var:?}");
    }
    let (rows, columns) = (shape[0], shape.numel() / shape[0]);
    let (count, length) = (rows.min(columns), rows.max(columns));
    fill(var, |n| {
        let drawn = next_stream().normal(n);
        let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
        for vector in drawn.chunks_exact(length) {
            let mut vector: Vec<f64> = vector.iter().map(|&x| x.into()).collect();
            // Gram-Schmidt, applied twice: the second pass removes the rounding error of the first.
            for other in basis.iter().chain(&basis) {
                let along = dot(&vector, other);
                vector.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
            let norm = dot(&vector, &vector).sqrt();
            basis.push(vector.into_iter().map(|x| x / norm).collect());
        }
        let at =
            |i: usize| if rows <= columns { (i / columns, i % columns) } else { (i % columns, i / columns) };
        (0..n).map(at).map(|(vector, element)| gain * basis[vector][element]).collect()
    });
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[track_caller]
fn fill(var: &Var, draw: impl FnOnce(usize) -> Vec<f64>) {
    let own = var.tensor();
    let data: Vec<f32> = draw(own.numel()).into_iter().map(|x| x as f32).collect();
    var.set(Tensor::new(data, own.shape(), own.device()));
}

/// Returns the fan-in and fan-out of a weight `[out, in, window..]`.
#[track_caller]
fn fans(op: &str, var: &Var) -> [f64; 2] {
    let shape = var.tensor().shape().clone();
    if shape.rank() < 2 || shape.numel() == 0 {
        refuse!(op, "expects a weight [out, in, ..] with at least one element, got {var:?}");
    }
    let window: usize = shape[2..].iter().product();
    [shape[1] * window, shape[0] * window].map(|fan| fan as f64)
}

/// Creates a parameter that is uniform in ±1/√fan, the default of most layers (PyTorch's Kaiming uniform with a = √5).
#[track_caller]
pub(super) fn within(fan: usize, shape: impl Into<Shape>, device: &Device) -> Var {
    let (shape, bound) = (shape.into(), 1.0 / (fan as f32).sqrt());
    let data: Vec<f32> =
        next_stream().uniform(shape.numel()).iter().map(|x| (2.0 * x - 1.0) * bound).collect();
    Var::parameter(Tensor::new(data, shape, device))
}

/// Creates a parameter of ones and a parameter of zeros, the defaults of normalization layers.
#[track_caller]
pub(super) fn identity(shape: &Shape, device: &Device) -> (Var, Var) {
    (Var::parameter(Tensor::ones(shape, device)), Var::parameter(Tensor::zeros(shape, device)))
}
