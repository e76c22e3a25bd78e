//! Loss functions as values. Each calls the `Tensor` method of the same name, with PyTorch's defaults.

use crate::ops::cross_entropy::CrossEntropyOptions;
use crate::tensor::Tensor;
use crate::tensor::loss::Reduction;

/// Softmax cross-entropy of logits `[batch, classes, ..]` with class indices or probabilities:
/// [`Tensor::cross_entropy_with`].
///
/// ```
/// use wgrad::nn::CrossEntropyLoss;
/// use wgrad::{CrossEntropyOptions, Device, Tensor};
/// let dev = Device::cpu();
/// let (logits, target) = (Tensor::zeros([3, 10], &dev), Tensor::new([3, 7, -100], [3], &dev));
/// let loss = CrossEntropyLoss::default().forward(&logits, &target); // -100 is ignored
/// assert!((loss.item().unwrap() - 10f64.ln()).abs() < 1e-12);
/// let smooth = CrossEntropyLoss(CrossEntropyOptions { label_smoothing: 0.1, ..CrossEntropyOptions::default() });
/// # smooth.forward(&logits, &target);
/// ```
#[derive(Clone, Debug, Default)]
pub struct CrossEntropyLoss(pub CrossEntropyOptions);

/// Negative log-likelihood: minus the log-probability of the target class. [`Tensor::nll_loss`].
#[derive(Clone, Debug, Default)]
pub struct NLLLoss(pub CrossEntropyOptions);

/// Mean squared error: [`Tensor::mse_loss`].
#[derive(Clone, Copy, Debug, Default)]
pub struct MSELoss(pub Reduction);

/// Mean absolute error: [`Tensor::l1_loss`].
#[derive(Clone, Copy, Debug, Default)]
pub struct L1Loss(pub Reduction);

/// Quadratic for differences below `beta`, linear above: [`Tensor::smooth_l1_loss`].
#[derive(Clone, Copy, Debug)]
pub struct SmoothL1Loss {
    /// The difference at which the linear part begins; 1 by default.
    pub beta: f64,
    /// The reduction of the elementwise losses.
    pub reduction: Reduction,
}

/// Quadratic for differences below `delta`, linear above: [`Tensor::huber_loss`].
#[derive(Clone, Copy, Debug)]
pub struct HuberLoss {
    /// The difference at which the linear part begins; 1 by default.
    pub delta: f64,
    /// The reduction of the elementwise losses.
    pub reduction: Reduction,
}

/// Binary cross-entropy with logits: [`Tensor::binary_cross_entropy_with_logits`].
#[derive(Clone, Debug, Default)]
pub struct BCEWithLogitsLoss {
    /// A weight for each element. It broadcasts.
    pub weight: Option<Tensor>,
    /// A weight for each positive target. It broadcasts.
    pub pos_weight: Option<Tensor>,
    /// The reduction of the elementwise losses.
    pub reduction: Reduction,
}

/// Kullback-Leibler divergence of log-probabilities from a target: [`Tensor::kl_div`].
#[derive(Clone, Copy, Debug, Default)]
pub struct KLDivLoss {
    /// Whether the target holds log-probabilities too.
    pub log_target: bool,
    /// The reduction of the elementwise losses.
    pub reduction: Reduction,
}

impl Default for SmoothL1Loss {
    fn default() -> SmoothL1Loss {
        SmoothL1Loss { beta: 1.0, reduction: Reduction::Mean }
    }
}

impl Default for HuberLoss {
    fn default() -> HuberLoss {
        HuberLoss { delta: 1.0, reduction: Reduction::Mean }
    }
}

macro_rules! losses {
    ($($loss:ident |$own:ident, $input:ident, $target:ident| $call:expr;)*) => { $(
        impl $loss {
            /// Computes the loss of an input and its target.
            ///
            /// # Panics
            ///
            /// Panics if the dtypes, shapes or devices of input, target and options do not fit; see the `Tensor` method
            /// of this loss.
            #[track_caller]
            pub fn forward(&self, $input: &Tensor, $target: &Tensor) -> Tensor {
                let $own = self;
                $call
            }
        }
    )* };
}
losses! {
    CrossEntropyLoss |own, input, target| input.cross_entropy_with(target, &own.0);
    NLLLoss |own, input, target| input.nll_loss(target, &own.0);
    MSELoss |own, input, target| input.mse_loss(target, own.0);
    L1Loss |own, input, target| input.l1_loss(target, own.0);
    SmoothL1Loss |own, input, target| input.smooth_l1_loss(target, own.beta, own.reduction);
    HuberLoss |own, input, target| input.huber_loss(target, own.delta, own.reduction);
    BCEWithLogitsLoss |own, input, target| input.binary_cross_entropy_with_logits(
        target, own.weight.as_ref(), own.pos_weight.as_ref(), own.reduction
    );
    KLDivLoss |own, input, target| input.kl_div(target, own.log_target, own.reduction);
}
