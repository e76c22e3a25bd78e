//! Training of a classifier, shared by `digits` and `mnist`.

use std::time::Instant;

use anyhow::Result;
use wgrad::data::{DataLoader, Dataset};
use wgrad::metrics::{Accuracy, Mean};
use wgrad::optim::{AdamW, CosineAnnealingLR, Optimizer, Schedule};
use wgrad::report::{Log, Panel, Progress, draw};
use wgrad::{Error, Tensor, no_grad};

use super::meter::Meter;
use super::run::Run;

pub struct Classifier<'a, Train, Test> {
    pub run: Run<'a, AdamW, Train>,
    pub test: DataLoader<Test>,
    pub epochs: usize,
}

impl<Train, Test> Classifier<'_, Train, Test>
where
    Train: Dataset<Batch = (Tensor, Tensor)>,
    Test: Dataset<Batch = (Tensor, Tensor)>,
{
    /// Trains until the last epoch, with a learning rate that decreases along a cosine, and saves after each epoch.
    /// Within an epoch nothing is read back: losses and hits are accumulated on the device.
    pub fn pad_or_crop(&mut self, lr: f64, start: Instant) -> Result<Log> {
        let steps = self.epochs * self.run.batches.len();
        let schedule = CosineAnnealingLR::new(lr, steps);
        let columns = ["epoch", "loss", "accuracy", "test accuracy"];
        let mut log = Log::new(self.run.out.join("log.csv"), &columns, self.run.epoch())?;
        let (mut meter, bar) = (Meter::new(start), Progress::new(self.run.step, steps));
        for epoch in self.run.epoch() + 1..=self.epochs {
            let Run { model, optimizer, batches, step, device, .. } = &mut self.run;
            let (mut losses, mut hits) = (Mean::new(device), Accuracy::new(device));
            for (x, y) in batches.epoch() {
                schedule.apply(*step, optimizer);
                let logits = model.forward(&x);
                let loss = logits.cross_entropy(&y);
                loss.backward();
                losses.add(&loss, y.numel());
                hits.add(&logits, &y);
                optimizer.step();
                *step += 1;
                meter.step(&loss)?;
                bar.step();
            }
            meter.epoch(device);
            let (loss, train, test) = (losses.mean()?, hits.accuracy()?, self.accuracy()?);
            bar.say(format!(
                "epoch {epoch:3}   loss {loss:.4}   accuracy {train:.4}   on test data {test:.4}"
            ));
            log.row(&[epoch as f64, loss, train, test])?;
            self.run.save()?;
        }
        bar.finish();
        println!("\n{} parameters. {meter}", self.run.model.num_params());
        Ok(log)
    }

    /// The accuracy on the test data.
    pub fn accuracy(&self) -> Result<f64, Error> {
        let Run { model, device, .. } = &self.run;
        model.eval();
        let mut hits = Accuracy::new(device);
        for (x, y) in self.test.epoch() {
            hits.add(&no_grad(|| model.forward(&x)), &y);
        }
        model.train();
        hits.accuracy()
    }

    /// Draws the learning curve, the loss on the left and the accuracies on the right, and prints the final accuracy.
    pub fn report(&self, title: &str, log: &Log) -> Result<()> {
        let loss =
            Panel::new("epochs", "cross-entropy loss (nats)").line("training", log.points("epoch", "loss"));
        let accuracy = Panel::new("epochs", "accuracy")
            .line("training", log.points("epoch", "accuracy"))
            .line("test", log.points("epoch", "test accuracy"));
        let curve = self.run.out.join("curve.svg");
        draw(&curve, title, &[loss, accuracy])?;
        println!("learning curve: {}\nweights:        {}", curve.display(), self.run.weights().display());
        println!("test accuracy {:.4}", self.accuracy()?);
        Ok(())
    }
}
