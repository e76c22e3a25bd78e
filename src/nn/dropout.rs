//! Dropout.

use super::summary::record_output;
use super::{Mode, Module, Visitor};
use crate::core::shape::refuse;
use crate::tensor::Tensor;

/// In training, sets each element to 0 with probability `p` and divides the others by `1 - p` ([`Tensor::dropout`]). In
/// evaluation it returns its input.
///
/// ```
/// use wgrad::nn::{Dropout, Module};
/// use wgrad::{Device, Tensor};
/// let dropout = Dropout::new(0.5);
/// let x = Tensor::ones([100], &Device::cpu());
/// assert!(dropout.forward(&x).to_vec::<f32>().unwrap().iter().all(|&x| x == 0.0 || x == 2.0));
/// dropout.eval();
/// assert_eq!(dropout.forward(&x).to_vec::<f32>().unwrap(), [1.0; 100]);
/// ```
#[derive(Clone, Debug)]
pub struct Dropout {
    p: f64,
    mode: Mode,
}

impl Dropout {
    /// Creates a layer that drops each element with probability `p`.
    ///
    /// # Panics
    ///
    /// Panics if `p` is not in [0, 1].
    #[track_caller]
    pub fn new(p: f64) -> Dropout {
        if !(0.0..=1.0).contains(&p) {
            refuse!("Dropout", "p must be in [0, 1], but is {p}");
        }
        Dropout { p, mode: Mode::default() }
    }

    /// Returns the current probability: 0 in evaluation.
    pub(super) fn now(&self) -> f64 {
        if self.mode.training() { self.p } else { 0.0 }
    }
}

impl Module for Dropout {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        record_output(self, x.dropout(self.p, self.mode.training()))
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.mode(&self.mode);
    }
}
