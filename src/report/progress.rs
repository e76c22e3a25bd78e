//! A bar for the terminal.

use std::fmt::Display;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of the steps that are done, their pace, and the time that is left. Where the output is no terminal it is not
/// to be seen, and what is said is.
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
    /// Of a run of so many steps, of which some are done: those of an earlier run that is resumed.
    pub fn new(done: usize, steps: usize) -> Progress {
        let style = ProgressStyle::with_template("{bar:40} step {pos}/{len}, {per_sec}, {eta} left");
        let bar = ProgressBar::new(steps as u64).with_style(style.expect("the template is well formed"));
        Progress(bar.with_position(done as u64))
    }

    /// One step more is done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// A line above the bar.
    pub fn say(&self, line: impl Display) {
        self.0.suspend(|| println!("{line}"));
    }

    /// Takes the bar away, as dropping it does.
    pub fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
