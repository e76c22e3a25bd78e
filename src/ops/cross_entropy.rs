//! Softmax cross-entropy of logits and class indices: one pass computes the loss and the log-sum-exp of each row, and
//! another pass computes the gradient of the logits. The softmax is not materialized.

use super::rows::Rows;
use super::{Buffer, Fused, Io, Launch, Word};
use crate::core::dtype::DType;
use crate::core::limits::Limits;
use crate::core::shape::{ShapeError, Spec, refuse};
use crate::graph::{Accepts, Move};
use crate::tensor::loss::Reduction;
use crate::tensor::{Const, Tensor, check_operands, same_device};

/// The options of [`Tensor::cross_entropy_with`] and [`Tensor::nll_loss`].
#[derive(Clone, Debug)]
pub struct CrossEntropyOptions {
    /// One weight per class.
    pub weight: Option<Tensor>,
    /// Targets of this class are ignored.
    pub ignore_index: i64,
    /// The fraction of the target probability that is distributed evenly over all classes (Szegedy et al., 2015).
    pub label_smoothing: f64,
    /// The reduction of the samples' losses. The mean is weighted, over the samples that are not ignored.
    pub reduction: Reduction,
}

impl Default for CrossEntropyOptions {
    /// PyTorch's defaults: no weights, `ignore_index` -100, no smoothing, the mean.
    fn default() -> CrossEntropyOptions {
        CrossEntropyOptions {
            weight: None,
            ignore_index: -100,
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
        }
    }
}

impl Tensor {
    /// Cross-entropy loss: the mean over the batch of `-log softmax(logits)[target]`. `self` is `[batch, classes]`, or
    /// `[classes]` for a single sample; `target` holds one class index (i32 or u32) per sample. It is numerically
    /// stable for logits of any size.
    ///
    /// If an out-of-range class is in data computed on the device, the loss is NaN, and the next read returns
    /// [`Error::Index`](crate::Error::Index). Source: PyTorch's
    /// [`cross_entropy`](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html).
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let dev = Device::cpu();
    /// let logits = Tensor::zeros([2, 10], &dev);
    /// let loss = logits.cross_entropy(&Tensor::new([3, 7], [2], &dev));
    /// assert!((loss.item().unwrap() - 10f64.ln()).abs() < 1e-12);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the logits are not f32 or not `[batch, classes]`, if `target` does not have one i32 or u32 class per
    /// sample, if an uploaded class is out of range, or if the tensors are on different devices.
    #[track_caller]
    pub fn cross_entropy(&self, target: &Tensor) -> Tensor {
        let (logits, target) = if self.rank() == 1 && target.rank() == 0 {
            (self.unsqueeze(0), target.unsqueeze(0))
        } else {
            (self.clone(), target.clone())
        };
        if logits.rank() == 2 {
            target.check_indices("cross_entropy", logits.size(1));
        }
        Tensor::fused(CrossEntropy, &[&logits, &target])[0].mean()
    }

    /// Negative log-likelihood loss: minus the log-probability of the target class. `self` holds log-probabilities
    /// `[batch, classes, ..]` or `[classes]`, and `target` class indices `[batch, ..]`.
    ///
    /// # Panics
    ///
    /// Panics if `self` is not f32 or is a scalar, if `target` does not have one i32 or u32 class per sample, if the
    /// class weights are not `[classes]`, if an uploaded class is out of range, or if the tensors are on different
    /// devices.
    #[track_caller]
    pub fn nll_loss(&self, target: &Tensor, classes: &CrossEntropyOptions) -> Tensor {
        self.class_loss("nll_loss", target, classes, 0.0)
    }

