//! Learning rate schedules: each is a function of the step number and has no state, so a resumed run needs only the
//! step. [`ReduceLROnPlateau`] is the exception: it depends on a measured metric and has a state.

mod cosine;
mod plateau;

pub use cosine::{CosineAnnealingLR, CosineAnnealingWarmRestarts, OneCycleLR};
pub use plateau::ReduceLROnPlateau;

use std::fmt::Debug;

use super::Optimizer;
use crate::core::shape::refuse;

/// The learning rate as a function of the step.
///
/// ```
/// use wgrad::optim::{Optimizer, SGD, Schedule, StepLR};
/// let mut optimizer = SGD::new(vec![], 0.1);
/// let schedule = StepLR::new(0.1, 2, 0.5);
/// for step in 0..4 {
///     schedule.apply(step, &mut optimizer);
///     optimizer.step();
/// }
/// assert_eq!(optimizer.lr(), 0.05);
/// ```
pub trait Schedule: Debug {
    /// Returns the learning rate of a step. The first step is 0.
    ///
    /// # Panics
    ///
    /// Panics if the schedule is not defined for the step ([`OneCycleLR`]).
    #[track_caller]
    fn lr(&self, step: usize) -> f64;

    /// Sets the learning rate of an optimizer to the learning rate of a step.
    ///
    /// # Panics
    ///
    /// Panics if the schedule is not defined for the step ([`OneCycleLR`]).
    #[track_caller]
    fn apply(&self, step: usize, optimizer: &mut dyn Optimizer) {
        optimizer.set_lr(self.lr(step));
    }
}

/// Multiplies the learning rate by `gamma` every `step_size` steps
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.StepLR.html)).
#[derive(Clone, Copy, Debug)]
pub struct StepLR {
    base_lr: f64,
    step_size: usize,
    gamma: f64,
}

impl StepLR {
    /// Creates the schedule, beginning with `base_lr`.
    ///
    /// # Panics
    ///
    /// Panics if `step_size` is 0.
    #[track_caller]
    pub fn new(base_lr: f64, step_size: usize, gamma: f64) -> StepLR {
        if step_size == 0 {
            refuse!("StepLR", "step_size must be >= 1");
        }
        StepLR { base_lr, step_size, gamma }
    }
}

impl Schedule for StepLR {
    fn lr(&self, step: usize) -> f64 {
        self.base_lr * self.gamma.powf((step / self.step_size) as f64)
    }
}

/// Changes the learning rate linearly from `start_factor` times to `end_factor` times `base_lr`
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LinearLR.html)).
#[derive(Clone, Copy, Debug)]
pub struct LinearLR {
    base_lr: f64,
    start_factor: f64,
    end_factor: f64,
    total_iters: usize,
}

impl LinearLR {
    /// Creates the schedule, which reaches `end_factor` after `total_iters` steps.
    ///
    /// # Panics
    ///
    /// Panics if `start_factor` is not in (0, 1], if `end_factor` is not in [0, 1], or if `total_iters` is 0.
    #[track_caller]
    pub fn new(base_lr: f64, start_factor: f64, end_factor: f64, total_iters: usize) -> LinearLR {
        if start_factor <= 0.0 || start_factor > 1.0 || !(0.0..=1.0).contains(&end_factor) || total_iters == 0
        {
            refuse!(
                "LinearLR",
                "start_factor {start_factor} must be in (0, 1], end_factor {end_factor} in [0, 1], and total_iters \
                 {total_iters} >= 1"
            );
        }
        LinearLR { base_lr, start_factor, end_factor, total_iters }
    }
}

impl Schedule for LinearLR {
    fn lr(&self, step: usize) -> f64 {
        let part = step.min(self.total_iters) as f64 / self.total_iters as f64;
        self.base_lr * line(self.start_factor, self.end_factor, part)
    }
}

/// Multiplies the learning rate by `gamma` at each milestone
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.MultiStepLR.html)).
#[derive(Clone, Debug)]
pub struct MultiStepLR {
    base_lr: f64,
    milestones: Vec<usize>,
    gamma: f64,
}

