//! A variational autoencoder of handwritten digits (Kingma and Welling, 2014) with two latent numbers. Afterwards it
//! draws a map of the latent plane: the digit decoded at each point.
//!
//! ```text
//! cargo run --release --example vae
//! ```
//!
//! It writes the map, the learning curve and the weights to `out/vae`.

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)] // the classes are not used
#[path = "../digits/data.rs"]
mod data;

use anyhow::Result;
use clap::Parser;
use wgrad::data::DataLoader;
use wgrad::metrics::Mean;
use wgrad::nn::{Linear, Module, ReLU, Sequential, Visitor};
use wgrad::optim::{AdamW, CosineAnnealingLR, Optimizer, Schedule};
use wgrad::report::{Log, Panel, Progress, draw, draw_pictures};
use wgrad::{Device, Error, Reduction, Tensor, no_grad};

use common::args::{Common, count, positive};
use common::run::Run;
use data::{Digits, PIXELS};

/// Learns to draw digits: a variational autoencoder with two latent numbers, with AdamW
#[derive(Parser)]
#[command(name = "vae")]
struct Args {
    #[command(flatten)]
    common: Common,

    /// Epochs over the 1,437 training digits
    #[arg(long, default_value_t = 100, value_parser = count)]
    epochs: usize,

    /// Batch size
    #[arg(long, default_value_t = 64, value_parser = count)]
    batch: usize,

    /// Initial learning rate; it decreases along a cosine
    #[arg(long, default_value_t = 3e-3, value_parser = positive)]
    lr: f64,
}

const LATENT: usize = 2;

struct Vae {
    encoder: Sequential,
    decoder: Sequential,
}

impl Vae {
    fn new(dev: &Device) -> Vae {
        let layers = |sizes: [usize; 4]| {
            Sequential::new()
                .add(Linear::new(sizes[0], sizes[1], dev))
                .add(ReLU)
                .add(Linear::new(sizes[1], sizes[2], dev))
                .add(ReLU)
                .add(Linear::new(sizes[2], sizes[3], dev))
        };
        Vae { encoder: layers([PIXELS, 256, 128, 2 * LATENT]), decoder: layers([LATENT, 128, 256, PIXELS]) }
    }

    /// The negative evidence lower bound, in nats per digit: the reconstruction error plus the KL divergence.
    fn loss(&self, x: &Tensor) -> Tensor {
        let code = self.encoder.forward(x);
        let (mean, log_variance) = (code.narrow(1, 0, LATENT), code.narrow(1, LATENT as i64, LATENT));
        let z = &mean + (&log_variance * 0.5).exp() * noise(&mean);
        let drawing =
            self.decoder.forward(&z).binary_cross_entropy_with_logits(x, None, None, Reduction::Sum);
        let told = (log_variance.exp() + mean.square() - 1.0 - &log_variance).sum() * 0.5;
        (drawing + told) / x.size(0) as f64
    }
}

/// Normal random numbers, drawn on the device (Box and Muller, 1958).
fn noise(like: &Tensor) -> Tensor {
    let uniform = || Tensor::rand(like.shape(), like.device());
    ((1.0 - uniform()).log() * -2.0).sqrt() * (uniform() * std::f64::consts::TAU).cos()
}

impl Module for Vae {
    /// Decodes two numbers to grey levels.
    fn forward(&self, z: &Tensor) -> Tensor {
        self.decoder.forward(z).sigmoid()
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("encoder", &self.encoder);
        visitor.module("decoder", &self.decoder);
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let out = args.common.out("vae")?;
    let dev = args.common.start()?;

    let model = Vae::new(&dev);
    let (train, test) = Digits::load()?;
    let (unseen, _) = test.tensors(&dev);
    let mut run = Run {
        model: &model,
        optimizer: AdamW::new(model.params(), args.lr),
        batches: DataLoader::new(train.columns(), args.batch, &dev).shuffle(args.common.seed),
        step: 0,
        out,
        device: dev.clone(),
    }
    .resumed(&args.common)?;

    let steps = args.epochs * run.batches.len();
    let schedule = CosineAnnealingLR::new(args.lr, steps);
    let mut log = Log::new(run.out.join("log.csv"), &["epoch", "loss", "test loss"], run.epoch())?;
    let bar = Progress::new(run.step, steps);
    for epoch in run.epoch() + 1..=args.epochs {
        let mut losses = Mean::new(&dev);
        for (x, _) in run.batches.epoch() {
            schedule.apply(run.step, &mut run.optimizer);
            let loss = model.loss(&x);
            loss.backward();
            losses.add(&loss, x.size(0));
            run.optimizer.step();
            run.step += 1;
            bar.step();
        }
        let (seen, unseen) = (losses.mean()?, no_grad(|| model.loss(&unseen)).item()?);
        if epoch.is_multiple_of(10) {
            bar.say(format!("epoch {epoch:3}   loss {seen:.3}   on test digits {unseen:.3}"));
        }
        log.row(&[epoch as f64, seen, unseen])?;
        run.save()?;
    }
    bar.finish();

    let panel = Panel::new("epochs", "negative evidence bound (nats a digit)")
        .line("training", log.points("epoch", "loss"))
        .line("test", log.points("epoch", "test loss"));
    let (curve, map) = (run.out.join("curve.svg"), run.out.join("map.svg"));
    draw(&curve, "Learning to draw digits", &[panel])?;
    draw_pictures(&map, &atlas(&model, &dev)?, [8, 8], SIDE)?;
    println!(
        "map:            {}\nlearning curve: {}\nweights:        {}",
        map.display(),
        curve.display(),
        run.weights().display()
    );
    println!("negative evidence bound on test digits {:.3}", no_grad(|| model.loss(&unseen)).item()?);
    Ok(())
}

/// The number of drawings along each side of the map.
const SIDE: usize = 16;

/// The digits decoded at evenly spaced points.
fn atlas(model: &Vae, dev: &Device) -> Result<Vec<f32>, Error> {
    let place = |i: usize| 4.0 * i as f32 / (SIDE - 1) as f32 - 2.0;
    let places: Vec<f32> = (0..SIDE * SIDE).flat_map(|i| [place(i % SIDE), place(i / SIDE)]).collect();
    no_grad(|| model.forward(&Tensor::new(places, [SIDE * SIDE, LATENT], dev))).to_vec()
}
