//! The schedule that depends on a measured metric.

use crate::core::error::Error;
use crate::core::shape::refuse;
use crate::io::{State, Stateful};
use crate::optim::Optimizer;

/// Reduces the learning rate when a metric, such as the validation loss, has stopped improving
/// ([PyTorch's definition](https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ReduceLROnPlateau.html), mode
/// "min", threshold mode "rel").
///
/// ```
/// use wgrad::optim::{Optimizer, ReduceLROnPlateau, SGD};
/// let mut optimizer = SGD::new(vec![], 0.1);
/// let mut plateau = ReduceLROnPlateau::new(0.5, 1);
/// for validation_loss in [2.0, 1.0, 1.0, 1.0] {
///     plateau.step(validation_loss, &mut optimizer);
/// }
/// assert_eq!(optimizer.lr(), 0.05);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReduceLROnPlateau {
    factor: f64,
    patience: u64,
    threshold: f64,
    cooldown: u64,
    min_lr: f64,
    progress: PlateauState,
}

#[derive(Clone, Copy, Debug)]
struct PlateauState {
    best: f64,
    /// Number of calls since the best metric.
    bad: u64,
    /// Number of remaining calls of the cooldown after a reduction.
    cooling: u64,
}

impl ReduceLROnPlateau {
    /// Creates the schedule. It multiplies the learning rate by `factor` after more than `patience` calls without
    /// improvement.
    ///
    /// # Panics
    ///
    /// Panics if `factor` is not in [0, 1).
    #[track_caller]
    pub fn new(factor: f64, patience: u64) -> ReduceLROnPlateau {
        if !(0.0..1.0).contains(&factor) {
            refuse!("ReduceLROnPlateau", "factor must be in [0, 1): {factor}");
        }
        let progress = PlateauState { best: f64::INFINITY, bad: 0, cooling: 0 };
        ReduceLROnPlateau { factor, patience, threshold: 1e-4, cooldown: 0, min_lr: 0.0, progress }
    }

    /// Sets the threshold: a metric below `best * (1 - threshold)` is an improvement. 1e-4 by default.
    pub fn threshold(mut self, threshold: f64) -> ReduceLROnPlateau {
        self.threshold = threshold;
        self
    }

    /// Sets the number of calls after a reduction that are not counted. 0 by default.
    pub fn cooldown(mut self, cooldown: u64) -> ReduceLROnPlateau {
        self.cooldown = cooldown;
        self
    }

    /// Sets the minimum learning rate. 0 by default.
    pub fn min_lr(mut self, min_lr: f64) -> ReduceLROnPlateau {
        self.min_lr = min_lr;
        self
    }

    /// Takes a measured metric and reduces the optimizer's learning rate if necessary.
    pub fn step(&mut self, metric: f64, optimizer: &mut dyn Optimizer) {
        let PlateauState { best, bad, cooling } = &mut self.progress;
        if metric < *best * (1.0 - self.threshold) {
            (*best, *bad) = (metric, 0);
        } else {
            *bad += 1;
        }
        if *cooling > 0 {
            (*cooling, *bad) = (*cooling - 1, 0);
        }
        if *bad > self.patience {
            (*cooling, *bad) = (self.cooldown, 0);
            let lr = (optimizer.lr() * self.factor).max(self.min_lr);
            // As with PyTorch's eps, a smaller change is not applied.
            if optimizer.lr() - lr > 1e-8 {
                optimizer.set_lr(lr);
            }
        }
    }
}

/// The state of the schedule: the best metric and the counters.
impl Stateful for ReduceLROnPlateau {
    fn state(&self) -> State {
        let mut state = State::default();
        let PlateauState { best, bad, cooling } = self.progress;
        state.put("best", best);
        state.put("bad", bad);
        state.put("cooling", cooling);
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        let mut rest = state.clone();
        let progress =
            PlateauState { best: rest.take("best")?, bad: rest.take("bad")?, cooling: rest.take("cooling")? };
        rest.finish()?;
        self.progress = progress;
        Ok(())
    }
}
