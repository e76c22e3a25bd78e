//! Softmax and log-softmax along a dim: one forward pass over each row, and one backward pass, which uses the result.

use super::rows::Rows;
use super::{Buffer, Fused, Io, Launch};
use crate::core::limits::Limits;
use crate::core::shape::{ShapeError, Spec};
use crate::graph::Accepts;
use crate::tensor::{Tensor, check_operands};

impl Tensor {
    /// `e^x / Σ e^x` along `dim` (PyTorch's
    /// [`softmax`](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.softmax.html)). The result for an
    /// element of minus infinity is 0. If all elements are minus infinity, all results are NaN.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let x = Tensor::new([1e4, 1e4, f64::NEG_INFINITY], [3], &Device::cpu());
    /// assert_eq!(x.softmax(0).to_vec::<f32>().unwrap(), [0.5, 0.5, 0.0]);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32, or if `dim` is out of range.
    #[track_caller]
    pub fn softmax(&self, dim: i64) -> Tensor {
        check_operands("softmax", Accepts::Float, &[self]);
        let dim = self.shape().dim("softmax", dim);
        Tensor::fused(FusedSoftmax { dim, log: false }, &[self]).remove(0)
    }

    /// The logarithm of [`softmax`](Tensor::softmax), computed as `x - log Σ e^x` without loss of precision.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32, or if `dim` is out of range.
    #[track_caller]
    pub fn log_softmax(&self, dim: i64) -> Tensor {
        check_operands("log_softmax", Accepts::Float, &[self]);
        let dim = self.shape().dim("log_softmax", dim);
        Tensor::fused(FusedSoftmax { dim, log: true }, &[self]).remove(0)
    }
}

/// `x -> softmax of x`, or `x -> log-softmax of x`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FusedSoftmax {
    dim: usize,
    log: bool,
}

/// `(result, gradient of the result) -> gradient of x`
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftmaxBackward(FusedSoftmax);

impl FusedSoftmax {
    fn launch(&self, kernel: &'static str, passes: usize, x: &Spec, limits: &Limits) -> Option<Launch> {
        let rows = Rows::along(&x.shape, self.dim);
        let launch = rows.launch(kernel, passes, limits)?;
        Some(launch.constant("LOG", self.log.into()).uniforms(rows.words()))
    }
}

impl Fused for FusedSoftmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn attributes(&self) -> Vec<u64> {
        vec![self.dim as u64, self.log.into()]
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        Ok(vec![inputs[0].clone()])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let (x, dim) = (&inputs[0], self.dim as i64);
        if x.numel() == 0 {
            return vec![x * 1.0]; // an empty tensor has no maximum
        }
        let shifted = x - x.amax(dim, true).detach();
        let exp = shifted.exp();
        let sum = exp.sum_dim(dim, true);
        vec![if self.log { shifted - sum.log() } else { exp / sum }]
    }

    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        let grad = grads[0].as_ref()?;
        Some(vec![Some(Tensor::fused(SoftmaxBackward(*self), &[&io.outputs[0], grad]).remove(0))])
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let launch = self.launch(include_str!("../../shaders/softmax.wgsl"), 2, &io[0], limits)?;
        Some(vec![launch.buffers([Buffer::Input(0), Buffer::Output(0)])])
    }
}

impl Fused for SoftmaxBackward {
    fn name(&self) -> &'static str {
        if self.0.log { "log_softmax_backward" } else { "softmax_backward" }
    }

    fn attributes(&self) -> Vec<u64> {
        self.0.attributes()
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        Ok(vec![inputs[0].clone()])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let [y, grad] = inputs else { unreachable!("its gradient has two inputs") };
        let sum = |x: &Tensor| x.sum_dim(self.0.dim as i64, true);
        vec![if self.0.log { grad - y.exp() * sum(grad) } else { y * (grad - sum(&(grad * y))) }]
    }

    fn launch(&self, io: &[Spec], limits: &Limits) -> Option<Vec<Launch>> {
        let launch = self.0.launch(include_str!("../../shaders/softmax_backward.wgsl"), 2, &io[0], limits)?;
        Some(vec![launch.buffers([Buffer::Input(0), Buffer::Input(1), Buffer::Output(0)])])
    }
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    use super::{Draw, Sample, Tolerance};

    let shapes: [(&[usize], usize); 12] = [
        (&[], 0),
        (&[1, 1], 1),
        (&[3, 1], 1),
        (&[1, 2], 1),
        (&[5, 7], 0),
        (&[9, 65], 1),
        (&[130, 17], 1),
        (&[3, 33, 5], 1),
        (&[2, 19, 37], 1),
        (&[3, 4], 1),
        (&[7, 5, 68], 2),
        (&[5, 260], 1),
    ];
    // The tolerance for exponentials and logarithms of numbers up to 8, and sums with up to 65 terms: several rounding
    // errors of 5e-7.
    let tolerance = Tolerance { atol: 5e-6, rtol: 2e-6 };
    let both = |(shape, dim): (&[usize], usize), log| {
        let op = FusedSoftmax { dim, log };
        let x = Draw::Floats(shape.into(), -4.0..4.0);
        // Values in the range of results of softmax or log-softmax.
        let y = Draw::Floats(shape.into(), if log { -4.0..0.0 } else { 0.0..1.0 });
        let grad = Draw::Floats(shape.into(), -1.0..1.0);
        [
            Sample { op: std::sync::Arc::new(op), inputs: vec![x], tolerance },
            Sample { op: std::sync::Arc::new(SoftmaxBackward(op)), inputs: vec![y, grad], tolerance },
        ]
    };
    let samples = shapes.into_iter().flat_map(|shape| [both(shape, false), both(shape, true)]);
    samples.flatten().collect()
}
