//! Fits a curve through noisy points with a small network, and draws both.
//!
//! ```text
//! cargo run --release --example regression
//! cargo run --release --example regression -- --csv FILE
//! ```
//!
//! The picture and the weights are left in `out/regression`.

#[path = "../common/mod.rs"]
mod common;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use wgrad::data::{Column, DataLoader, read_csv};
use wgrad::nn::{Linear, Module, Sequential, Tanh};
use wgrad::optim::{AdamW, CosineAnnealingLR, Optimizer, Schedule};
use wgrad::{Generator, Reduction, Tensor, no_grad};

use common::args::{Common, count, positive};
use common::chart::{self, BLUE, GREY, ORANGE, Panel, Series, numbered};
use common::log::Log;
use common::meter::Mean;
use common::run;

/// Fits a curve through points with a network 1-64-64-1, with AdamW
#[derive(Parser)]
#[command(name = "regression")]
struct Args {
    #[command(flatten)]
    common: Common,

    /// Points to fit: a CSV file with columns x and y [default: a damped wave with noise]
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// How often all points are seen
    #[arg(long, default_value_t = 200, value_parser = count)]
    epochs: usize,

    /// Learning rate at the start; it falls along a cosine
    #[arg(long, default_value_t = 1e-2, value_parser = positive)]
    lr: f64,
}

/// What is to be found without being told.
fn wave(x: f32) -> f32 {
    (2.5 * x).sin() * (-0.3 * x * x).exp()
}

/// 200 points beside the wave.
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
    let mut batches = DataLoader::new(points, 50, &dev).shuffle(args.common.seed);
    let mut optimizer = AdamW::new(model.params(), args.lr);
    let (steps, mut step) = (args.epochs * batches.len(), 0);
    let schedule = CosineAnnealingLR::new(args.lr, steps);
    if let Some(file) = &args.common.resume {
        step = run::resume(file, &model, &mut optimizer, &mut batches, &dev)?;
    }

    let weights = out.join("weights.safetensors");
    let (mut errors, mut history) = (Mean::new(&dev), Vec::new());
    let mut log = Log::new(&out, &["epoch", "loss"], step)?;
    let bar = run::progress_bar(step, steps);
    for epoch in batches.state().epoch as usize..args.epochs {
        for (x, y) in batches.epoch() {
            schedule.apply(step, &mut optimizer);
            let loss = model.forward(&x).mse_loss(&y, Reduction::Mean);
            loss.backward();
            errors.add(&loss);
            optimizer.step();
            step += 1;
            bar.inc(1);
        }
        let error = errors.take()?;
        log.row(&[(epoch + 1) as f64, error])?;
        history.push(error);
    }
    bar.finish_and_clear();
    run::save(&weights, &model, &optimizer, &batches, step, &dev)?;

    let curve = |x: &[f32]| no_grad(|| model.forward(&Tensor::new(x, [x.len(), 1], &dev))).to_vec::<f32>();
    let rmse = {
        let squares = curve(&xs)?.iter().zip(&ys).map(|(fit, y)| f64::from(fit - y).powi(2)).sum::<f64>();
        (squares / xs.len() as f64).sqrt()
    };
    let (low, high) = xs.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
    let grid: Vec<f32> = (0..=300).map(|i| low + (high - low) * i as f32 / 300.0).collect();
    let pairs = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| (x.into(), y.into())).collect();
    let fit = vec![
        Series::points("points", GREY, pairs(&xs, &ys)),
        Series::line("network", ORANGE, pairs(&grid, &curve(&grid)?)),
    ];
    let loss = vec![Series::line("training", BLUE, numbered(history))];
    let picture = out.join("fit.svg");
    let panels =
        [Panel { x: "x", y: "y", series: fit }, Panel { x: "epochs", y: "mean squared error", series: loss }];
    chart::draw(&picture, "A curve through points", &panels)?;
    println!("picture: {}\nweights: {}", picture.display(), weights.display());
    println!("root mean squared error {rmse:.4}");
    Ok(())
}
