//! A trace of a run (initial weights, batches, learning rates, losses), from which `train.py` repeats the run with
//! PyTorch.

use std::collections::BTreeMap;
use std::path::Path;

use wgrad::nn::Module;
use wgrad::{Error, Tensor, io};

use crate::gpt::Gpt;

pub struct Trace {
    weights: BTreeMap<String, Tensor>,
    inputs: Vec<Tensor>,
    targets: Vec<Tensor>,
    rates: Vec<f32>,
    losses: Vec<f32>,
}

impl Trace {
    pub fn new(model: &Gpt) -> Trace {
        let weights = model.to_state_dict();
        Trace { weights, inputs: Vec::new(), targets: Vec::new(), rates: Vec::new(), losses: Vec::new() }
    }

    /// Adds a step. Waits for the loss.
    pub fn add(&mut self, x: &Tensor, y: &Tensor, rate: f64, loss: &Tensor) -> Result<(), Error> {
        self.inputs.push(x.clone());
        self.targets.push(y.clone());
        self.rates.push(rate as f32);
        self.losses.push(loss.item()? as f32);
        Ok(())
    }

    pub fn save(self, path: &Path) -> Result<(), Error> {
        let dev = self.inputs[0].device().clone();
        let all = |batches: Vec<Tensor>| Tensor::stack(&batches.iter().collect::<Vec<_>>(), 0);
        let numbers = |numbers: Vec<f32>| Tensor::new(&numbers, [numbers.len()], &dev);
        let mut tensors = self.weights;
        tensors.insert("trace.inputs".into(), all(self.inputs));
        tensors.insert("trace.targets".into(), all(self.targets));
        tensors.insert("trace.rates".into(), numbers(self.rates));
        tensors.insert("trace.losses".into(), numbers(self.losses));
        io::save_tensors(path, &tensors)
    }
}
