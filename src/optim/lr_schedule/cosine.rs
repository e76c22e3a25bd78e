//! Schedules made of cosines.

use std::f64::consts::PI;

use super::{Schedule, line};
use crate::core::shape::refuse;

/// Half a cosine from `base_lr` down to `eta_min` in `t_max` steps, and up again (Loshchilov and Hutter, 2017;
/// [PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CosineAnnealingLR.html)).
#[derive(Clone, Copy, Debug)]
pub struct CosineAnnealingLR {
    base_lr: f64,
    t_max: usize,
    eta_min: f64,
}

impl CosineAnnealingLR {
    /// Down to 0, unless [`eta_min`](CosineAnnealingLR::eta_min) says otherwise.
    #[track_caller]
    pub fn new(base_lr: f64, t_max: usize) -> CosineAnnealingLR {
        if t_max == 0 {
            refuse!("CosineAnnealingLR", "t_max must be at least 1");
        }
        CosineAnnealingLR { base_lr, t_max, eta_min: 0.0 }
    }

    /// The least rate.
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

/// Half a cosine down, again and again, each time `t_mult` times as long (Loshchilov and Hutter, 2017;
/// [PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CosineAnnealingWarmRestarts.html)).
#[derive(Clone, Copy, Debug)]
pub struct CosineAnnealingWarmRestarts {
    base_lr: f64,
    t_0: usize,
    t_mult: usize,
    eta_min: f64,
}

impl CosineAnnealingWarmRestarts {
    /// The first one takes `t_0` steps; down to 0, unless [`eta_min`](CosineAnnealingWarmRestarts::eta_min) says
    /// otherwise.
    #[track_caller]
    pub fn new(base_lr: f64, t_0: usize, t_mult: usize) -> CosineAnnealingWarmRestarts {
        if t_0 == 0 || t_mult == 0 {
            refuse!("CosineAnnealingWarmRestarts", "t_0 {t_0} and t_mult {t_mult} must be at least 1");
        }
        CosineAnnealingWarmRestarts { base_lr, t_0, t_mult, eta_min: 0.0 }
    }

    /// The least rate.
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

/// Up to `max_lr` and down to almost nothing (Smith and Topin, 2018;
/// [PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html)).
/// A step after the cycle is refused, as there.
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
    /// Cosines, up during 30% of the steps; it starts at `max_lr / 25` and ends at a 10,000th of that.
    #[track_caller]
    pub fn new(max_lr: f64, total_steps: usize) -> OneCycleLR {
        if total_steps == 0 {
            refuse!("OneCycleLR", "total_steps must be at least 1");
        }
        let (pct_start, div_factor, final_div_factor) = (0.3, 25.0, 1e4);
        OneCycleLR { max_lr, total_steps, pct_start, div_factor, final_div_factor, linear: false }
    }

    /// The share of the steps that goes up.
    #[track_caller]
    pub fn pct_start(mut self, pct_start: f64) -> OneCycleLR {
        if !(0.0..=1.0).contains(&pct_start) {
            refuse!("OneCycleLR", "pct_start must be in [0, 1]: {pct_start}");
        }
        self.pct_start = pct_start;
        self
    }

    /// It starts at `max_lr / div_factor`.
    pub fn div_factor(mut self, div_factor: f64) -> OneCycleLR {
        self.div_factor = div_factor;
        self
    }

    /// It ends at the start divided by this.
    pub fn final_div_factor(mut self, final_div_factor: f64) -> OneCycleLR {
        self.final_div_factor = final_div_factor;
        self
    }

    /// Straight lines instead of cosines.
    pub fn linear(mut self, linear: bool) -> OneCycleLR {
        self.linear = linear;
        self
    }
}

impl Schedule for OneCycleLR {
    fn lr(&self, step: usize) -> f64 {
        if step > self.total_steps {
            refuse!("OneCycleLR", "there is no step {step} of a cycle of {}", self.total_steps);
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
