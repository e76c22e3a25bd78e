//! What the tests run every operation on. Each has samples of its own in its file.

use std::sync::Arc;

use super::{
    Fused, Tolerance, attention, cat, conv, conv_weight, cross_entropy, layer_norm, max_pool, softmax,
};
use crate::core::shape::{Shape, Spec};

/// An operation on inputs of some shapes.
pub(crate) struct Sample {
    pub op: Arc<dyn Fused>,
    pub inputs: Vec<Draw>,
    /// For outputs and gradients of about 1.
    pub tolerance: Tolerance,
}

/// An input that is drawn at random.
#[derive(Clone)]
pub(crate) enum Draw {
    Floats(Shape, std::ops::Range<f32>),
    /// True for some two of three.
    Bools(Shape),
    /// Integers from 0 to below a number.
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
