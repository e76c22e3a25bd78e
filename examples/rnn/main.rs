//! Trains an LSTM on the adding problem (Hochreiter and Schmidhuber, 1997): two numbers of a sequence are marked, and
//! the target is their sum. The LSTM must remember both numbers among the others.
//!
//! ```text
//! cargo run --release --example rnn
//! cargo run --release --example rnn -- --length 40 --steps 3000
//! ```
//!
//! It writes the learning curve and the weights to `out/rnn`.

#[path = "../common/mod.rs"]
mod common;

use anyhow::Result;
use clap::Parser;
use wgrad::data::{DataLoader, Dataset};
use wgrad::metrics::Mean;
use wgrad::nn::{LSTM, Linear, Module, Visitor};
use wgrad::optim::{Adam, Optimizer};
use wgrad::report::{Log, Panel, Progress, draw};
use wgrad::{Device, Generator, Reduction, Tensor, no_grad};

use common::args::{Common, count, positive};
use common::run::Run;

/// Trains an LSTM to add the two marked numbers of a sequence, with Adam
#[derive(Parser)]
#[command(name = "rnn")]
struct Args {
    #[command(flatten)]
    common: Common,

    /// Length of a sequence
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(2..1000))]
    length: u64,

    /// Hidden size of the LSTM
    #[arg(long, default_value_t = 32, value_parser = count)]
    hidden: usize,

    /// Total number of steps
    #[arg(long, default_value_t = 1000)]
    steps: usize,

    /// Batch size
    #[arg(long, default_value_t = 64, value_parser = count)]
    batch: usize,

    /// Learning rate
    #[arg(long, default_value_t = 5e-3, value_parser = positive)]
    lr: f64,
}

/// A dataset that generates sequences when they are loaded.
struct Adding {
    length: usize,
}

impl Dataset for Adding {
    /// `[batch, length, 2]`, numbers from 0 to 1 with their marks, and sums `[batch, 1]`.
    type Batch = (Tensor, Tensor);

    fn len(&self) -> usize {
        1 << 20
    }

    fn batch(&self, samples: &[usize], device: &Device) -> (Tensor, Tensor) {
        let (count, length) = (samples.len(), self.length);
        let mut random = wgrad::generator(); // the generator of this batch
        let (numbers, places) = (random.uniform(count * length), random.uniform(2 * count));
        let (mut steps, mut sums) = (Vec::with_capacity(2 * count * length), Vec::with_capacity(count));
        for (numbers, places) in numbers.chunks(length).zip(places.chunks(2)) {
            // Marks one number in each half.
            let half = length / 2;
            let first = (places[0] * half as f32) as usize;
            let second = half + (places[1] * (length - half) as f32) as usize;
            let marked = |i| if i == first || i == second { 1.0 } else { 0.0 };
            steps.extend(numbers.iter().enumerate().flat_map(|(i, &number)| [number, marked(i)]));
            sums.push(numbers[first] + numbers[second]);
        }
        (Tensor::new(steps, [count, length, 2], device), Tensor::new(sums, [count, 1], device))
    }
}

struct Adder {
    lstm: LSTM,
    sum: Linear,
}

impl Module for Adder {
    fn forward(&self, x: &Tensor) -> Tensor {
        let (outputs, _state) = self.lstm.forward(x, None);
        self.sum.forward(&outputs.select(1, -1))
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("lstm", &self.lstm);
        visitor.module("sum", &self.sum);
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let out = args.common.out("rnn")?;
    let dev = args.common.start()?;

    let model = Adder { lstm: LSTM::new(2, args.hidden, &dev), sum: Linear::new(args.hidden, 1, &dev) };
    let sequences = || Adding { length: args.length as usize };
    let mut run = Run {
        model: &model,
        optimizer: Adam::new(model.params(), args.lr),
        batches: DataLoader::new(sequences(), args.batch, &dev).seed(args.common.seed).workers(1),
        step: 0,
        out,
        device: dev.clone(),
    }
    .resumed(&args.common)?;

    let mut errors = Mean::new(&dev);
    let mut log = Log::new(run.out.join("log.csv"), &["step", "mean squared error"], run.step)?;
    let bar = Progress::new(run.step, args.steps);
    for (x, sums) in run.batches.batches().take(args.steps.saturating_sub(run.step)) {
        let loss = model.forward(&x).mse_loss(&sums, Reduction::Mean);
        loss.backward();
        errors.add(&loss, args.batch);
        run.optimizer.step();
        run.step += 1;
        bar.step();
        if run.step.is_multiple_of(50) || run.step == args.steps {
            let error = errors.mean()?;
            errors.reset();
            bar.say(format!("step {:5}   mean squared error {error:.5}", run.step));
            log.row(&[run.step as f64, error])?;
            run.save()?;
        }
    }
    bar.finish();

    let learning = log.points("step", "mean squared error");
    let guess: Vec<(f64, f64)> = learning.iter().map(|(step, _)| (*step, 1.0 / 6.0)).collect();
    let panel = Panel::new("steps", "mean squared error").line("LSTM", learning).line("always 1", guess);
    let curve = run.out.join("curve.svg");
    draw(&curve, &format!("Adding two of {} numbers", args.length), &[panel])?;
    println!("learning curve: {}\nweights:        {}", curve.display(), run.weights().display());
    let unseen = DataLoader::new(sequences(), 1000, &dev).seed(Generator::new(args.common.seed).fork(0).seed);
    let (x, sums) = unseen.epoch().next().expect("there are a million sequences");
    let error = no_grad(|| model.forward(&x).mse_loss(&sums, Reduction::Mean)).item()?;
    println!("error on unseen sequences {error:.5} (0.16667 for whoever always says 1)");
    Ok(())
}
