//! Fits a curve to noisy points with a small network, and draws both.
//!
//! ```text
//! cargo run --release --example regression
//! cargo run --release --example regression -- --csv FILE
//! ```
//!
//! It writes the chart and the weights to `out/regression`.

#[path = "../common/mod.rs"]
mod common;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use wgrad::data::{Column, DataLoader, read_csv};
use wgrad::metrics::Mean;
use wgrad::nn::{Linear, Module, Sequential, Tanh};
use wgrad::optim::{AdamW, CosineAnnealingLR, Optimizer, Schedule};
use wgrad::report::{Log, Panel, Progress, draw};
use wgrad::{Generator, Reduction, Tensor, no_grad};

use common::args::{Common, count, positive};
use common::run::Run;

/// Fits a curve to points with a 1-64-64-1 network, with AdamW
#[derive(Parser)]
#[command(name = "regression")]
struct Args {
    #[command(flatten)]
    common: Common,

    /// Points to fit: a CSV file with columns x and y [default: a damped wave with noise]
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Epochs over the points
    #[arg(long, default_value_t = 200, value_parser = count)]
    epochs: usize,

    /// Initial learning rate; it decreases along a cosine
    #[arg(long, default_value_t = 1e-2, value_parser = positive)]
    lr: f64,
}

/// The function to be learned.
fn wave(x: f32) -> f32 {
    (2.5 * x).sin() * (-0.3 * x * x).exp()
}

/// 200 points of the wave, with noise.
fn noisy(seed: u64) -> (Vec<f32>, Vec<f32>) {
    let mut random = Generator::new(seed);
    let x: Vec<f32> = random.uniform(200).iter().map(|u| 6.0 * u - 3.0).collect();
    let y = x.iter().zip(random.normal(200)).map(|(&x, noise)| wave(x) + 0.1 * noise).collect();
    (x, y)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let out = args.common.out("regression")?;
    let (xs, ys) = match &args.csv {
        Some(path) => {
            let table = read_csv(path)?;
            (table.numbers(&["x"])?.data().to_vec(), table.numbers(&["y"])?.data().to_vec())
        }
        None => noisy(args.common.seed),
    };
    ensure!(!xs.is_empty(), "there are no points");
    let dev = args.common.start()?;

    let model = Sequential::new()
        .add(Linear::new(1, 64, &dev))
        .add(Tanh)
        .add(Linear::new(64, 64, &dev))
        .add(Tanh)
        .add(Linear::new(64, 1, &dev));
    let points = (Column::new(xs.clone(), [1]), Column::new(ys.clone(), [1]));
    let mut run = Run {
        model: &model,
        optimizer: AdamW::new(model.params(), args.lr),
        batches: DataLoader::new(points, 50, &dev).shuffle(args.common.seed),
        step: 0,
        out,
        device: dev.clone(),
    }
    .resumed(&args.common)?;

    let steps = args.epochs * run.batches.len();
    let schedule = CosineAnnealingLR::new(args.lr, steps);
    let mut log = Log::new(run.out.join("log.csv"), &["epoch", "loss"], run.epoch())?;
    let bar = Progress::new(run.step, steps);
    for epoch in run.epoch() + 1..=args.epochs {
        let mut errors = Mean::new(&dev);
        for (x, y) in run.batches.epoch() {
            schedule.apply(run.step, &mut run.optimizer);
            let loss = model.forward(&x).mse_loss(&y, Reduction::Mean);
            loss.backward();
            errors.add(&loss, y.numel());
            run.optimizer.step();
            run.step += 1;
            bar.step();
        }
        log.row(&[epoch as f64, errors.mean()?])?;
        run.save()?;
    }
    bar.finish();

    let curve = |x: &[f32]| no_grad(|| model.forward(&Tensor::new(x, [x.len(), 1], &dev))).to_vec::<f32>();
    let rmse = {
        let squares = curve(&xs)?.iter().zip(&ys).map(|(fit, y)| f64::from(fit - y).powi(2)).sum::<f64>();
        (squares / xs.len() as f64).sqrt()
    };
    let (low, high) = xs.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
    let grid: Vec<f32> = (0..=300).map(|i| low + (high - low) * i as f32 / 300.0).collect();
    let pairs = |x: &[f32], y: &[f32]| -> Vec<(f64, f64)> {
        x.iter().zip(y).map(|(&x, &y)| (x.into(), y.into())).collect()
    };
    let fit =
        Panel::new("x", "y").points("points", pairs(&xs, &ys)).line("network", pairs(&grid, &curve(&grid)?));
    let loss = Panel::new("epochs", "mean squared error").line("training", log.points("epoch", "loss"));
    let picture = run.out.join("fit.svg");
    draw(&picture, "A curve through points", &[fit, loss])?;
    println!("picture: {}\nweights: {}", picture.display(), run.weights().display());
    println!("root mean squared error {rmse:.4}");
    Ok(())
}
