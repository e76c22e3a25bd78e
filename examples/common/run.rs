//! A run that can be broken off: its checkpoint, and its progress bar.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use wgrad::io::{Stateful, load_checkpoint, save_checkpoint};
use wgrad::nn::{Module, Visitor};
use wgrad::{Device, Error, Tensor};

/// Writes all that it takes to go on, the weights as `model.` and their names; a crash leaves the earlier file whole.
pub fn save(
    path: &Path,
    model: &dyn Module,
    optimizer: &dyn Stateful,
    loader: &dyn Stateful,
    step: usize,
    dev: &Device,
) -> Result<(), Error> {
    let parts: [(&str, &dyn Stateful); 4] =
        [("model", &Whole(model)), ("optimizer", optimizer), ("loader", loader), ("step", &step)];
    save_checkpoint(path, &parts, dev)
}

/// Goes on from what [`save`] wrote, bit for bit: after so many steps.
pub fn resume(
    path: &Path,
    model: &dyn Module,
    optimizer: &mut dyn Stateful,
    loader: &mut dyn Stateful,
    dev: &Device,
) -> Result<usize, Error> {
    let mut step = 0;
    let parts: &mut [(&str, &mut dyn Stateful)] = &mut [
        ("model", &mut Whole(model)),
        ("optimizer", optimizer),
        ("loader", loader),
        ("step", &mut step),
    ];
    load_checkpoint(path, parts, dev)?.iter().for_each(|warning| eprintln!("{warning}"));
    Ok(step)
}

/// A module of whatever type, as a part of a checkpoint.
struct Whole<'a>(&'a dyn Module);

impl Module for Whole<'_> {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.0.forward(x)
    }

    fn visit(&self, visitor: &mut Visitor) {
        self.0.visit(visitor);
    }
}

pub fn progress_bar(done: usize, steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} step {pos}/{len}, {per_sec}, {eta} left");
    let bar = ProgressBar::new(steps as u64).with_style(style.expect("the template is well formed"));
    bar.with_position(done as u64)
}
