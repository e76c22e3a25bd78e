//! Learning rates that change from step to step: each is a function of the step's number, and keeps no state, so that
//! the step is all that a resumed run needs. Only [`ReduceLROnPlateau`], which goes by what was measured, has some.

mod cosine;
mod plateau;

pub use cosine::{CosineAnnealingLR, CosineAnnealingWarmRestarts, OneCycleLR};
pub use plateau::ReduceLROnPlateau;

use std::fmt::Debug;

use super::Optimizer;
use crate::core::shape::refuse;

/// A learning rate for each step.
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
    /// The learning rate of this step; the first is step 0.
    #[track_caller]
    fn lr(&self, step: usize) -> f64;

    /// Gives it to an optimizer.
    #[track_caller]
    fn apply(&self, step: usize, optimizer: &mut dyn Optimizer) {
        optimizer.set_lr(self.lr(step));
    }
}

/// `gamma` times the rate every `step_size` steps
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.StepLR.html)).
#[derive(Clone, Copy, Debug)]
pub struct StepLR {
    base_lr: f64,
    step_size: usize,
    gamma: f64,
}

impl StepLR {
    /// Starts with `base_lr`.
    #[track_caller]
    pub fn new(base_lr: f64, step_size: usize, gamma: f64) -> StepLR {
        if step_size == 0 {
            refuse!("StepLR", "step_size must be at least 1");
        }
        StepLR { base_lr, step_size, gamma }
    }
}

impl Schedule for StepLR {
    fn lr(&self, step: usize) -> f64 {
        self.base_lr * self.gamma.powf((step / self.step_size) as f64)
    }
}

/// From `start_factor` times the rate to `end_factor` times it, in equal steps
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LinearLR.html)).
#[derive(Clone, Copy, Debug)]
pub struct LinearLR {
    base_lr: f64,
    start_factor: f64,
    end_factor: f64,
    total_iters: usize,
}

impl LinearLR {
    /// From `start_factor` to `end_factor` within `total_iters` steps.
    #[track_caller]
    pub fn new(base_lr: f64, start_factor: f64, end_factor: f64, total_iters: usize) -> LinearLR {
        if start_factor <= 0.0 || start_factor > 1.0 || !(0.0..=1.0).contains(&end_factor) || total_iters == 0
        {
            refuse!(
                "LinearLR",
                "start_factor {start_factor} must be in (0, 1], end_factor {end_factor} in [0, 1], total_iters \
                 {total_iters} at least 1"
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

/// `gamma` times the rate at each milestone
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.MultiStepLR.html)).
#[derive(Clone, Debug)]
pub struct MultiStepLR {
    base_lr: f64,
    milestones: Vec<usize>,
    gamma: f64,
}

impl MultiStepLR {
    /// `milestones`: the first step of each smaller rate.
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

/// `gamma` times the rate each step
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ExponentialLR.html)).
#[derive(Clone, Copy, Debug)]
pub struct ExponentialLR {
    base_lr: f64,
    gamma: f64,
}

impl ExponentialLR {
    /// Starts with `base_lr`.
    pub fn new(base_lr: f64, gamma: f64) -> ExponentialLR {
        ExponentialLR { base_lr, gamma }
    }
}

impl Schedule for ExponentialLR {
    fn lr(&self, step: usize) -> f64 {
        self.base_lr * self.gamma.powf(step as f64)
    }
}

/// Down to 0 like a power of the steps that are left
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.PolynomialLR.html)).
#[derive(Clone, Copy, Debug)]
pub struct PolynomialLR {
    base_lr: f64,
    total_iters: usize,
    power: f64,
}

impl PolynomialLR {
    /// Reaches 0 after `total_iters` steps; a power of 1 is a straight line.
    #[track_caller]
    pub fn new(base_lr: f64, total_iters: usize, power: f64) -> PolynomialLR {
        if total_iters == 0 {
            refuse!("PolynomialLR", "total_iters must be at least 1");
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

/// One schedule after the other, each counting its steps from 0
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
    /// Each with its first step.
    schedules: Vec<(usize, Box<dyn Schedule>)>,
}

impl SequentialLR {
    /// Begins with this one.
    pub fn new(first: impl Schedule + 'static) -> SequentialLR {
        SequentialLR { schedules: vec![(0, Box::new(first))] }
    }

    /// Goes over to another at this step.
    #[track_caller]
    pub fn then(mut self, milestone: usize, next: impl Schedule + 'static) -> SequentialLR {
        if let Some((last, _)) = self.schedules.last().filter(|(last, _)| *last >= milestone) {
            refuse!("SequentialLR", "the milestone {milestone} does not come after {last}");
        }
        self.schedules.push((milestone, Box::new(next)));
        self
    }
}

impl Schedule for SequentialLR {
    fn lr(&self, step: usize) -> f64 {
        let (first, current) =
            self.schedules.iter().rfind(|(first, _)| *first <= step).expect("the first one begins at 0");
        current.lr(step - first)
    }
}

fn line(from: f64, to: f64, part: f64) -> f64 {
    from + (to - from) * part
}
