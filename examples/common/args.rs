//! Options that every example has, and the device that they ask for.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use wgrad::Device;

#[derive(Args)]
pub struct Common {
    /// Where to train
    #[arg(long, value_enum, default_value_t = On::Auto)]
    device: On,

    /// Seed of the first weights and of the batches' order
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Folder for what is left behind, created if need be [default: out/ and the example's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Go on from this file of an earlier run
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
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

impl Common {
    /// Opens the device and seeds the generator. Says so if it is not the GPU that was hoped for.
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

    /// The folder for what is left behind.
    pub fn out(&self, example: &str) -> Result<PathBuf> {
        let folder = self.out.clone().unwrap_or_else(|| ["out", example].iter().collect());
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be created", folder.display()))?;
        Ok(folder)
    }
}

/// More steps than any run has, and far from overflow.
const MAX_COUNT: usize = 1_000_000_000;

/// A number that is at least 1.
pub fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MAX_COUNT).contains(&number) => Ok(number),
        _ => Err(format!("must be an integer from 1 to {MAX_COUNT}")),
    }
}

/// A number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("a number above 0 is wanted".into()),
    }
}
