//! Training a classifier: what `digits` and `mnist` have in common.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use wgrad::data::{DataLoader, Dataset};
use wgrad::nn::Module;
use wgrad::optim::{AdamW, CosineAnnealingLR, Optimizer, Schedule};
use wgrad::{DType, Device, Error, Tensor, no_grad};

use super::chart::{self, BLUE, ORANGE, Panel, Series, numbered};
use super::log::Log;
use super::meter::{Mean, Meter};
use super::run;

pub struct Classifier<'a, Train, Test> {
    pub model: &'a dyn Module,
    pub optimizer: AdamW,
    pub train: DataLoader<Train>,
    pub test: DataLoader<Test>,
    pub epochs: usize,
    /// File of an earlier run.
    pub resume: Option<PathBuf>,
    /// Folder for the log, the curve and the weights.
    pub out: PathBuf,
    pub device: Device,
}

/// What an epoch came to: its mean loss, and the accuracies during it and after it.
pub struct Epoch {
    loss: f64,
    train: f64,
    test: f64,
}

impl<Train, Test> Classifier<'_, Train, Test>
where
    Train: Dataset<Batch = (Tensor, Tensor)>,
    Test: Dataset<Batch = (Tensor, Tensor)>,
{
    /// Trains to the last epoch, at a rate that falls along a cosine, and saves after each. Inside an epoch nothing is read
    /// back: losses and hits add up on the device.
    pub fn fit(&mut self, start: Instant) -> Result<Vec<Epoch>> {
        let (model, weights, mut step) = (self.model, self.weights(), 0);
        let steps = self.epochs * self.train.len();
        let schedule = CosineAnnealingLR::new(self.optimizer.lr(), steps);
        if let Some(file) = &self.resume {
            step = run::resume(file, model, &mut self.optimizer, &mut self.train, &self.device)?;
        }
        let mut log = Log::new(&self.out, &["epoch", "loss", "accuracy", "test accuracy"], step)?;
        let bar = run::progress_bar(step, steps);
        let (mut losses, mut hits) = (Mean::new(&self.device), Mean::new(&self.device));
        let (mut meter, mut history) = (Meter::new(start), Vec::new());
        for number in self.train.state().epoch as usize..self.epochs {
            for (x, y) in self.train.epoch() {
                schedule.apply(step, &mut self.optimizer);
                let logits = model.forward(&x);
                let loss = logits.cross_entropy(&y);
                loss.backward();
                losses.add(&loss);
                hits.add(&share_of_hits(&logits, &y));
                self.optimizer.step();
                step += 1;
                meter.step(&loss)?;
                bar.inc(1);
            }
            let epoch = Epoch { loss: losses.take()?, train: hits.take()?, test: self.accuracy()? };
            meter.epoch(&self.device);
            let Epoch { loss, train, test } = &epoch;
            bar.suspend(|| {
                println!(
                    "epoch {:3}   loss {loss:.4}   accuracy {train:.4}   on test data {test:.4}",
                    number + 1
                );
            });
            log.row(&[(number + 1) as f64, *loss, *train, *test])?;
            history.push(epoch);
            run::save(&weights, model, &self.optimizer, &self.train, step, &self.device)?;
        }
        bar.finish_and_clear();
        println!("\n{} parameters. {meter}", model.num_params());
        Ok(history)
    }

    /// The share of test samples whose likeliest class is the right one.
    pub fn accuracy(&self) -> Result<f64, Error> {
        self.model.eval();
        let mut hits = Mean::new(&self.device);
        for (x, y) in self.test.epoch() {
            hits.add_weighted(&no_grad(|| share_of_hits(&self.model.forward(&x), &y)), y.numel());
        }
        self.model.train();
        hits.take()
    }

    /// Draws the learning curve, the loss on the left and the accuracies on the right, and says what it came to.
    pub fn report(&self, title: &str, history: &[Epoch]) -> Result<()> {
        let of = |value: fn(&Epoch) -> f64| numbered(history.iter().map(value));
        let loss = Series::line("training", BLUE, of(|epoch| epoch.loss));
        let train = Series::line("training", BLUE, of(|epoch| 100.0 * epoch.train));
        let test = Series::line("test", ORANGE, of(|epoch| 100.0 * epoch.test));
        let panels = [
            Panel { x: "epochs", y: "cross-entropy loss (nats)", series: vec![loss] },
            Panel { x: "epochs", y: "accuracy (%)", series: vec![train, test] },
        ];
        let curve = self.out.join("curve.svg");
        chart::draw(&curve, title, &panels)?;
        println!("learning curve: {}\nweights:        {}", curve.display(), self.weights().display());
        println!("test accuracy {:.4}", self.accuracy()?);
        Ok(())
    }

    fn weights(&self) -> PathBuf {
        self.out.join("weights.safetensors")
    }
}

fn share_of_hits(logits: &Tensor, classes: &Tensor) -> Tensor {
    let hits = logits.argmax(1, false).eq(classes).sum();
    hits.to_dtype(DType::F32) / classes.numel() as f64
}
