//! Sample inputs for testing every fused operation. Each operation's file defines its samples.

use std::sync::Arc;

use super::{
    Fused, Tolerance, attention, cat, conv, conv_weight, cross_entropy, layer_norm, max_pool, softmax,
};
use crate::core::shape::{Shape, Spec};

/// A fused operation and the shapes of its inputs.
pub(crate) struct Sample {
    pub op: Arc<dyn Fused>,
    pub inputs: Vec<Draw>,
    /// The tolerance for outputs and gradients of magnitude 1.
    pub tolerance: Tolerance,
}

/// A description of a random input.
#[derive(Clone)]
pub(crate) enum Draw {
    Floats(Shape, std::ops::Range<f32>),
    /// Bools of this shape, about two thirds of which are true.
    Bools(Shape),
    /// Integers of this shape, at least 0 and less than the number.
    Below(Shape, usize),
}

impl Draw {
    pub fn spec(&self) -> Spec {
        match self {
            Draw::Floats(shape, _) => Spec::new(shape.clone(), crate::DType::F32),
            Draw::Bools(shape) => Spec::new(shape.clone(), crate::DType::Bool),
            Draw::Below(shape, _) => Spec::new(shape.clone(), crate::DType::I32),
        }
    }
}

pub(crate) fn samples() -> Vec<Sample> {
    [
        attention::samples(),
        cat::samples(),
        conv::samples(),
        conv_weight::samples(),
        cross_entropy::samples(),
        layer_norm::samples(),
        max_pool::samples(),
        softmax::samples(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
