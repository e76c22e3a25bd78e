//! Loss functions. `Reduction` says how the elements are reduced. Losses of class indices are in `ops/cross_entropy`.

use smallvec::SmallVec;

use super::elementwise::binary_as;
use super::{Const, Tensor, check_operands};
use crate::core::shape::{Shape, refuse};
use crate::graph::{Accepts, Binary};

/// How a loss reduces its elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// No reduction.
    None,
    /// The mean of the elements.
    #[default]
    Mean,
    /// The sum of the elements.
    Sum,
    /// The sum divided by the size of dim 0 ([`Tensor::kl_div`]).
    BatchMean,
}

impl Tensor {
    /// Squared differences, reduced.
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if the shapes do not broadcast, or if the tensors are on different devices.
    #[track_caller]
    pub fn mse_loss(&self, target: &Tensor, reduction: Reduction) -> Tensor {
        self.difference("mse_loss", target).square().reduced(reduction)
    }

    /// Absolute differences, reduced.
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if the shapes do not broadcast, or if the tensors are on different devices.
    #[track_caller]
    pub fn l1_loss(&self, target: &Tensor, reduction: Reduction) -> Tensor {
        self.difference("l1_loss", target).abs().reduced(reduction)
    }

    /// `d²/(2 beta)` where `|d| < beta`, else `|d| - beta/2` (Girshick, 2015), reduced. With `beta` 0 it is
    /// [`l1_loss`](Tensor::l1_loss).
    ///
    /// # Panics
    ///
    /// Panics if `beta` is negative or NaN, if an operand is not f32, if the shapes do not broadcast, or if the tensors
    /// are on different devices.
    #[track_caller]
    pub fn smooth_l1_loss(&self, target: &Tensor, beta: f64, reduction: Reduction) -> Tensor {
        if beta.is_nan() || beta < 0.0 {
            refuse!("smooth_l1_loss", "beta must not be negative: {beta}");
        }
        let difference = self.difference("smooth_l1_loss", target);
        let size = difference.abs();
        if beta == 0.0 {
            return size.reduced(reduction);
        }
        let square = difference.square() * (0.5 / beta);
        size.lt(beta).where_(square, &size - 0.5 * beta).reduced(reduction)
    }

    /// `d²/2` where `|d| <= delta`, else `delta (|d| - delta/2)` (Huber, 1964), reduced.
    ///
    /// # Panics
    ///
    /// Panics if `delta` is not positive, if an operand is not f32, if the shapes do not broadcast, or if the tensors
    /// are on different devices.
    #[track_caller]
    pub fn huber_loss(&self, target: &Tensor, delta: f64, reduction: Reduction) -> Tensor {
        if delta.is_nan() || delta <= 0.0 {
            refuse!("huber_loss", "delta must be positive: {delta}");
        }
        let difference = self.difference("huber_loss", target);
        let size = difference.abs();
        let line = (&size - 0.5 * delta) * delta;
        size.le(delta).where_(difference.square() * Const(0.5), line).reduced(reduction)
    }

    /// Binary cross-entropy with logits: `-w (p t log σ(x) + (1 - t) log(1 - σ(x)))` for logits `x`, targets `t` in [0,
    /// 1], `weight` `w` and `pos_weight` `p`. It does not overflow for any logit.
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if `target` has another shape, if a weight does not broadcast to the logits, or
    /// if the tensors are on different devices.
    #[track_caller]
    pub fn binary_cross_entropy_with_logits(
        &self,
        target: &Tensor,
        weight: Option<&Tensor>,
        pos_weight: Option<&Tensor>,
        reduction: Reduction,
    ) -> Tensor {
        let op = "binary_cross_entropy_with_logits";
        let operands: SmallVec<[&Tensor; 4]> =
            [self, target].into_iter().chain(weight).chain(pos_weight).collect();
        check_operands(op, Accepts::Float, &operands);
        if self.spec() != target.spec() {
            refuse!(
                op,
                "the logits {} and the target {} differ in shape or dtype",
                self.spec(),
                target.spec()
            );
        }
        if let Some(wrong) = operands.iter().find(|x| !Shape::broadcasts(x.shape(), self.shape())) {
            refuse!(op, "the weight {} does not broadcast to {}", wrong.spec(), self.spec());
        }
        let (yes, no) = (self.logsigmoid(), (-self).logsigmoid());
        let positive = match pos_weight {
            Some(weight) => target * weight * yes,
            None => target * yes,
        };
        let mut loss = -(positive + (Const(1.0) - target) * no);
        if let Some(weight) = weight {
            loss = loss * weight;
        }
        loss.reduced(reduction)
    }

    /// Kullback-Leibler divergence of log-probabilities from a target: `t (log t - self)`, with `0 log 0 = 0`. With
    /// `log_target` the target holds log-probabilities too (Kullback and Leibler, 1951).
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if the shapes do not broadcast, or if the tensors are on different devices.
    #[track_caller]
    pub fn kl_div(&self, target: &Tensor, log_target: bool, reduction: Reduction) -> Tensor {
        check_operands("kl_div", Accepts::Float, &[self, target]);
        let loss = if log_target {
            -(target.exp() * self.difference("kl_div", target))
        } else {
            let some = target.gt(Const(0.0));
            let entropy = some.where_(target * some.where_(target, Const(1.0)).log(), Const(0.0));
            entropy - binary_as("kl_div", Binary::Mul, target.into(), self.into())
        };
        loss.reduced(reduction)
    }

    /// `self - target`, broadcast. `op` is the loss that the panic messages show.
    #[track_caller]
    fn difference(&self, op: &str, target: &Tensor) -> Tensor {
        check_operands(op, Accepts::Float, &[self, target]);
        binary_as(op, Binary::Sub, self.into(), target.into())
    }

    #[track_caller]
    pub(crate) fn reduced(&self, reduction: Reduction) -> Tensor {
        match reduction {
            Reduction::None => self.clone(),
            Reduction::Mean => self.mean(),
            Reduction::Sum => self.sum(),
            Reduction::BatchMean => {
                let batch = if self.rank() == 0 { 1 } else { self.shape()[0] };
                self.sum() * Const(1.0 / batch as f64)
            }
        }
    }
}
