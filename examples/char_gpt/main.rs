//! Trains a GPT on the characters of a text, then generates text.
//!
//! ```text
//! cargo run --release --example char_gpt
//! cargo run --release --example char_gpt -- --text FILE --steps 2000
//! cargo run --release --example char_gpt -- --text FILE --resume out/char_gpt/weights.safetensors --steps 2000 --sample 1000
//! cargo run --release --example char_gpt -- --text FILE --layers 6 --heads 6 --width 384 --context 256 --batch 64 --dropout 0.2
//! ```
//!
//! Without `--text` it learns from a part of this project's source. It writes the curve and the weights to
//! `out/char_gpt`.

#[path = "../common/mod.rs"]
mod common;
mod gpt;
mod text;
mod trace;
mod writer;

use std::f64::consts::PI;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use wgrad::data::{DataLoader, Windows};
use wgrad::metrics::Mean;
use wgrad::nn::Module;
use wgrad::optim::{AdamW, Optimizer};
use wgrad::report::{Log, Panel, Progress, draw};
use wgrad::{Device, Error, no_grad};

use common::args::{Common, count, positive};
use common::run::Run;
use gpt::{Gpt, Sizes};
use text::Text;
use trace::Trace;
use writer::Writer;

/// Trains a GPT on the characters of a text, with AdamW, then generates text
#[derive(Parser)]
#[command(name = "char_gpt")]
struct Args {
    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    sizes: Sizes,

    #[command(flatten)]
    writer: Writer,

    /// The text: the first 90% are for training, the rest for validation [default: a part of this project's source]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,

    /// Total number of steps
    #[arg(long, default_value_t = 500)]
    steps: usize,

    /// Batch size: windows of the text per step
    #[arg(long, default_value_t = 12, value_parser = count)]
    batch: usize,

    /// Learning rate after the warm-up; it decreases to a tenth along a cosine
    #[arg(long, default_value_t = 1e-3, value_parser = positive)]
    lr: f64,

    /// Warm-up steps
    #[arg(long, default_value_t = 100, value_parser = count)]
    warmup: usize,

    /// Steps between validations; each validation saves the weights
    #[arg(long, default_value_t = 100, value_parser = count)]
    every: usize,

    /// Write the initial weights, the batches, learning rates and losses to this folder, so that train.py can repeat
    /// the run with PyTorch
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    args.sizes.check()?;
    let text = Text::load(args.text.as_deref())?;
    let out = args.common.out("char_gpt")?;
    let dev = args.common.start()?;

    let context = args.sizes.context;
    let (train, rest) = text.split();
    ensure!(
        rest.len() > context,
        "{} characters for validation are too few for a context of {context}",
        rest.len()
    );
    let batches = DataLoader::new(Windows::new(train, context), args.batch, &dev)
        .shuffle(args.common.seed)
        .drop_last()
        .workers(1);
    ensure!(!batches.is_empty(), "the text is too short for a batch of {}", args.batch);
    let validation = DataLoader::new(Windows::new(rest, context).stride(context), args.batch, &dev);

    let model = Gpt::new(text.vocabulary.len(), &args.sizes, &dev);
    let mut run = Run {
        model: &model,
        optimizer: AdamW::new(model.params(), args.lr).betas(0.9, 0.99).weight_decay(0.1),
        batches,
        step: 0,
        out,
        device: dev.clone(),
    }
    .resumed(&args.common)?;
    println!("{} characters, {} kinds; {} parameters", text.len(), text.vocabulary.len(), model.num_params());

    let mut trace = args.trace.as_ref().map(|_| Trace::new(&model));
    let mut losses = Mean::new(&dev);
    let columns = ["step", "training loss", "validation loss"];
    let mut log = Log::new(run.out.join("log.csv"), &columns, run.step)?;
    let bar = Progress::new(run.step, args.steps);
    for (x, y) in run.batches.batches().take(args.steps.saturating_sub(run.step)) {
        run.optimizer.set_lr(rate(run.step, &args));
        let loss = model.loss(&x, &y);
        loss.backward();
        losses.add(&loss, args.batch);
        run.optimizer.step();
        run.step += 1;
        bar.step();
        if let Some(trace) = &mut trace {
            trace.add(&x, &y, run.optimizer.lr(), &loss)?;
        }
        if run.step.is_multiple_of(args.every) || run.step == args.steps {
            let (seen, unseen) = (losses.mean()?, validate(&model, &validation, &dev)?);
            losses.reset();
            let step = run.step;
            bar.say(format!("step {step:5}   training loss {seen:.4}   validation loss {unseen:.4}"));
            log.row(&[step as f64, seen, unseen])?;
            run.save()?;
        }
    }
    bar.finish();

    let validations = log.points("step", "validation loss");
    let known = validations.last().map(|(_, loss)| Ok(*loss));
    let panel = Panel::new("steps", "cross-entropy loss (nats a character)")
        .line("training", log.points("step", "training loss"))
        .line("validation", validations);
    let curve = run.out.join("curve.svg");
    draw(&curve, &format!("A GPT of {}", args.sizes), &[panel])?;
    println!("learning curve: {}\nweights:        {}", curve.display(), run.weights().display());
    if let (Some(trace), Some(path)) = (trace, &args.trace) {
        trace.save(path)?;
    }
    args.writer.write(&model, &text.vocabulary, context, args.common.seed, &dev)?;
    println!("validation loss {:.4}", known.unwrap_or_else(|| validate(&model, &validation, &dev))?);
    Ok(())
}

/// Linear warm-up, then half a cosine down to a tenth.
fn rate(step: usize, args: &Args) -> f64 {
    let warm = (step + 1) as f64 / args.warmup as f64;
    let part = (step as f64 - args.warmup as f64) / args.steps.saturating_sub(args.warmup).max(1) as f64;
    let cosine = (1.0 + (PI * part.clamp(0.0, 1.0)).cos()) / 2.0;
    args.lr * warm.min(0.1 + 0.9 * cosine)
}

/// The mean loss over the validation text.
fn validate(model: &Gpt, windows: &DataLoader<Windows>, dev: &Device) -> Result<f64, Error> {
    model.eval();
    let mut losses = Mean::new(dev);
    for (x, y) in windows.epoch() {
        let loss = no_grad(|| model.loss(&x, &y));
        losses.add(&loss, y.numel());
        loss.realize()?; // there is no step that would
    }
    model.train();
    losses.mean()
}
