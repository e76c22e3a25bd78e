//! Cosine schedules.

use std::f64::consts::PI;

use super::{Schedule, line};
use crate::core::shape::refuse;

/// Follows half a cosine from `base_lr` down to `eta_min` in `t_max` steps, and up again (Loshchilov and Hutter, 2017;
/// [PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CosineAnnealingLR.html)).
#[derive(Clone, Copy, Debug)]
pub struct CosineAnnealingLR {
    base_lr: f64,
    t_max: usize,
    eta_min: f64,
}

impl CosineAnnealingLR {
    /// Creates the schedule with [`eta_min`](CosineAnnealingLR::eta_min) 0.
    ///
    /// # Panics
    ///
    /// Panics if `t_max` is 0.
    #[track_caller]
    pub fn new(base_lr: f64, t_max: usize) -> CosineAnnealingLR {
        if t_max == 0 {
            refuse!("CosineAnnealingLR", "t_max must be >= 1");
        }
        CosineAnnealingLR { base_lr, t_max, eta_min: 0.0 }
    }

    /// Sets the minimum learning rate.
    pub fn eta_min(mut self, eta_min: f64) -> CosineAnnealingLR {
        self.eta_min = eta_min;
        self
    }
}

impl Schedule for CosineAnnealingLR {
    fn lr(&self, step: usize) -> f64 {
        cosine(self.base_lr, self.eta_min, step as f64 / self.t_max as f64)
    }
}

/// Repeats half a cosine from `base_lr` down to `eta_min`; each period is `t_mult` times as long as the one before
/// (Loshchilov and Hutter, 2017;
/// [PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CosineAnnealingWarmRestarts.html)).
#[derive(Clone, Copy, Debug)]
pub struct CosineAnnealingWarmRestarts {
    base_lr: f64,
    t_0: usize,
    t_mult: usize,
    eta_min: f64,
}

impl CosineAnnealingWarmRestarts {
    /// Creates the schedule. The first period has `t_0` steps, and [`eta_min`](CosineAnnealingWarmRestarts::eta_min) is
    /// 0.
    ///
    /// # Panics
    ///
    /// Panics if `t_0` or `t_mult` is 0.
    #[track_caller]
    pub fn new(base_lr: f64, t_0: usize, t_mult: usize) -> CosineAnnealingWarmRestarts {
        if t_0 == 0 || t_mult == 0 {
            refuse!("CosineAnnealingWarmRestarts", "t_0 {t_0} and t_mult {t_mult} must be >= 1");
        }
        CosineAnnealingWarmRestarts { base_lr, t_0, t_mult, eta_min: 0.0 }
    }

    /// Sets the minimum learning rate.
    pub fn eta_min(mut self, eta_min: f64) -> CosineAnnealingWarmRestarts {
        self.eta_min = eta_min;
        self
    }
}

impl Schedule for CosineAnnealingWarmRestarts {
    fn lr(&self, step: usize) -> f64 {
        let (mut step, mut length) = (step, self.t_0);
        while step >= length {
            if self.t_mult == 1 {
                step %= length;
            } else {
                step -= length;
                length = length.saturating_mul(self.t_mult);
            }
        }
        cosine(self.base_lr, self.eta_min, step as f64 / length as f64)
    }
}

/// Increases the learning rate to `max_lr` and decreases it to almost 0 (Smith and Topin, 2018;
/// [PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html)). As in
/// PyTorch, a step after the end of the cycle is a mistake: [`Schedule::lr`] panics.
#[derive(Clone, Copy, Debug)]
pub struct OneCycleLR {
    max_lr: f64,
    total_steps: usize,
    pct_start: f64,
    div_factor: f64,
    final_div_factor: f64,
    linear: bool,
}

impl OneCycleLR {
    /// Creates the schedule with cosines: 30% of the steps increase the rate, which starts at `max_lr / 25` and ends at
    /// a 10,000th of that.
    ///
    /// # Panics
    ///
    /// Panics if `total_steps` is 0.
    #[track_caller]
    pub fn new(max_lr: f64, total_steps: usize) -> OneCycleLR {
        if total_steps == 0 {
            refuse!("OneCycleLR", "total_steps must be >= 1");
        }
        let (pct_start, div_factor, final_div_factor) = (0.3, 25.0, 1e4);
        OneCycleLR { max_lr, total_steps, pct_start, div_factor, final_div_factor, linear: false }
    }

    /// Sets the fraction of the steps that increase the learning rate.
    ///
    /// # Panics
    ///
    /// Panics if `pct_start` is not in [0, 1].
    #[track_caller]
    pub fn pct_start(mut self, pct_start: f64) -> OneCycleLR {
        if !(0.0..=1.0).contains(&pct_start) {
            refuse!("OneCycleLR", "pct_start must be in [0, 1]: {pct_start}");
        }
        self.pct_start = pct_start;
        self
    }

    /// Sets the start to `max_lr / div_factor`.
    pub fn div_factor(mut self, div_factor: f64) -> OneCycleLR {
        self.div_factor = div_factor;
        self
    }

    /// Sets the end to the start divided by `final_div_factor`.
    pub fn final_div_factor(mut self, final_div_factor: f64) -> OneCycleLR {
        self.final_div_factor = final_div_factor;
        self
    }

    /// Whether to use straight lines instead of cosines.
    pub fn linear(mut self, linear: bool) -> OneCycleLR {
        self.linear = linear;
        self
    }
}

impl Schedule for OneCycleLR {
    fn lr(&self, step: usize) -> f64 {
        if step > self.total_steps {
            refuse!("OneCycleLR", "step {step} is beyond the cycle of {} steps", self.total_steps);
        }
        let last = self.total_steps as f64 - 1.0;
        let top = self.pct_start * self.total_steps as f64 - 1.0;
        let step = (step as f64).min(last);
        let first = self.max_lr / self.div_factor;
        let between = if self.linear { line } else { cosine };
        if step <= top {
            between(first, self.max_lr, if top > 0.0 { step / top } else { 1.0 })
        } else {
            between(self.max_lr, first / self.final_div_factor, (step - top) / (last - top))
        }
    }
}

fn cosine(from: f64, to: f64, part: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * part).cos()) / 2.0
}
