//! Measures training steps and kernels of known size: the time of a step, the time that the host spends on it, and the
//! share of the adapter's arithmetic and memory throughput that it reaches.
//!
//! `cargo bench --bench workloads [-- W1-512 W2 ...] [--device gpu|cpu] [--json FILE]`. A workload runs in its own
//! process. It warms up, then runs regions that end with reading the result; the median of the regions is reported.
//! With `--against NAME=COMMAND` (another build of this program, or a library of `benches/peers`) the contenders run
//! their regions in turn. `benches/README.md` has the results.

mod cases;
mod chart;
#[path = "../../src/core/clock.rs"]
mod clock;
mod report;
mod turns;

use std::fs::OpenOptions;
use std::io::{Write, stdin};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use wgrad::Device;

use cases::Workload;
use report::Report;
use turns::Contender;

#[derive(Parser)]
struct Args {
    /// W1-256, W1-512, W1-1024 (with -NT or -TN: one matrix transposed), W2 .. W8; all of them if none is named.
    names: Vec<String>,
    #[arg(long, value_enum, default_value = "gpu")]
    device: Where,
    /// Regions of each.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// `NAME=COMMAND`: what to measure in turn with this build. COMMAND gets a workload's name as its last argument.
    #[arg(long, value_name = "NAME=COMMAND")]
    against: Vec<String>,
    /// Add a JSON line a workload and library to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure nothing: compare the libraries by the lines of this file.
    #[arg(long, value_name = "FILE")]
    show: Option<PathBuf>,
    /// Draw the comparison.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Be one that is measured: do as many units of the workload as each line of standard input says.
    #[arg(long)]
    serve: bool,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Where {
    Gpu,
    Cpu,
}

impl Where {
    fn open(self) -> Result<Device> {
        Ok(match self {
            Where::Gpu => Device::gpu()?,
            Where::Cpu => Device::cpu(),
        })
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let report = match &args.show {
        Some(path) => Report::read(path).with_context(|| format!("{} cannot be read", path.display()))?,
        None if args.serve => return serve(&args),
        None => measure(&args)?,
    };
    if !report.compared().is_empty() {
        report.print_comparison();
    }
    if let Some(path) = &args.svg {
        chart::draw(&report, path).with_context(|| format!("{} cannot be drawn", path.display()))?;
    }
    Ok(())
}

fn workload(name: &str) -> Result<Workload> {
    Workload::named(name)
        .with_context(|| format!("there is no workload {name}; there are: {}", cases::NAMES.join(", ")))
}

fn measure(args: &Args) -> Result<Report> {
    let names: Vec<&str> = match &args.names[..] {
        [] => cases::NAMES.to_vec(),
        names => names.iter().map(String::as_str).collect(),
    };
    let workloads: Vec<Workload> = names.into_iter().map(workload).collect::<Result<_>>()?;
    let ceilings = match args.device {
        Where::Gpu => cases::CEILINGS.iter().map(|name| workload(name)).collect::<Result<Vec<_>>>()?,
        Where::Cpu => Vec::new(),
    };
    let mut contenders = vec![ours(args.device)?];
    for against in &args.against {
        let (name, command) = against.split_once('=').context("--against wants NAME=COMMAND")?;
        let command = command.split_whitespace().map(String::from).collect();
        contenders.push(Contender { name: name.into(), command });
    }
    let libraries: Vec<String> = contenders.iter().map(|contender| contender.name.clone()).collect();
    let adapter = args.device.open()?.to_string();
    println!("{adapter}\n");
    Report::print_columns();
    let mut report = Report::default();
    let all =
        ceilings.iter().map(|ceiling| (ceiling, 1)).chain(workloads.iter().map(|w| (w, contenders.len())));
    for (workload, count) in all {
        let rows = turns::measure(workload, &contenders[..count], args.rounds);
        let records = report.add(&adapter, workload, &libraries, &rows);
        if let Some(path) = &args.json {
            append(path, records).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        report.print_row(workload.name);
    }
    Ok(report)
}

fn append(path: &Path, records: &[Value]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    records.iter().try_for_each(|record| writeln!(file, "{record}"))
}

fn ours(device: Where) -> Result<Contender> {
    let program = std::env::current_exe()?.display().to_string();
    let device = device.to_possible_value().expect("none is hidden").get_name().to_string();
    let name = concat!("wgrad ", env!("CARGO_PKG_VERSION")).to_string();
    Ok(Contender { name, command: vec![program, "--serve".into(), "--device".into(), device] })
}

fn serve(args: &Args) -> Result<()> {
    let [name] = &args.names[..] else { bail!("one workload is served at a time") };
    let (workload, device) = (workload(name)?, args.device.open()?);
    let mut unit = cases::unit(workload.name, &device);
    for line in stdin().lines() {
        let units: usize = line?.trim().parse()?;
        let before = device.counters().kernels;
        let (start, worked) = (Instant::now(), clock::thread_time());
        let last = (0..units).map(|_| unit()).last().context("a region has a unit")?;
        let host = (clock::thread_time() - worked).as_secs_f64();
        let value = last.item()?;
        let seconds = start.elapsed().as_secs_f64();
        let kernels = device.counters().kernels - before;
        println!("{}", json!({ "seconds": seconds, "value": value, "host": host, "kernels": kernels }));
    }
    Ok(())
}
