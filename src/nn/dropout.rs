//! Dropout.

use super::summary::record_output;
use super::{Mode, Module, Visitor};
use crate::core::shape::refuse;
use crate::tensor::Tensor;

/// In training each element is 0 with probability `p`, and divided by `1 - p` otherwise ([`Tensor::dropout`]); else nothing
/// happens.
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
    /// That drops each element with this probability.
    #[track_caller]
    pub fn new(p: f64) -> Dropout {
        if !(0.0..=1.0).contains(&p) {
            refuse!("Dropout", "p is no probability: {p}");
        }
        Dropout { p, mode: Mode::default() }
    }

    /// The probability with which it drops now: 0 if nothing is being trained.
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
