//! Trains a small network to read handwritten digits, on any GPU.
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --model cnn --epochs 20
//! cargo run --release --example digits -- --device cpu --epochs 10 --seed 1
//! cargo run --release --example digits -- --help
//! ```
//!
//! The data is embedded (`DATA.md` names the source). The example prints the loss and accuracy of every epoch, then the
//! confusion matrix and some digits with their predictions. It writes the learning curve and the weights to
//! `out/digits`.

#[path = "../common/mod.rs"]
mod common;
mod data;
mod models;
mod show;

use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use wgrad::data::DataLoader;
use wgrad::no_grad;
use wgrad::optim::AdamW;

use common::args::{Common, count, positive};
use common::classifier::Classifier;
use common::run::Run;
use data::Digits;
use models::Model;

/// Trains a network to read handwritten digits, with AdamW
#[derive(Parser)]
#[command(name = "digits")]
struct Args {
    #[command(flatten)]
    common: Common,

    /// Network
    #[arg(long, value_enum, default_value_t = Model::Mlp)]
    model: Model,

    /// Epochs over the 1,437 training digits
    #[arg(long, default_value_t = 30, value_parser = count, allow_negative_numbers = true)]
    epochs: usize,

    /// Batch size
    #[arg(long, default_value_t = 64, value_parser = count, allow_negative_numbers = true)]
    batch: usize,

    /// Initial learning rate; it decreases along a cosine
    #[arg(long, default_value_t = 2e-3, value_parser = positive, allow_negative_numbers = true)]
    lr: f64,
}

fn main() -> Result<()> {
    let start = Instant::now();
    let args = Args::parse();
    let out = args.common.out("digits")?;
    let dev = args.common.start()?;

    let model = args.model.build(&dev);
    let (train, test) = Digits::load()?;
    let run = Run {
        model: model.as_ref(),
        optimizer: AdamW::new(model.params(), args.lr),
        batches: DataLoader::new(train.columns(), args.batch, &dev).shuffle(args.common.seed),
        step: 0,
        out,
        device: dev.clone(),
    };
    let mut training = Classifier {
        run: run.resumed(&args.common)?,
        test: DataLoader::new(test.columns(), test.classes.len(), &dev),
        epochs: args.epochs,
    };
    let log = training.pad_or_crop(args.lr, start)?;

    model.eval();
    let chances = no_grad(|| model.forward(&test.tensors(&dev).0).softmax(1));
    let said = chances.argmax(1, false).to_vec::<i32>()?;
    show::confusion(&test, &said);
    show::drawings(&test, &said, &chances.amax(1, false).to_vec::<f32>()?);

    training.report(&format!("Reading handwritten digits: {}, AdamW", args.model.title()), &log)
}
