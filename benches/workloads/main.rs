//! Training steps and kernels of known size: what a step costs, and what of it is the host's.
//!
//! `cargo bench --bench workloads [-- W1-512 W2 ...] [--device gpu|cpu] [--json FILE]`. Every workload warms up first,
//! then runs regions that end with the result read back, in turn with the others; the median of the regions is
//! reported. `benches/README.md` keeps the record.

mod cases;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use wgrad::Device;

use cases::Case;

const REGIONS: usize = 7;

#[derive(Parser)]
struct Args {
    /// W1-256, W1-512, W1-1024 (with -NT or -TN: one matrix transposed), W2 .. W8; all of them if none is named.
    names: Vec<String>,
    #[arg(long, value_enum, default_value = "gpu")]
    device: Where,
    /// Write a JSON line a workload here too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Where {
    Gpu,
    Cpu,
}

/// What was measured of a workload. Times are seconds a unit.
struct Row {
    case: Case,
    first: f64,
    dispatches: usize,
    regions: Vec<Region>,
    last: f64,
}

#[derive(Clone, Copy)]
struct Region {
    all: f64,
    /// Building, planning, recording, submitting: until the last unit has been handed over.
    host: f64,
}

impl Row {
    fn warm_up(mut case: Case, device: &Device) -> Result<Row> {
        let start = Instant::now();
        cases::read(&(case.unit)())?;
        let first = start.elapsed().as_secs_f64();
        cases::read(&(case.unit)())?;
        let before = device.counters().kernels;
        cases::read(&(case.unit)())?;
        let dispatches = device.counters().kernels - before;
        let mut row = Row { case, first, dispatches, regions: Vec::new(), last: 0.0 };
        row.region()?;
        row.regions.clear();
        Ok(row)
    }

    fn region(&mut self) -> Result<()> {
        let units = self.case.units;
        let start = Instant::now();
        let mut last = (self.case.unit)();
        for _ in 1..units {
            last = (self.case.unit)();
        }
        let host = start.elapsed().as_secs_f64() / units as f64;
        self.last = cases::read(&last)?;
        self.regions.push(Region { all: start.elapsed().as_secs_f64() / units as f64, host });
        Ok(())
    }

    fn median(&self) -> Region {
        let mut regions = self.regions.clone();
        regions.sort_by(|a, b| a.all.total_cmp(&b.all));
        regions[regions.len() / 2]
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = match args.device {
        Where::Gpu => Device::gpu()?,
        Where::Cpu => Device::cpu(),
    };
    println!("{device}");
    let names: Vec<&str> = match &args.names[..] {
        [] => cases::NAMES.to_vec(),
        names => names.iter().map(String::as_str).collect(),
    };
    let mut rows = Vec::new();
    for name in names {
        let Some(case) = cases::case(name, &device) else {
            bail!("there is no workload {name}; there are: {}", cases::NAMES.join(", "))
        };
        rows.push(Row::warm_up(case, &device)?);
    }
    for _ in 0..REGIONS {
        rows.iter_mut().try_for_each(Row::region)?;
    }
    println!("workload        value            first s  dispatches    us a unit  host us   last value");
    for row in &rows {
        let (metric, median) = (row.case.metric, row.median());
        println!(
            "{:10} {:10.2} {:8} {:12.3} {:11} {:12.1} {:8.1} {:12.6}",
            row.case.name,
            metric.value(median.all),
            metric.name(),
            row.first,
            row.dispatches,
            1e6 * median.all,
            1e6 * median.host,
            row.last,
        );
    }
    if let Some(path) = &args.json {
        write(path, &device, &rows).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

fn write(path: &PathBuf, device: &Device, rows: &[Row]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    for row in rows {
        let (metric, median) = (row.case.metric, row.median());
        let line = serde_json::json!({
            "peer": concat!("wgrad ", env!("CARGO_PKG_VERSION")), "adapter": device.to_string(),
            "workload": row.case.name, "metric": metric.name(), "value": metric.value(median.all),
            "first_s": row.first, "dispatches": row.dispatches, "unit_s": median.all, "host_s": median.host,
            "last_value": row.last,
        });
        writeln!(file, "{line}")?;
    }
    Ok(())
}
