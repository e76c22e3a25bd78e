//! Batch normalisation and dropout. Norms over rows have kernels: `ops/layer_norm`.

use super::{Const, Tensor, check_operands};
use crate::core::shape::{Shape, refuse};
use crate::graph::{Accepts, Move};

/// What training makes of a batch: the output and the running statistics to go on with.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// The normalised batch.
    pub output: Tensor,
    /// The running mean, moved towards the batch's.
    pub running_mean: Tensor,
    /// The running variance, moved towards the batch's (the unbiased one).
    pub running_var: Tensor,
}

impl Tensor {
    /// Batch normalisation with statistics that are given: `(x - mean) / √(var + eps) * weight + bias` for each channel
    /// (dim 1). What a trained model does.
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
        let channel = |x: &Tensor| self.per_channel(Some(x)).expect("given");
        let normal = (self - channel(running_mean)) * (channel(running_var) + eps).rsqrt();
        normal.scaled(self.per_channel(weight).as_ref(), self.per_channel(bias).as_ref())
    }

    /// Batch normalisation with the batch's own statistics (Ioffe and Szegedy, 2015), and the running ones moved
    /// towards them by `momentum`.
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
            refuse!(op, "{} has {count} values a channel: training wants more than one", self.spec());
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

    /// Each element is 0 with probability `p`, and divided by `1 - p` otherwise (Srivastava et al., 2014). The mask is
    /// drawn from this thread's generator; backward sees the same one. Without `training` nothing happens.
    #[track_caller]
    pub fn dropout(&self, p: f64, training: bool) -> Tensor {
        check_operands("dropout", Accepts::Float, &[self]);
        if !(0.0..=1.0).contains(&p) {
            refuse!("dropout", "p is no probability: {p}");
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
            refuse!(op, "{} has no channels (dim 1)", self.spec());
        }
        if let Some(wrong) = parameters.iter().flatten().find(|x| x.shape()[..] != self.shape()[1..2]) {
            refuse!(op, "{} is not one number for each channel (dim 1) of {}", wrong.spec(), self.spec());
        }
    }

    /// `[channels]` so that it broadcasts along dim 1.
    #[track_caller]
    pub(crate) fn per_channel(&self, parameter: Option<&Tensor>) -> Option<Tensor> {
        let shape: Shape = (0..self.rank()).map(|dim| if dim == 1 { self.shape()[1] } else { 1 }).collect();
        parameter.map(|x| x.moved(Move::Reshape(shape)))
    }
}
