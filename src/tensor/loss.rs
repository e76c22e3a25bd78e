//! Losses: how far from the target. `Reduction` says what becomes of the elements.

use smallvec::SmallVec;

use super::elementwise::binary_as;
use super::{Const, Tensor, check_operands, same_device};
use crate::core::dtype::DType;
use crate::core::shape::{Shape, refuse};
use crate::graph::{Accepts, Binary, Move};
use crate::ops::cross_entropy::CrossEntropy;

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

/// What [`Tensor::cross_entropy_with`] and [`Tensor::nll_loss`] may be told besides.
#[derive(Clone, Debug)]
pub struct Classes {
    /// A weight for each class.
    pub weight: Option<Tensor>,
    /// Targets of this class do not count.
    pub ignore_index: i64,
    /// The share of the target that is spread over all classes (Szegedy et al., 2015).
    pub label_smoothing: f64,
    /// What becomes of the losses of the samples. The mean is weighted, over the samples that count.
    pub reduction: Reduction,
}

impl Default for Classes {
    /// PyTorch's defaults: no weights, ignoring -100, no smoothing, the mean.
    fn default() -> Classes {
        Classes { weight: None, ignore_index: -100, label_smoothing: 0.0, reduction: Reduction::Mean }
    }
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

    /// Minus the log-probability of the target class: `self` is `[batch, classes, ..]` of log-probabilities (or
    /// `[classes]`), `target` `[batch, ..]` of classes.
    #[track_caller]
    pub fn nll_loss(&self, target: &Tensor, classes: &Classes) -> Tensor {
        self.class_loss("nll_loss", target, classes, 0.0)
    }

    /// [`cross_entropy`](Tensor::cross_entropy) of logits `[batch, classes, ..]` with everything that PyTorch's takes:
    /// class weights, a class that does not count, label smoothing, and targets that are probabilities (a float tensor of
    /// the logits' shape).
    #[track_caller]
    pub fn cross_entropy_with(&self, target: &Tensor, classes: &Classes) -> Tensor {
        let op = "cross_entropy_with";
        check_operands(op, Accepts::Float, &[self]);
        let smoothing = classes.label_smoothing;
        if !(0.0..=1.0).contains(&smoothing) {
            refuse!(op, "label_smoothing must be in [0, 1]: {smoothing}");
        }
        if self.rank() == 0 {
            refuse!(op, "{} has no classes", self.spec());
        }
        let dim = if self.rank() == 1 { 0 } else { 1 };
        if target.dtype().is_float() {
            return self.soft_cross_entropy(op, target, classes, dim);
        }
        if self.rank() == 2 && classes.weight.is_none() && smoothing == 0.0 {
            let (target, ignored) = self.class_targets(op, target, classes);
            let losses = Tensor::fused(CrossEntropy, &[self, &target]).remove(0);
            return losses.counted(&ignored, Tensor::ones(ignored.shape(), self.device()), classes.reduction);
        }
        self.log_softmax(dim).class_loss(op, target, classes, smoothing)
    }

    #[track_caller]
    fn soft_cross_entropy(&self, op: &str, target: &Tensor, classes: &Classes, dim: i64) -> Tensor {
        same_device(op, &[self, target]);
        if target.spec() != self.spec() {
            refuse!(op, "probabilities {} do not fit the logits {}", target.spec(), self.spec());
        }
        let count = self.size(dim);
        let smoothing = classes.label_smoothing;
        let target = target * (1.0 - smoothing) + smoothing / count as f64;
        let mut losses = target * self.log_softmax(dim);
        if let Some(weight) = self.class_weight(op, classes, dim) {
            losses = losses * weight;
        }
        let losses = -losses.sum_dim(dim, false);
        match classes.reduction {
            Reduction::Mean => {
                let batch = self.numel() as f64 / count as f64;
                losses.sum() * Const(1.0 / batch)
            }
            reduction => losses.reduced(reduction),
        }
    }

    /// The class weights so that they broadcast along `dim`.
    #[track_caller]
    fn class_weight(&self, op: &str, classes: &Classes, dim: i64) -> Option<Tensor> {
        let weight = classes.weight.as_ref()?;
        check_operands(op, Accepts::Float, &[self, weight]);
        if weight.shape()[..] != [self.size(dim)] {
            refuse!(op, "{} is not a weight for each class of {}", weight.spec(), self.spec());
        }
        let shape = (0..self.rank() as i64).map(|d| if d == dim { self.size(dim) } else { 1 }).collect();
        Some(weight.moved(Move::Reshape(shape)))
    }

    /// Of log-probabilities: the target class's, a share of it spread over all.
    #[track_caller]
    fn class_loss(&self, op: &str, target: &Tensor, classes: &Classes, smoothing: f64) -> Tensor {
        let (target, ignored) = self.class_targets(op, target, classes);
        let dim = if self.rank() == 1 { 0 } else { 1 };
        let index = target.unsqueeze(dim as i64);
        let weight = self.class_weight(op, classes, dim as i64);
        let weighted = match &weight {
            Some(weight) => self * weight,
            None => self.clone(),
        };
        let counts = match &weight {
            Some(weight) => weight.broadcast_to(self.shape()).gather(dim as i64, &index).squeeze(dim as i64),
            None => Tensor::ones(ignored.shape(), self.device()),
        };
        let mut losses = -weighted.gather(dim as i64, &index).squeeze(dim as i64);
        if smoothing != 0.0 {
            let spread = -weighted.sum_dim(dim, false) * (smoothing / self.shape()[dim] as f64);
            losses = losses * (1.0 - smoothing) + spread;
        }
        losses.counted(&ignored, counts, classes.reduction)
    }

    /// The target classes, checked, with class 0 for those that do not count; and which do not.
    #[track_caller]
    fn class_targets(&self, op: &str, target: &Tensor, classes: &Classes) -> (Tensor, Tensor) {
        check_operands(op, Accepts::Float, &[self]);
        same_device(op, &[self, target]);
        let dim = if self.rank() == 1 { 0 } else { 1 };
        let fits = self.rank() > 0
            && matches!(target.dtype(), DType::I32 | DType::U32)
            && *target.shape() == self.shape().without(&[dim]);
        if !fits {
            refuse!(op, "{} does not hold a class for each sample of {}", target.spec(), self.spec());
        }
        let target = target.to_dtype(DType::I32);
        let ignored = target.eq(classes.ignore_index as f64);
        target.check_indices_but(op, self.shape()[dim], classes.ignore_index);
        (ignored.where_(Const(0.0), &target), ignored)
    }

    /// Losses of which some do not count, reduced; the mean is over the others, each as often as it counts.
    #[track_caller]
    fn counted(&self, ignored: &Tensor, counts: Tensor, reduction: Reduction) -> Tensor {
        let losses = ignored.where_(Const(0.0), self);
        match reduction {
            Reduction::Mean => losses.sum() / ignored.where_(Const(0.0), counts).sum(),
            reduction => losses.reduced(reduction),
        }
    }

    /// `self - target`, broadcast; a mismatch names the loss.
    #[track_caller]
    fn difference(&self, op: &str, target: &Tensor) -> Tensor {
        check_operands(op, Accepts::Float, &[self, target]);
        binary_as(op, Binary::Sub, self.into(), target.into())
    }

    #[track_caller]
    fn reduced(&self, reduction: Reduction) -> Tensor {
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