impl MultiStepLR {
    /// Creates the schedule. `milestones` are the steps at which the learning rate changes.
    pub fn new(base_lr: f64, milestones: impl Into<Vec<usize>>, gamma: f64) -> MultiStepLR {
        MultiStepLR { base_lr, milestones: milestones.into(), gamma }
    }
}

impl Schedule for MultiStepLR {
    fn lr(&self, step: usize) -> f64 {
        let passed = self.milestones.iter().filter(|&&milestone| milestone <= step).count();
        self.base_lr * self.gamma.powf(passed as f64)
    }
}

/// Multiplies the learning rate by `gamma` in each step
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ExponentialLR.html)).
#[derive(Clone, Copy, Debug)]
pub struct ExponentialLR {
    base_lr: f64,
    gamma: f64,
}

impl ExponentialLR {
    /// Creates the schedule, beginning with `base_lr`.
    pub fn new(base_lr: f64, gamma: f64) -> ExponentialLR {
        ExponentialLR { base_lr, gamma }
    }
}

impl Schedule for ExponentialLR {
    fn lr(&self, step: usize) -> f64 {
        self.base_lr * self.gamma.powf(step as f64)
    }
}

/// Decreases the learning rate to 0 as a power of the remaining steps
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.PolynomialLR.html)).
#[derive(Clone, Copy, Debug)]
pub struct PolynomialLR {
    base_lr: f64,
    total_iters: usize,
    power: f64,
}

impl PolynomialLR {
    /// Creates the schedule, which reaches 0 after `total_iters` steps. With power 1 it is linear.
    ///
    /// # Panics
    ///
    /// Panics if `total_iters` is 0.
    #[track_caller]
    pub fn new(base_lr: f64, total_iters: usize, power: f64) -> PolynomialLR {
        if total_iters == 0 {
            refuse!("PolynomialLR", "total_iters must be >= 1");
        }
        PolynomialLR { base_lr, total_iters, power }
    }
}

impl Schedule for PolynomialLR {
    fn lr(&self, step: usize) -> f64 {
        let left = 1.0 - step.min(self.total_iters) as f64 / self.total_iters as f64;
        self.base_lr * left.powf(self.power)
    }
}

/// Runs schedules one after another. Each counts its steps from 0
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.SequentialLR.html)).
///
/// ```
/// use wgrad::optim::{CosineAnnealingLR, LinearLR, Schedule, SequentialLR};
/// // 100 steps of warm-up, then a cosine.
/// let warm_up = LinearLR::new(1e-3, 0.01, 1.0, 100);
/// let schedule = SequentialLR::new(warm_up).then(100, CosineAnnealingLR::new(1e-3, 900));
/// assert_eq!((schedule.lr(0), schedule.lr(100), schedule.lr(1000)), (1e-5, 1e-3, 0.0));
/// ```
#[derive(Debug)]
pub struct SequentialLR {
    /// Each schedule with its first step.
    schedules: Vec<(usize, Box<dyn Schedule>)>,
}

impl SequentialLR {
    /// Creates the schedule, beginning with `first`.
    pub fn new(first: impl Schedule + 'static) -> SequentialLR {
        SequentialLR { schedules: vec![(0, Box::new(first))] }
    }

    /// Continues with another schedule at the step `milestone`.
    ///
    /// # Panics
    ///
    /// Panics if `milestone` is not greater than the previous milestone.
    #[track_caller]
    pub fn then(mut self, milestone: usize, next: impl Schedule + 'static) -> SequentialLR {
        if let Some((last, _)) = self.schedules.last().filter(|(last, _)| *last >= milestone) {
            refuse!("SequentialLR", "milestone {milestone} must be greater than {last}");
        }
        self.schedules.push((milestone, Box::new(next)));
        self
    }
}

impl Schedule for SequentialLR {
    fn lr(&self, step: usize) -> f64 {
        let (first, current) = self
            .schedules
            .iter()
            .rfind(|(first, _)| *first <= step)
            .expect("the first schedule begins at step 0");
        current.lr(step - first)
    }
}

fn line(from: f64, to: f64, part: f64) -> f64 {
    from + (to - from) * part
}
