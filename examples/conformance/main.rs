//! Runs a folder of conformance cases: operations, gradients, programs and optimizers, with the expected results of
//! another library in f64 (see `tests/conformance/README.md` for the format).
//!
//! `cargo run --release --example conformance -- tests/conformance --device gpu --group unary`

mod bad;
mod case;
mod compare;
mod guard;
mod ops;
mod optim;
mod program;
mod suite;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use wgrad::{Device, GpuOptions};

#[derive(Parser)]
#[command(about = "Compares the library with a folder of cases and their answers")]
struct Cli {
    /// The folder with GROUP.json and GROUP.safetensors
    dir: PathBuf,
    /// Device to run on
    #[arg(long, value_enum, default_value = "gpu")]
    device: Backend,
    /// Run only this group
    #[arg(long)]
    group: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Backend {
    Gpu,
    /// The GPU with WebGPU's default limits and no optional features
    Restricted,
    Cpu,
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let device = match cli.device {
        Backend::Gpu => Device::gpu()?,
        Backend::Restricted => Device::gpu_with(&GpuOptions { restricted: true, ..GpuOptions::default() })?,
        Backend::Cpu => Device::cpu(),
    };
    let start = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    let names = match cli.group {
        Some(name) => vec![name],
        None => case::groups(&cli.dir)?,
    };
    for name in names {
        let group = case::Group::read(&cli.dir, &name)?;
        let (good, failures) = suite::run(&group, &device);
        println!("{name}: {good}/{}", group.cases.len());
        for (id, wrong) in &failures {
            println!("  {id}: {wrong}");
        }
        passed += good;
        failed += failures.len();
    }
    println!("{device}: {} kernels, {:.1} s", device.counters().pipelines, start.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
