//! Trains a small network to read handwritten digits, on whatever GPU this machine has.
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --device cpu --epochs 10 --seed 1
//! cargo run --release --example digits -- --help
//! ```
//!
//! The data is embedded (`DATA.md` says where it comes from). Every epoch's loss and accuracy are shown, then what the
//! network confuses, and some digits with what it takes them for. The learning curve and the weights are left in
//! `out/digits`.

mod args;
mod curve;
mod data;
mod meter;
mod show;

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use wgrad::data::DataLoader;
use wgrad::nn::{Linear, Module, ReLU, Sequential};
use wgrad::optim::{AdamW, Optimizer};
use wgrad::{Device, Error, Tensor, io, no_grad};

use args::Args;
use data::{CLASSES, Digits, PIXELS};
use meter::{Mean, Meter};

/// What an epoch came to: its mean loss, and the accuracies after it.
struct Epoch {
    loss: f64,
    train: f64,
    test: f64,
}

fn main() -> Result<()> {
    let start = Instant::now();
    let args = Args::parse();
    fs::create_dir_all(&args.out).with_context(|| format!("{} cannot be created", args.out.display()))?;
    let dev = args.device()?;
    println!("Training on {dev}\n");

    wgrad::manual_seed(args.seed);
    let model = Sequential::new()
        .add(Linear::new(PIXELS, 128, &dev))
        .add(ReLU)
        .add(Linear::new(128, 64, &dev))
        .add(ReLU)
        .add(Linear::new(64, CLASSES, &dev));
    let (train, test) = Digits::load()?;

    let mut meter = Meter::new(start);
    let epochs = fit(&model, &train, &test, &args, &dev, &mut meter)?;
    println!("\n{} parameters. {meter}", model.num_params());

    let chances = no_grad(|| model.forward(&test.tensors(&dev).0).softmax(1));
    let said = chances.argmax(1, false).to_vec::<i32>()?;
    show::confusion(&test, &said);
    show::drawings(&test, &said, &chances.amax(1, false).to_vec::<f32>()?);

    let (curve, weights) = (args.out.join("curve.svg"), args.out.join("weights.safetensors"));
    curve::draw(&curve, &epochs).with_context(|| format!("{} cannot be written", curve.display()))?;
    io::save(&weights, &model)?;
    println!("learning curve: {}\nweights:        {}", curve.display(), weights.display());
    println!("test accuracy {:.4}", epochs.last().map_or(0.0, |epoch| epoch.test));
    Ok(())
}

/// Trains, and tells of every epoch. Inside an epoch nothing is read back: the losses add up on the device.
fn fit(
    model: &Sequential,
    train: &Digits,
    test: &Digits,
    args: &Args,
    dev: &Device,
    meter: &mut Meter,
) -> Result<Vec<Epoch>> {
    let mut batches = DataLoader::new(train.columns(), args.batch, dev).shuffle(args.seed);
    let mut opt = AdamW::new(model.params(), args.lr);
    let (train, test) = (train.tensors(dev), test.tensors(dev));
    let bar = show::progress_bar(args.epochs * batches.len());
    let (mut losses, mut epochs) = (Mean::new(dev), Vec::new());

    for number in 1..=args.epochs {
        for (x, y) in batches.epoch() {
            let loss = model.forward(&x).cross_entropy(&y);
            loss.backward();
            losses.add(&loss);
            opt.step();
            meter.step(&loss)?;
            bar.inc(1);
        }
        let epoch =
            Epoch { loss: losses.take()?, train: accuracy(model, &train)?, test: accuracy(model, &test)? };
        meter.epoch(dev);
        bar.suspend(|| show::epoch(number, &epoch));
        epochs.push(epoch);
    }
    bar.finish_and_clear();
    Ok(epochs)
}

/// The share of digits whose likeliest class is the right one.
fn accuracy(model: &Sequential, (pixels, classes): &(Tensor, Tensor)) -> Result<f64, Error> {
    let hits = no_grad(|| model.forward(pixels).argmax(1, false).eq(classes).sum());
    Ok(hits.item()? / classes.numel() as f64)
}
