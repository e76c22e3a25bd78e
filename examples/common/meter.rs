//! Measurements: the time of steps, and whether training still allocates after its first epochs.

use std::fmt;
use std::time::{Duration, Instant};

use wgrad::{Counters, Device, Error, Tensor};

/// Times and counters.
pub struct Meter {
    start: Instant,
    last: Instant,
    first_step: Option<Duration>,
    steps: Vec<Duration>,
    /// The counters of the device after each epoch.
    counters: Vec<Counters>,
}

impl Meter {
    /// Creates a meter. `start` is when the process began.
    pub fn new(start: Instant) -> Meter {
        Meter { start, last: Instant::now(), first_step: None, steps: Vec::new(), counters: Vec::new() }
    }

    /// Call it after each step. It waits for the first loss, to measure the time until then.
    pub fn step(&mut self, loss: &Tensor) -> Result<(), Error> {
        if self.first_step.is_none() {
            loss.item()?;
            self.first_step = Some(self.start.elapsed());
        }
        self.steps.push(self.last.elapsed());
        self.last = Instant::now();
        Ok(())
    }

    /// Call it after each epoch.
    pub fn epoch(&mut self, dev: &Device) {
        self.counters.push(dev.counters());
        self.last = Instant::now();
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut steps = self.steps.clone();
        steps.sort_unstable();
        let seconds = self.first_step.unwrap_or_default().as_secs_f64();
        let median = steps.get(steps.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e3;
        write!(
            f,
            "The first step was done {seconds:.2} s after the start; the median step took {median:.2} ms."
        )?;
        // The first steps of the second epoch still run while the last ones of the first epoch hold their buffers.
        let Some((now, warm)) = self.counters.last().zip(self.counters.get(1)) else { return Ok(()) };
        if now.kernels > 0 {
            let growth = now.buffers - warm.buffers;
            let verdict = if growth == 0 { "as it should be" } else { "which should be 0: please report it" };
            write!(
                f,
                "\nGPU buffers created: {} in the first two epochs, {growth} after them, {verdict}.",
                warm.buffers
            )?;
        }
        Ok(())
    }
}
