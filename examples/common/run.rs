//! A run that can be broken off: how far it is, in one file with the weights, and its progress bar.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use wgrad::data::LoaderState;
use wgrad::nn::Module;
use wgrad::{Device, Error, Tensor, io};

/// Under this name the file keeps what is not a weight.
const PROGRESS: &str = "progress";

/// Steps that are done, and where the loader stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub step: usize,
    pub loader: LoaderState,
}

/// Writes the weights and the progress; a crash leaves the earlier file whole.
pub fn save(path: &Path, model: &dyn Module, progress: Progress, dev: &Device) -> Result<(), Error> {
    let LoaderState { seed, epoch, position } = progress.loader;
    let numbers = [progress.step as u64, seed, epoch, position];
    let words: Vec<u32> = numbers.iter().flat_map(|number| [*number as u32, (number >> 32) as u32]).collect();
    let mut tensors = model.to_state_dict();
    tensors.insert(PROGRESS.into(), Tensor::new(words, [8], dev));
    io::save_tensors(path, &tensors)
}

/// Reads what [`save`] wrote.
pub fn resume(path: &Path, model: &dyn Module, dev: &Device) -> Result<Progress, Error> {
    let mut tensors = io::load_tensors(path, dev)?;
    let words = tensors.remove(PROGRESS).map_or(Ok(vec![0; 8]), |progress| progress.to_vec::<u32>())?;
    model.load_state_dict(&tensors)?;
    let number = |i: usize| u64::from(words[2 * i]) | u64::from(words[2 * i + 1]) << 32;
    let loader = LoaderState { seed: number(1), epoch: number(2), position: number(3) };
    Ok(Progress { step: number(0) as usize, loader })
}

pub fn progress_bar(done: usize, steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} step {pos}/{len}, {per_sec}, {eta} left");
    let bar = ProgressBar::new(steps as u64).with_style(style.expect("the template is well formed"));
    bar.with_position(done as u64)
}
