//! Batch normalization and dropout. Layer norm and its relatives have kernels: `ops/layer_norm`.

use super::{Const, Tensor, check_operands};
use crate::core::shape::{Shape, refuse};
use crate::graph::{Accepts, Move};

/// The result of batch norm in training: the output and the new running statistics.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// The normalized batch.
    pub output: Tensor,
    /// The new running mean.
    pub running_mean: Tensor,
    /// The new running variance. It is updated with the unbiased variance of the batch.
    pub running_var: Tensor,
}

impl Tensor {
    /// Batch norm with given statistics, as in evaluation: `(x - mean) / √(var + eps) * weight + bias` for each channel
    /// (dim 1).
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if the tensor has fewer than two dims, if a parameter is not `[channels]`, or
    /// if the tensors are on different devices.
    #[track_caller]
    pub fn batch_norm(
        &self,
        running_mean: &Tensor,
        running_var: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Tensor {
        self.check_channels("batch_norm", &[Some(running_mean), Some(running_var), weight, bias]);
        let channel = |x: &Tensor| self.per_channel(Some(x)).expect("the parameter is Some");
        let normal = (self - channel(running_mean)) * (channel(running_var) + eps).rsqrt();
        normal.scaled(self.per_channel(weight).as_ref(), self.per_channel(bias).as_ref())
    }

    /// Batch norm with the statistics of the batch, as in training (Ioffe and Szegedy, 2015). The new running
    /// statistics are `(1 - momentum) * running + momentum * batch`.
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if the tensor has fewer than two dims or fewer than two values per channel, if
    /// a parameter is not `[channels]`, or if the tensors are on different devices.
    #[track_caller]
    pub fn batch_norm_train(
        &self,
        running_mean: &Tensor,
        running_var: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        momentum: f64,
        eps: f64,
    ) -> BatchNorm {
        let op = "batch_norm_train";
        self.check_channels(op, &[Some(running_mean), Some(running_var), weight, bias]);
        let dims: Vec<usize> = (0..self.rank()).filter(|&dim| dim != 1).collect();
        let count: usize = dims.iter().map(|&dim| self.shape()[dim]).product();
        if count < 2 {
            refuse!(
                op,
                "expects more than one value per channel in training, got {count} in {}",
                self.spec()
            );
        }
        let mean = self.mean_dim(&dims[..], true);
        let centred = self - &mean;
        let var = centred.square().mean_dim(&dims[..], true);
        let normal = centred * (&var + eps).rsqrt();
        let moved = |running: &Tensor, batch: &Tensor| {
            let batch = batch.detach().moved(Move::Reshape(running.shape().clone()));
            running * (1.0 - momentum) + batch * momentum
        };
        BatchNorm {
            output: normal.scaled(self.per_channel(weight).as_ref(), self.per_channel(bias).as_ref()),
            running_mean: moved(running_mean, &mean),
            running_var: moved(running_var, &(var * Const(count as f64 / (count - 1) as f64))),
        }
    }

    /// Sets each element to 0 with probability `p` and divides the others by `1 - p` (Srivastava et al., 2014). The
    /// mask is drawn from this thread's generator, and the backward pass uses the same mask. Without `training` it
    /// returns the tensor unchanged.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32, or if `p` is not in [0, 1].
    #[track_caller]
    pub fn dropout(&self, p: f64, training: bool) -> Tensor {
        check_operands("dropout", Accepts::Float, &[self]);
        if !(0.0..=1.0).contains(&p) {
            refuse!("dropout", "p must be in [0, 1], but is {p}");
        }
        if !training || p == 0.0 {
            return self.unchanged();
        }
        if p == 1.0 {
            return self * Const(0.0);
        }
        let kept = Tensor::rand(self.shape(), self.device()).ge(p);
        kept.where_(self * (1.0 / (1.0 - p)), Const(0.0))
    }

    #[track_caller]
    pub(crate) fn scaled(self, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Tensor {
        let scaled = weight.map_or_else(|| self.clone(), |weight| &self * weight);
        bias.map_or_else(|| scaled.clone(), |bias| &scaled + bias)
    }

    #[track_caller]
    pub(crate) fn check_parameters(&self, op: &str, parameters: &[Option<&Tensor>]) {
        let operands: Vec<&Tensor> = parameters.iter().copied().flatten().chain([self]).collect();
        check_operands(op, Accepts::Float, &operands);
    }

    #[track_caller]
    pub(crate) fn check_channels(&self, op: &str, parameters: &[Option<&Tensor>]) {
        self.check_parameters(op, parameters);
        if self.rank() < 2 {
            refuse!(op, "expects rank >= 2 with channels in dim 1, got {}", self.spec());
        }
        if let Some(wrong) = parameters.iter().flatten().find(|x| x.shape()[..] != self.shape()[1..2]) {
            refuse!(
                op,
                "expects one number per channel (dim 1) of the input: {} does not fit {}",
                wrong.spec(),
                self.spec()
            );
        }
    }

    /// `[channels]`, reshaped to broadcast along dim 1.
    #[track_caller]
    pub(crate) fn per_channel(&self, parameter: Option<&Tensor>) -> Option<Tensor> {
        let shape: Shape = (0..self.rank()).map(|dim| if dim == 1 { self.shape()[1] } else { 1 }).collect();
        parameter.map(|x| x.moved(Move::Reshape(shape)))
    }
}
