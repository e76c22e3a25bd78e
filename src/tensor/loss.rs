//! Losses: how far from the target. `Reduction` says what becomes of the elements. Those of classes are in
//! `ops/cross_entropy`.

use smallvec::SmallVec;

use super::elementwise::binary_as;
use super::{Const, Tensor, check_operands};
use crate::core::shape::{Shape, refuse};
use crate::graph::{Accepts, Binary};

/// What becomes of the losses of the elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// They stay.
    None,
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Their sum divided by the size of dim 0 ([`Tensor::kl_div`]).
    BatchMean,
}

impl Tensor {
    /// Mean of squared differences.
    #[track_caller]
    pub fn mse_loss(&self, target: &Tensor, reduction: Reduction) -> Tensor {
        self.difference("mse_loss", target).square().reduced(reduction)
    }

    /// Mean of absolute differences.
    #[track_caller]
    pub fn l1_loss(&self, target: &Tensor, reduction: Reduction) -> Tensor {
        self.difference("l1_loss", target).abs().reduced(reduction)
    }

    /// `d²/(2 beta)` for differences below `beta`, else `|d| - beta/2` (Girshick, 2015); a beta of 0 is
    /// [`l1_loss`](Tensor::l1_loss).
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

    /// `d²/2` for differences below `delta`, else `delta (|d| - delta/2)` (Huber, 1964).
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

    /// Cross-entropy of a yes or no: `-w (p t log σ(x) + (1 - t) log(1 - σ(x)))` of logits `x`, targets `t` in [0, 1],
    /// weights `w` and `pos_weight` `p`. Without overflow for any logit.
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
            refuse!(op, "{} and the target {} differ", self.spec(), target.spec());
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

    /// Divergence of the target from log-probabilities: `t (log t - self)`, with `0 log 0 = 0`; with `log_target` the
    /// target is logarithms too (Kullback and Leibler, 1951).
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

    /// `self - target`, broadcast; a mismatch names the loss.
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
