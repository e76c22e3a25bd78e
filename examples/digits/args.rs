//! The command line, and the device that it asks for.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use wgrad::{Device, Error};

/// Trains a 64-128-64-10 network to read handwritten digits, with AdamW
#[derive(Parser)]
#[command(name = "digits")]
pub struct Args {
    /// Where to train
    #[arg(long, value_enum, default_value_t = On::Auto)]
    device: On,

    /// How often all 1,437 training digits are seen
    #[arg(long, default_value_t = 30, value_parser = count, allow_negative_numbers = true)]
    pub epochs: usize,

    /// Digits in a step
    #[arg(long, default_value_t = 64, value_parser = count, allow_negative_numbers = true)]
    pub batch: usize,

    /// Learning rate
    #[arg(long, default_value_t = 2e-3, value_parser = rate, allow_negative_numbers = true)]
    pub lr: f64,

    /// Seed of the first weights and of the batches' order
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Folder for the learning curve and the weights, created if need be
    #[arg(long, value_name = "DIR", default_value = "out/digits")]
    pub out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum On {
    /// The GPU; without one it is an error
    Gpu,
    /// The CPU reference, in f64
    Cpu,
    /// The GPU if there is one, else the CPU reference
    Auto,
}

impl Args {
    /// Opens the device. Says so if it is not the GPU that was hoped for.
    pub fn device(&self) -> Result<Device, Error> {
        match self.device {
            On::Gpu => Device::gpu(),
            On::Cpu => Ok(Device::cpu()),
            On::Auto => Ok(Device::gpu().unwrap_or_else(|error| {
                println!("The CPU reference trains instead of a GPU: {error}");
                Device::cpu()
            })),
        }
    }
}

/// So many steps are never reached, and their number stays far from overflow.
const MOST: usize = 1_000_000_000;

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MOST).contains(&number) => Ok(number),
        _ => Err(format!("a whole number from 1 to {MOST} is wanted")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("a number above 0 is wanted".into()),
    }
}
