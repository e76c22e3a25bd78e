//! Initial weights, drawn on the host from this thread's generator: a seed gives the same weights on every device.
//!
//! Layers start as PyTorch's do; these functions give a place other values, as
//! [`torch.nn.init`](https://docs.pytorch.org/docs/stable/nn.init.html) does. `gain` is what the activation behind the layer asks
//! for: 1 for none and sigmoid, 5/3 for tanh, √2 for ReLU, √(2 / (1 + a²)) for a leaky one of slope a.
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

/// Which side's variance a [`kaiming_uniform`] weight keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// That of the activations, forward.
    In,
    /// That of the gradients, backward.
    Out,
}

/// Every element is `value`.
#[track_caller]
pub fn constant(var: &Var, value: f64) {
    let own = var.tensor();
    var.set(Tensor::full(own.shape(), value, own.device()));
}

/// Uniform in [low, high).
#[track_caller]
pub fn uniform(var: &Var, low: f64, high: f64) {
    fill(var, |n| next_stream().uniform(n).iter().map(|&x| low + f64::from(x) * (high - low)).collect());
}

/// Normal with this mean and deviation.
#[track_caller]
pub fn normal(var: &Var, mean: f64, std: f64) {
    fill(var, |n| next_stream().normal(n).iter().map(|&x| mean + f64::from(x) * std).collect());
}

/// [`normal`], drawn again until it lies within `low..=high`.
#[track_caller]
pub fn trunc_normal(var: &Var, mean: f64, std: f64, low: f64, high: f64) {
    // Beyond some deviations there is next to nothing to draw.
    if !(low < high && low < mean + 4.0 * std && high > mean - 4.0 * std && std > 0.0) {
        refuse!("trunc_normal", "{low} to {high} is no part of a normal of mean {mean} and deviation {std}");
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

/// Uniform with deviation `gain √(2 / (in + out))` (Glorot and Bengio, 2010).
#[track_caller]
pub fn xavier_uniform(var: &Var, gain: f64) {
    let bound = gain * (6.0 / fans("xavier_uniform", var).iter().sum::<f64>()).sqrt();
    uniform(var, -bound, bound);
}

/// Normal with deviation `gain √(2 / (in + out))` (Glorot and Bengio, 2010).
#[track_caller]
pub fn xavier_normal(var: &Var, gain: f64) {
    normal(var, 0.0, gain * (2.0 / fans("xavier_normal", var).iter().sum::<f64>()).sqrt());
}

/// Uniform with deviation `gain / √fan` (He et al., 2015).
#[track_caller]
pub fn kaiming_uniform(var: &Var, fan: Fan, gain: f64) {
    let bound = gain * (3.0 / fans("kaiming_uniform", var)[fan as usize]).sqrt();
    uniform(var, -bound, bound);
}

/// Normal with deviation `gain / √fan` (He et al., 2015).
#[track_caller]
pub fn kaiming_normal(var: &Var, fan: Fan, gain: f64) {
    normal(var, 0.0, gain / fans("kaiming_normal", var)[fan as usize].sqrt());
}

/// `gain` times a matrix whose rows, or columns where there are fewer, are orthonormal (Saxe et al., 2014). Dims behind the
/// first count as one.
#[track_caller]
pub fn orthogonal(var: &Var, gain: f64) {
    let shape = var.tensor().shape().clone();
    if shape.rank() < 2 || shape.numel() == 0 {
        refuse!("orthogonal", "{var:?} is no matrix");
    }
    let (rows, columns) = (shape[0], shape.numel() / shape[0]);
    let (count, length) = (rows.min(columns), rows.max(columns));
    fill(var, |n| {
        let drawn = next_stream().normal(n);
        let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
        for vector in drawn.chunks_exact(length) {
            let mut vector: Vec<f64> = vector.iter().map(|&x| x.into()).collect();
            // Gram and Schmidt, twice: the second time takes away what rounding left of the first.
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

/// How many numbers go into an output, and into how many outputs a number goes: of a weight `[out, in, window..]`.
#[track_caller]
fn fans(op: &str, var: &Var) -> [f64; 2] {
    let shape = var.tensor().shape().clone();
    if shape.rank() < 2 || shape.numel() == 0 {
        refuse!(op, "{var:?} is not [out, in, ..]");
    }
    let window: usize = shape[2..].iter().product();
    [shape[1] * window, shape[0] * window].map(|fan| fan as f64)
}

/// A parameter uniform in ±1/√fan: what layers start with (PyTorch's Kaiming uniform with a = √5).
#[track_caller]
pub(super) fn within(fan: usize, shape: impl Into<Shape>, device: &Device) -> Var {
    let (shape, bound) = (shape.into(), 1.0 / (fan as f32).sqrt());
    let data: Vec<f32> =
        next_stream().uniform(shape.numel()).iter().map(|x| (2.0 * x - 1.0) * bound).collect();
    Var::parameter(Tensor::new(data, shape, device))
}

/// A parameter of ones and one of zeros: how norms start.
#[track_caller]
pub(super) fn identity(shape: &Shape, device: &Device) -> (Var, Var) {
    (Var::parameter(Tensor::ones(shape, device)), Var::parameter(Tensor::zeros(shape, device)))
}
