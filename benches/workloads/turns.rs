//! Runs libraries in turn on one workload. Each is a process that reads a number of units per line, runs them, and answers
//! with a JSON line after it has read the result.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cases::Workload;

/// A library under measurement, or another build of this one.
pub struct Contender {
    pub name: String,
    /// The program and its arguments; the workload's name comes last.
    pub command: Vec<String>,
}

/// The measurement of one region. Times are in seconds.
#[derive(Clone, Copy)]
pub struct Region {
    pub units: usize,
    pub seconds: f64,
    /// The value that was read at the end.
    pub value: f64,
    /// CPU time of the thread that submitted the units.
    pub host: Option<f64>,
    pub kernels: Option<usize>,
}

/// The measurements of a contender.
pub struct Row {
    /// From the start of the process until the first result was read.
    pub first: f64,
    pub second: f64,
    /// After two units and a region.
    pub value: f64,
    /// Single units, and regions of several, in turn.
    pub single: Vec<Region>,
    pub regions: Vec<Region>,
    /// Peak resident memory, if the system reports it.
    pub peak_mb: Option<f64>,
}

impl Row {
    /// Seconds per unit.
    pub fn seconds(&self) -> f64 {
        median(self.regions.iter().map(|region| region.seconds / region.units as f64))
            .expect("it has regions")
    }

    /// Seconds per unit for building the graph, differentiation, recording and submission.
    pub fn host(&self) -> Option<f64> {
        median(self.regions.iter().filter_map(|region| Some(region.host? / region.units as f64)))
    }

    /// The additional time of a single unit until its result is read.
    pub fn device(&self) -> Option<f64> {
        median(self.single.iter().filter_map(|unit| Some(unit.seconds - unit.host?)))
    }

    pub fn kernels(&self) -> Option<usize> {
        self.single.first()?.kernels
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Warms up every contender, then lets them run one region each in turn. A contender fails on its own: with a message, or
/// if its value differs from the first contender's.
pub fn measure(workload: &Workload, contenders: &[Contender], rounds: usize) -> Vec<Result<Row>> {
    let mut expected: Option<[f64; 3]> = None;
    let mut rows: Vec<Result<(Process, Row)>> = Vec::new();
    for contender in contenders {
        let started = Process::start(contender, workload, &expected);
        if let (None, Ok((.., values))) = (expected, &started) {
            expected = Some(*values);
        }
        rows.push(started.map(|(process, row, _)| (process, row)));
    }
    for _ in 0..rounds {
        for entry in &mut rows {
            let Ok((process, row)) = entry else { continue };
            if let Err(error) = process.round(row, workload.units) {
                *entry = Err(error);
            }
        }
    }
    rows.into_iter().map(|entry| entry.and_then(|(process, row)| process.end(row))).collect()
}

struct Process {
    child: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(
        contender: &Contender,
        workload: &Workload,
        expected: &Option<[f64; 3]>,
    ) -> Result<(Process, Row, [f64; 3])> {
        let [program, arguments @ ..] = &contender.command[..] else { bail!("it has no command") };
        let start = Instant::now();
        let mut child = Command::new(program)
            .args(arguments)
            .arg(workload.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{program} does not start"))?;
        let ask = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut process = Process { child, ask, answers };
        let mut values = [0.0; 3];
        let mut region = |at: usize, units| {
            let region = process.region(units)?;
            values[at] = region.value;
            if let Some(expected) = expected {
                let (found, expected) = (region.value, expected[at]);
                ensure!((found - expected).abs() <= 1e-3 * expected.abs(), "wrong: {found}, not {expected}");
            }
            Ok(region)
        };
        region(0, 1)?;
        let first = start.elapsed().as_secs_f64();
        let second = region(1, 1)?.seconds;
        let value = region(2, workload.units)?.value;
        let row = Row { first, second, value, single: Vec::new(), regions: Vec::new(), peak_mb: None };
        Ok((process, row, values))
    }

    fn round(&mut self, row: &mut Row, units: usize) -> Result<()> {
        row.single.push(self.region(1)?);
        row.regions.push(self.region(units)?);
        Ok(())
    }

    fn region(&mut self, units: usize) -> Result<Region> {
        writeln!(self.ask, "{units}").context("it has ended")?;
        let answer = loop {
            let line = self.answers.next().context("it has ended")??;
            if line.starts_with('{') {
                break serde_json::from_str::<Value>(&line).with_context(|| line.clone())?;
            }
        };
        let number = |name: &str| answer[name].as_f64();
        Ok(Region {
            units,
            seconds: number("seconds").with_context(|| format!("no seconds in {answer}"))?,
            value: number("value").with_context(|| format!("no value in {answer}"))?,
            host: number("host"),
            kernels: number("kernels").map(|kernels| kernels as usize),
        })
    }

    fn end(mut self, mut row: Row) -> Result<Row> {
        row.peak_mb = peak_mb(self.child.id());
        drop(self.ask);
        self.child.wait()?;
        Ok(row)
    }
}

/// `VmHWM`, which Linux has.
fn peak_mb(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}
