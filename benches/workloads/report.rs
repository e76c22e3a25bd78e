//! Records of measurements, one JSON line per workload and library, and tables of them.

use std::fs::read_to_string;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::{Value, json};

use crate::cases::{self, Workload};
use crate::turns::Row;

/// Records in order; of a workload and library that were measured again, the last one counts.
#[derive(Default)]
pub struct Report(Vec<Value>);

const COLUMNS: &str = "\
| workload     |          value | first s | second s | dispatches | us a unit |       host us | device us |    GFLOP/s |       GB/s | peak MB |     value read |
|--------------|---------------:|--------:|---------:|-----------:|----------:|--------------:|----------:|-----------:|-----------:|--------:|---------------:|";

impl Report {
    pub fn read(path: &Path) -> Result<Report> {
        let lines = read_to_string(path)?;
        Ok(Report(lines.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?))
    }

    /// The measurements of the libraries on a workload in one run, ours first. Returns the records.
    pub fn add(
        &mut self,
        adapter: &str,
        workload: &Workload,
        libraries: &[String],
        rows: &[Result<Row>],
    ) -> &[Value] {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let (before, ours) = (self.0.len(), rows[0].as_ref().ok().map(Row::seconds));
        for (library, row) in libraries.iter().zip(rows) {
            let mut record = json!({
                "library": library, "workload": workload.name, "adapter": adapter, "commit": commit(),
                "unix_time": time,
            });
            let found = match row {
                Ok(row) => json!({
                    "value": workload.value(row.seconds()), "metric": workload.metric.name(),
                    "first_s": row.first, "second_s": row.second, "unit_s": row.seconds(),
                    "times_ours": ours.map(|ours| row.seconds() / ours),
                    "host_s": row.host(), "device_s": row.device(), "dispatches": row.kernels(),
                    "flops": workload.work.flops, "bytes": workload.work.bytes,
                    "peak_mb": row.peak_mb, "value_read": row.value,
                    "regions_s": row.regions.iter().map(|region| region.seconds).collect::<Vec<_>>(),
                }),
                Err(error) => json!({ "error": format!("{error:#}") }),
            };
            record.as_object_mut().expect("an object").extend(found.as_object().expect("an object").clone());
            self.0.push(record);
        }
        &self.0[before..]
    }

    fn find(&self, library: &str, workload: &str) -> Option<&Value> {
        self.0.iter().rev().find(|record| record["library"] == library && record["workload"] == workload)
    }

    /// In the order of their first record.
    pub fn libraries(&self) -> Vec<&str> {
        let mut libraries: Vec<&str> = Vec::new();
        for library in self.0.iter().filter_map(|record| record["library"].as_str()) {
            if !libraries.contains(&library) {
                libraries.push(library);
            }
        }
        libraries
    }

    /// The workloads that several libraries ran.
    pub fn compared(&self) -> Vec<&'static str> {
        let times = |name: &&str| {
            self.libraries().iter().filter(|library| self.find(library, name).is_some()).count()
        };
        cases::NAMES.into_iter().filter(|name| times(name) > 1).collect()
    }

    pub fn adapter(&self) -> &str {
        self.0.first().and_then(|record| record["adapter"].as_str()).unwrap_or_default()
    }

    /// The speed of a library relative to ours, measured in turn.
    pub fn speed(&self, library: &str, workload: &str) -> Option<f64> {
        Some(1.0 / self.find(library, workload)?["times_ours"].as_f64()?)
    }

    pub fn print_columns() {
        println!("{COLUMNS}");
    }

    /// Our row of a workload.
    pub fn print_row(&self, workload: &str) {
        let ours = self.libraries()[0];
        let record = self.find(ours, workload).expect("it was added");
        if let Some(error) = record["error"].as_str() {
            return println!("| {workload:12} | {error} |");
        }
        let number = |key: &str| record[key].as_f64();
        let rate = |amount: &str, ceiling: &str| {
            let rate = |record: &Value| Some(record[amount].as_f64()? / record["unit_s"].as_f64()?);
            match (rate(record), self.find(ours, ceiling).and_then(rate)) {
                (Some(found), Some(most)) => share(found / 1e9, most / 1e9),
                _ => "-".into(),
            }
        };
        let micros = |key: &str| number(key).map(|seconds| 1e6 * seconds);
        let host = micros("host_s").zip(micros("unit_s")).map_or("-".into(), |(host, all)| share(host, all));
        println!(
            "| {workload:12} | {:>14} | {:>7} | {:>8} | {:>10} | {:>9} | {:>13} | {:>9} | {:>10} | {:>10} | {:>7} | {:>14} |",
            format!("{} {:7}", text(number("value"), 2), record["metric"].as_str().unwrap_or_default()),
            text(number("first_s"), 3),
            text(number("second_s"), 4),
            text(number("dispatches"), 0),
            text(micros("unit_s"), 1),
            host,
            text(micros("device_s"), 1),
            rate("flops", "multiply_add"),
            rate("bytes", "copy"),
            text(number("peak_mb"), 0),
            text(number("value_read"), 6),
        );
    }

    /// A table that compares the libraries.
    pub fn print_comparison(&self) {
        self.side_by_side("Speed (and the time, in times of ours measured in turn)", |record| {
            let number = |key: &str| record[key].as_f64();
            format!("{} ({})", text(number("value"), 2), text(number("times_ours"), 2))
        });
        let column = |key: &'static str, digits| move |record: &Value| text(record[key].as_f64(), digits);
        self.side_by_side("First step, in seconds from the start of the process", column("first_s", 2));
        self.side_by_side("Second step, in seconds", column("second_s", 4));
        self.side_by_side("Most memory resident, in MB", column("peak_mb", 0));
        for record in self.0.iter().filter(|record| record["error"].is_string()) {
            let [workload, library, error] = ["workload", "library", "error"].map(|key| record[key].as_str());
            println!("{}, {}: {}", workload.unwrap_or("?"), library.unwrap_or("?"), error.unwrap_or("?"));
        }
    }

    fn side_by_side(&self, title: &str, cell: impl Fn(&Value) -> String) {
        let libraries = self.libraries();
        println!("\n{title}:\n\n| | {} | |", libraries.join(" | "));
        println!("|---|{}---|", "---:|".repeat(libraries.len()));
        for workload in self.compared() {
            let cells: Vec<String> = libraries
                .iter()
                .map(|library| match self.find(library, workload) {
                    Some(record) if record["error"].is_string() => "failed".into(),
                    Some(record) => cell(record),
                    None => "-".into(),
                })
                .collect();
            let metric = Workload::named(workload).expect("it is known").metric.name();
            println!("| {workload} | {} | {metric} |", cells.join(" | "));
        }
    }
}

fn text(number: Option<f64>, digits: usize) -> String {
    number.map_or("-".into(), |number| format!("{number:.digits$}"))
}

/// A number, and its share of a total.
fn share(part: f64, whole: f64) -> String {
    format!("{part:.1} {:3.0}%", 100.0 * part / whole)
}

/// The commit, and whether there are uncommitted changes.
fn commit() -> Option<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().into())
}
