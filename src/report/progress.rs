//! A progress bar for the terminal.

use std::fmt::Display;

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar with the finished steps, their rate, and the remaining time. If the output is not a terminal, the bar
/// is hidden, but the lines of [`say`](Progress::say) are printed.
///
/// ```
/// let bar = wgrad::report::Progress::new(0, 100);
/// for step in 0..100 {
///     bar.step();
///     if step % 50 == 49 {
///         bar.say(format!("step {}: well", step + 1));
///     }
/// }
/// bar.finish();
/// ```
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Creates a bar for `steps` steps, of which `done` are finished (by an earlier run that is resumed).
    pub fn new(done: usize, steps: usize) -> Progress {
        let style = ProgressStyle::with_template("{bar:40} step {pos}/{len}, {per_sec}, {eta} left");
        let bar = ProgressBar::new(steps as u64).with_style(style.expect("the template is valid"));
        Progress(bar.with_position(done as u64))
    }

    /// Counts one more finished step.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// Prints a line above the bar.
    pub fn say(&self, line: impl Display) {
        self.0.suspend(|| println!("{line}"));
    }

    /// Removes the bar. Dropping it does the same.
    pub fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
