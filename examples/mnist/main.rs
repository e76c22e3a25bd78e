//! Trains an MLP or a CNN on MNIST, Fashion-MNIST, or another dataset in the same four files.
//!
//! ```text
//! cargo run --release --example mnist -- --data DIR
//! cargo run --release --example mnist -- --data DIR --model cnn --augment
//! ```
//!
//! It writes the learning curve and the weights to `out/mnist`.

#[path = "../common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use wgrad::Device;
use wgrad::data::{DataLoader, mnist};
use wgrad::nn::{Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential};
use wgrad::optim::AdamW;

use common::args::{Common, count, positive};
use common::classifier::Classifier;
use common::run::Run;

const WHERE: &str = "MNIST is at https://github.com/cvdf/mnist, Fashion-MNIST at \
    https://github.com/zalandoresearch/fashion-mnist (folder data/fashion): put the four files, packed or not, into one \
    folder and name it with --data";

/// Trains a network on MNIST or Fashion-MNIST, with AdamW
#[derive(Parser)]
#[command(name = "mnist", after_help = WHERE)]
struct Args {
    #[command(flatten)]
    common: Common,

    /// Folder with train-images-idx3-ubyte and the three other files, optionally as .gz
    #[arg(long, value_name = "DIR", default_value = "data/mnist")]
    data: PathBuf,

    /// Network
    #[arg(long, value_enum, default_value_t = Model::Mlp)]
    model: Model,

    /// Epochs over the training images
    #[arg(long, default_value_t = 5, value_parser = count)]
    epochs: usize,

    /// Batch size
    #[arg(long, default_value_t = 128, value_parser = count)]
    batch: usize,

    /// Initial learning rate; it decreases along a cosine
    #[arg(long, default_value_t = 1e-3, value_parser = positive)]
    lr: f64,

    /// Shift training images randomly by up to 2 pixels
    #[arg(long)]
    augment: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    /// An MLP with layers of 512 and 256
    Mlp,
    /// Two convolutions with 32 and 64 channels, each with a pool; dropout
    Cnn,
}

impl Model {
    fn build(self, [_, height, width]: [usize; 3], dev: &Device) -> Sequential {
        match self {
            Model::Mlp => Sequential::new()
                .add(Flatten)
                .add(Linear::new(height * width, 512, dev))
                .add(ReLU)
                .add(Linear::new(512, 256, dev))
                .add(ReLU)
                .add(Linear::new(256, 10, dev)),
            Model::Cnn => Sequential::new()
                .add(Conv2d::new(1, 32, [3, 3], dev).padding([1, 1]))
                .add(ReLU)
                .add(MaxPool2d::new([2, 2]))
                .add(Conv2d::new(32, 64, [3, 3], dev).padding([1, 1]))
                .add(ReLU)
                .add(MaxPool2d::new([2, 2]))
                .add(Flatten)
                .add(Dropout::new(0.3))
                .add(Linear::new(64 * (height / 4) * (width / 4), 10, dev)),
        }
    }
}

fn main() -> Result<()> {
    let start = Instant::now();
    let args = Args::parse();
    let ((images, classes), (test_images, test_classes)) = mnist(&args.data).context(WHERE)?;
    let images = images.normalise(&[0.1307], &[0.3081]).shift(if args.augment { 2 } else { 0 });
    let test_images = test_images.normalise(&[0.1307], &[0.3081]);
    let out = args.common.out("mnist")?;
    let dev = args.common.start()?;

    let model = args.model.build(images.shape(), &dev);
    let run = Run {
        model: &model,
        optimizer: AdamW::new(model.params(), args.lr),
        batches: DataLoader::new((images, classes), args.batch, &dev).shuffle(args.common.seed).workers(2),
        step: 0,
        out,
        device: dev.clone(),
    };
    let mut training = Classifier {
        run: run.resumed(&args.common)?,
        test: DataLoader::new((test_images, test_classes), 500, &dev).workers(2),
        epochs: args.epochs,
    };
    let log = training.pad_or_crop(args.lr, start)?;
    training.report(&format!("{}, AdamW", args.data.display()), &log)
}