    /// [`cross_entropy`](Tensor::cross_entropy) for logits `[batch, classes, ..]` with PyTorch's options: class
    /// weights, an ignored class, label smoothing, and targets that are probabilities (an f32 tensor with the shape of
    /// the logits).
    ///
    /// # Panics
    ///
    /// Panics if the logits are not f32 or are a scalar, if `label_smoothing` is not in [0, 1], if `target` or the
    /// class weights do not match the logits, if an uploaded class is out of range, or if the tensors are on different
    /// devices.
    #[track_caller]
    pub fn cross_entropy_with(&self, target: &Tensor, classes: &CrossEntropyOptions) -> Tensor {
        let op = "cross_entropy_with";
        check_operands(op, Accepts::Float, &[self]);
        let smoothing = classes.label_smoothing;
        if !(0.0..=1.0).contains(&smoothing) {
            refuse!(op, "label_smoothing must be in [0, 1]: {smoothing}");
        }
        if self.rank() == 0 {
            refuse!(op, "expects logits of rank >= 1, got {}", self.spec());
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
    fn soft_cross_entropy(
        &self,
        op: &str,
        target: &Tensor,
        classes: &CrossEntropyOptions,
        dim: i64,
    ) -> Tensor {
        same_device(op, &[self, target]);
        if target.spec() != self.spec() {
            refuse!(op, "the probabilities {} do not fit the logits {}", target.spec(), self.spec());
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

    /// Reshapes the class weights so that they broadcast along `dim`.
    #[track_caller]
    fn class_weight(&self, op: &str, classes: &CrossEntropyOptions, dim: i64) -> Option<Tensor> {
        let weight = classes.weight.as_ref()?;
        check_operands(op, Accepts::Float, &[self, weight]);
        if weight.shape()[..] != [self.size(dim)] {
            refuse!(op, "expects one weight per class, got {} for {}", weight.spec(), self.spec());
        }
        let shape = (0..self.rank() as i64).map(|d| if d == dim { self.size(dim) } else { 1 }).collect();
        Some(weight.moved(Move::Reshape(shape)))
    }

    /// Computes the loss from log-probabilities: the loss of the target class, smoothed with the mean loss over all
    /// classes.
    #[track_caller]
    fn class_loss(&self, op: &str, target: &Tensor, classes: &CrossEntropyOptions, smoothing: f64) -> Tensor {
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

    /// Checks the target. Returns the target classes, with class 0 for ignored samples, and the mask of ignored
    /// samples.
    #[track_caller]
    fn class_targets(&self, op: &str, target: &Tensor, classes: &CrossEntropyOptions) -> (Tensor, Tensor) {
        check_operands(op, Accepts::Float, &[self]);
        same_device(op, &[self, target]);
        let dim = if self.rank() == 1 { 0 } else { 1 };
        let fits = self.rank() > 0
            && matches!(target.dtype(), DType::I32 | DType::U32)
            && *target.shape() == self.shape().without(&[dim]);
        if !fits {
            refuse!(op, "expects one class index per sample, got {} for {}", target.spec(), self.spec());
        }
        let target = target.to_dtype(DType::I32);
        let ignored = target.eq(classes.ignore_index as f64);
        target.check_indices_but(op, self.shape()[dim], classes.ignore_index);
        (ignored.where_(Const(0.0), &target), ignored)
    }

    /// Reduces the losses of the samples that are not ignored. The mean is weighted by `counts`.
    #[track_caller]
    fn counted(&self, ignored: &Tensor, counts: Tensor, reduction: Reduction) -> Tensor {
        let losses = ignored.where_(Const(0.0), self);
        match reduction {
            Reduction::Mean => losses.sum() / ignored.where_(Const(0.0), counts).sum(),
            reduction => losses.reduced(reduction),
        }
    }
}

/// `(logits [rows, classes], target [rows]) -> (loss [rows], log-sum-exp [rows])`
#[derive(Debug)]
pub(crate) struct CrossEntropy;

/// `(logits, target, log-sum-exp, gradient of the loss [rows]) -> gradient of the logits`
#[derive(Debug)]
pub(crate) struct CrossEntropyBackward;

/// Returns a one-hot tensor `[rows, classes]`: 1 at the target, 0 elsewhere.
fn one_hot(logits: &Tensor, target: &Tensor) -> Tensor {
    let class = Tensor::iota(logits.shape().clone(), 1, logits.device()).to_dtype(target.dtype());
    class.eq(target.unsqueeze(1)).where_(Const(1.0), Const(0.0))
}

impl Fused for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let [logits, target] = inputs else { unreachable!("cross entropy has two inputs") };
        let fits = logits.dtype == DType::F32
            && logits.shape.rank() == 2
            && matches!(target.dtype, DType::I32 | DType::U32)
            && target.shape[..] == logits.shape[..1];
        if !fits || logits.shape[1] == 0 {
            return Err(ShapeError(format!(
                "expects logits f32[batch, classes] and one i32 or u32 class per row, got {logits} and {target}"
            )));
        }
        let row = Spec { shape: target.shape.clone(), dtype: DType::F32 };
        Ok(vec![row.clone(), row])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let [logits, target] = inputs else { unreachable!("cross entropy has two inputs") };
        let lse = logits.logsumexp(1, false);
        let picked = logits.gather(1, &target.unsqueeze(1)).squeeze(1);
        vec![&lse - picked, lse]
    }

    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        let [Some(grad), None] = grads else { return None };
        let [logits, target] = io.inputs else { unreachable!("cross entropy has two inputs") };
        let gradient = Tensor::fused(CrossEntropyBackward, &[logits, target, &io.outputs[1], grad]);
        Some(vec![Some(gradient[0].clone()), None])
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let kernel = include_str!("../../shaders/cross_entropy.wgsl");
        let [logits, target] = [0, 1].map(Buffer::Input);
        let [loss, lse] = [0, 1].map(Buffer::Output);
        launch(kernel, &io[0], limits, [logits, target, loss, lse, Buffer::Fault])
    }
}

impl Fused for CrossEntropyBackward {
    fn name(&self) -> &'static str {
        "cross_entropy_backward"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        Ok(vec![inputs[0].clone()])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let [logits, target, lse, grad] = inputs else { unreachable!("its gradient has four inputs") };
        let softmax = (logits - lse.unsqueeze(1)).exp();
        vec![(softmax - one_hot(logits, target)) * grad.unsqueeze(1)]
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let kernel = include_str!("../../shaders/cross_entropy_backward.wgsl");
        let [logits, target, lse, grad] = [0, 1, 2, 3].map(Buffer::Input);
        launch(kernel, &io[0], limits, [logits, target, lse, grad, Buffer::Output(0)])
    }
}

/// Returns a launch over the rows of the logits.
fn launch(kernel: &'static str, logits: &Spec, limits: &Limits, buffers: [Buffer; 5]) -> Option<Vec<Launch>> {
    let rows = Rows::new(logits.shape[0], logits.shape[1]);
    let launch = rows.launch(kernel, 1, limits)?;
    let [count, length, _] = rows.words();
    Some(vec![launch.buffers(buffers).uniforms([count, length, Word::Site])])
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    use super::{Draw, Sample, Tolerance};

    let shapes = [(1, 1), (1, 2), (3, 1), (5, 7), (2, 4), (9, 20), (8, 64), (9, 65), (130, 13), (3, 516)];
    // The tolerance for e^(x - lse), with both x and lse up to 8: a few rounding errors of 5e-7.
    let tolerance = Tolerance { atol: 2e-6, rtol: 2e-6 };
    let both = |(rows, classes): (usize, usize)| {
        let row = |range| Draw::Floats([rows].into(), range);
        let mut inputs =
            vec![Draw::Floats([rows, classes].into(), -4.0..4.0), Draw::Below([rows].into(), classes)];
        let forward = Sample { op: std::sync::Arc::new(CrossEntropy), inputs: inputs.clone(), tolerance };
        inputs.extend([row(4.0..6.0), row(-1.0..1.0)]);
        [forward, Sample { op: std::sync::Arc::new(CrossEntropyBackward), inputs, tolerance }]
    };
    shapes.into_iter().flat_map(both).collect()
}
