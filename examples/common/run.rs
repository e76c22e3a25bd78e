//! A run that can be interrupted and resumed.

use std::path::PathBuf;

use wgrad::data::{DataLoader, Dataset};
use wgrad::io::{Stateful, load_checkpoint, save_checkpoint};
use wgrad::nn::{Module, Visitor};
use wgrad::optim::Optimizer;
use wgrad::{Device, Error, Tensor};

use super::args::Common;

/// The complete state of a run, and its output folder.
pub struct Run<'a, O, D> {
    pub model: &'a dyn Module,
    pub optimizer: O,
    pub batches: DataLoader<D>,
    /// Finished steps.
    pub step: usize,
    pub out: PathBuf,
    pub device: Device,
}

impl<O: Optimizer, D: Dataset> Run<'_, O, D> {
    /// Resumes from the file that `--resume` names, if given. The run continues bit for bit.
    pub fn resumed(mut self, args: &Common) -> Result<Self, Error> {
        if let Some(path) = &args.resume {
            let parts: &mut [(&str, &mut dyn Stateful)] = &mut [
                ("model", &mut Whole(self.model)),
                ("optimizer", &mut self.optimizer),
                ("loader", &mut self.batches),
                ("step", &mut self.step),
            ];
            load_checkpoint(path, parts, &self.device)?.iter().for_each(|warning| eprintln!("{warning}"));
        }
        Ok(self)
    }

    /// Writes a checkpoint, with the weights as `model.` and their names. A crash leaves the previous file intact.
    pub fn save(&self) -> Result<(), Error> {
        let parts: [(&str, &dyn Stateful); 4] = [
            ("model", &Whole(self.model)),
            ("optimizer", &self.optimizer),
            ("loader", &self.batches),
            ("step", &self.step),
        ];
        save_checkpoint(self.weights(), &parts, &self.device)
    }

    /// Finished epochs.
    pub fn epoch(&self) -> usize {
        self.batches.state().epoch as usize
    }

    pub fn weights(&self) -> PathBuf {
        self.out.join("weights.safetensors")
    }
}

/// A module of any type as a part of a checkpoint.
struct Whole<'a>(&'a dyn Module);

impl Module for Whole<'_> {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.0.forward(x)
    }

    fn visit(&self, visitor: &mut Visitor) {
        self.0.visit(visitor);
    }
}
