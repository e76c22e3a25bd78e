//! Softmax cross-entropy of logits and class indices: the loss of each row and its log-sum-exp in one pass, and the
//! gradient of the logits in another. No softmax is ever in memory.

use super::rows::{self, Rows};
use super::{Buffer, Fused, Io, Launch, Word};
use crate::core::dtype::DType;
use crate::core::limits::Limits;
use crate::core::shape::{Mismatch, Spec};
use crate::tensor::{Const, Tensor};

impl Tensor {
    /// The mean over the batch of `-log softmax(logits)[target]`: `self` is `[batch, classes]`, or `[classes]` for a
    /// single sample; `target` holds a class (i32 or u32) for each row. Stable for logits of any size.
    ///
    /// A class out of range is refused here where the host knows the target, else it gives NaN and an error at the
    /// next read. Source: PyTorch's [`cross_entropy`](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html).
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let dev = Device::cpu();
    /// let logits = Tensor::zeros([2, 10], &dev);
    /// let loss = logits.cross_entropy(&Tensor::new([3, 7], [2], &dev));
    /// assert!((loss.item().unwrap() - 10f64.ln()).abs() < 1e-12);
    /// ```
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
}

/// `(logits [rows, classes], target [rows]) -> (loss [rows], log-sum-exp [rows])`
#[derive(Debug)]
pub(crate) struct CrossEntropy;

/// `(logits, target, log-sum-exp, gradient of the loss [rows]) -> gradient of the logits`
#[derive(Debug)]
pub(crate) struct CrossEntropyBackward;

/// One at the target, zero elsewhere: `[rows, classes]`.
fn one_hot(logits: &Tensor, target: &Tensor) -> Tensor {
    let class = Tensor::iota(logits.shape().clone(), 1, logits.device()).to_dtype(target.dtype());
    class.eq(target.unsqueeze(1)).where_(Const(1.0), Const(0.0))
}

impl Fused for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, Mismatch> {
        let [logits, target] = inputs else { unreachable!("built with two inputs") };
        let fits = logits.dtype == DType::F32
            && logits.shape.rank() == 2
            && matches!(target.dtype, DType::I32 | DType::U32)
            && target.shape[..] == logits.shape[..1];
        if !fits || logits.shape[1] == 0 {
            return Err(Mismatch(format!(
                "wants logits f32[batch, classes] and one i32 or u32 class for each row, not {logits} and {target}"
            )));
        }
        let row = Spec { shape: target.shape.clone(), dtype: DType::F32 };
        Ok(vec![row.clone(), row])
    }

    fn reference(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let [logits, target] = inputs else { unreachable!("built with two inputs") };
        let lse = logits.logsumexp(1, false);
        let picked = logits.gather(1, &target.unsqueeze(1)).squeeze(1);
        vec![&lse - picked, lse]
    }

    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        let [Some(grad), None] = grads else { return None };
        let [logits, target] = io.inputs else { unreachable!("built with two inputs") };
        let gradient = Tensor::fused(CrossEntropyBackward, &[logits, target, &io.outputs[1], grad]);
        Some(vec![Some(gradient[0].clone()), None])
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let source = rows::source!("cross_entropy.wgsl");
        let [logits, target] = [0, 1].map(Buffer::Input);
        let [loss, lse] = [0, 1].map(Buffer::Output);
        launch(source, &io[0], limits, [logits, target, loss, lse, Buffer::Fault])
    }
}

impl Fused for CrossEntropyBackward {
    fn name(&self) -> &'static str {
        "cross_entropy_backward"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, Mismatch> {
        Ok(vec![inputs[0].clone()])
    }

    fn reference(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let [logits, target, lse, grad] = inputs else { unreachable!("built with four inputs") };
        let softmax = (logits - lse.unsqueeze(1)).exp();
        vec![(softmax - one_hot(logits, target)) * grad.unsqueeze(1)]
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let source = rows::source!("cross_entropy_backward.wgsl");
        let [logits, target, lse, grad] = [0, 1, 2, 3].map(Buffer::Input);
        launch(source, &io[0], limits, [logits, target, lse, grad, Buffer::Output(0)])
    }
}

/// A launch over the rows of logits.
fn launch(source: rows::Source, logits: &Spec, limits: &Limits, buffers: [Buffer; 5]) -> Option<Vec<Launch>> {
    let rows = Rows::new(logits.shape[0], logits.shape[1]);
    let launch = rows.launch(source, 1, limits)?;
    let [count, length, _] = rows.words();
    Some(vec![launch.buffers(buffers).uniforms([count, length, Word::Site])])
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    use super::{Draw, Sample, Tolerance};

    let shapes = [(1, 1), (1, 2), (3, 1), (5, 7), (2, 4), (9, 20), (8, 64), (9, 65), (130, 13), (3, 516)];
    // e^(x - lse) with both to 8: a few roundings of 5e-7.
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
