//! Options of all examples, and the device they select.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use wgrad::Device;

#[derive(Args)]
pub struct Common {
    /// Device to train on
    #[arg(long, value_enum, default_value_t = On::Auto)]
    device: On,

    /// Seed of the initial weights and of the order of the batches
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Output folder, created if necessary [default: out/ and the name of the example]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Resume from this file of an earlier run
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum On {
    /// The GPU; without one it is an error
    Gpu,
    /// The CPU reference, in f64
    Cpu,
    /// The GPU, or the CPU reference if there is no GPU
    Auto,
}

impl Common {
    /// Opens the device and seeds the generator. Prints a note if it falls back to the CPU reference.
    pub fn start(&self) -> Result<Device> {
        let device = match self.device {
            On::Gpu => Device::gpu()?,
            On::Cpu => Device::cpu(),
            On::Auto => Device::gpu().unwrap_or_else(|error| {
                println!("The CPU reference trains instead of a GPU: {error}");
                Device::cpu()
            }),
        };
        println!("Training on {device}\n");
        wgrad::manual_seed(self.seed);
        Ok(device)
    }

    /// The output folder.
    pub fn out(&self, example: &str) -> Result<PathBuf> {
        let folder = self.out.clone().unwrap_or_else(|| ["out", example].iter().collect());
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be created", folder.display()))?;
        Ok(folder)
    }
}

/// More steps than any run has, and far from overflow.
const MAX_COUNT: usize = 1_000_000_000;

/// Parses a number that is at least 1.
pub fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MAX_COUNT).contains(&number) => Ok(number),
        _ => Err(format!("expected an integer from 1 to {MAX_COUNT}")),
    }
}

/// Parses a number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("a number above 0 is wanted".into()),
    }
}
