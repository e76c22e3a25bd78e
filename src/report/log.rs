//! The log of a run as a CSV file.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use crate::core::error::Error;
use crate::core::files::{file_error, write_whole};
use crate::core::shape::refuse;

/// Numbers per step or epoch in a CSV file. The first column is the step or the epoch. Any tool can plot the file, and
/// a resumed run continues it.
///
/// ```
/// # fn main() -> Result<(), wgrad::Error> {
/// use wgrad::report::Log;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("log.csv");
/// let mut log = Log::new(&path, &["epoch", "loss"], 0)?;
/// log.row(&[1.0, 2.5])?;
/// log.row(&[2.0, 1.5])?; // after the last checkpoint
/// drop(log); // killed
///
/// let mut log = Log::new(&path, &["epoch", "loss"], 1)?; // resumed after epoch 1
/// log.row(&[2.0, 1.25])?;
/// assert_eq!(log.points("epoch", "loss"), [(1.0, 2.5), (2.0, 1.25)]);
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "epoch,loss\n1,2.5\n2,1.25\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    columns: Vec<String>,
    rows: Vec<Vec<f64>>,
    file: csv::Writer<File>,
}

impl Log {
    /// Opens the log of a run that has finished `done` steps or epochs. Rows of an existing file are kept if their
    /// first number is at most `done`. If `done` is 0, the file is overwritten.
    ///
    /// # Errors
    ///
    /// Returns [`Error::File`] if the file cannot be read or written, or if it has other columns.
    pub fn new(path: impl AsRef<Path>, columns: &[&str], done: usize) -> Result<Log, Error> {
        let path = path.as_ref();
        let mut rows = if done > 0 && path.exists() { read(path, columns)? } else { Vec::new() };
        rows.retain(|row| row[0] <= done as f64);
        let write = || {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(columns)?;
            rows.iter().try_for_each(|row| writer.write_record(row.iter().map(f64::to_string)))?;
            write_whole(path, &writer.into_inner().map_err(|error| error.into_error())?)?;
            Ok(csv::Writer::from_writer(OpenOptions::new().append(true).open(path)?))
        };
        let file = write().map_err(|error: csv::Error| file_error(path, error))?;
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        Ok(Log { path: path.to_owned(), columns, rows, file })
    }

    /// Appends a row with one number per column and flushes it to the file.
    ///
    /// # Errors
    ///
    /// Returns [`Error::File`] if the file cannot be written.
    ///
    /// # Panics
    ///
    /// Panics if the number of numbers differs from the number of columns.
    #[track_caller]
    pub fn row(&mut self, numbers: &[f64]) -> Result<(), Error> {
        if numbers.len() != self.columns.len() {
            refuse!(
                "Log",
                "expects one number per column, got {} numbers for {:?}",
                numbers.len(),
                self.columns
            );
        }
        let written = self.file.write_record(numbers.iter().map(f64::to_string));
        let written = written.and_then(|()| Ok(self.file.flush()?));
        self.rows.push(numbers.to_vec());
        written.map_err(|error| file_error(&self.path, error))
    }

    /// The points of a curve: one column against another, from the first row.
    ///
    /// # Panics
    ///
    /// Panics if there is no such column.
    #[track_caller]
    pub fn points(&self, x: &str, y: &str) -> Vec<(f64, f64)> {
        let (x, y) = (self.place(x), self.place(y));
        self.rows.iter().map(|row| (row[x], row[y])).collect()
    }

    #[track_caller]
    fn place(&self, name: &str) -> usize {
        match self.columns.iter().position(|column| column == name) {
            Some(place) => place,
            None => refuse!("Log", "there is no column {name:?}, only {:?}", self.columns),
        }
    }
}

/// Reads the rows of a file with these columns.
fn read(path: &Path, columns: &[&str]) -> Result<Vec<Vec<f64>>, Error> {
    let in_file = |error: csv::Error| file_error(path, error);
    let mut reader = csv::Reader::from_path(path).map_err(in_file)?;
    let found = reader.headers().map_err(in_file)?;
    if found != columns {
        return Err(file_error(path, format!("its columns are {found:?} instead of {columns:?}")));
    }
    reader.deserialize().collect::<Result<_, _>>().map_err(in_file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_run_that_begins_overwrites_and_one_that_is_resumed_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        fs::write(&path, "something else").unwrap();
        let mut log = Log::new(&path, &["step", "loss, in nats"], 0).unwrap();
        let numbers = [0.1 + 0.2, f64::NAN, f64::NEG_INFINITY, 1e-300];
        numbers.iter().zip(1..).for_each(|(&x, step)| log.row(&[step.into(), x]).unwrap());
        let whole = fs::read_to_string(&path).unwrap();
        assert_eq!(
            whole,
            format!("step,\"loss, in nats\"\n1,0.30000000000000004\n2,NaN\n3,-inf\n4,{}\n", 1e-300)
        );

        // After its last row, and then after its third.
        drop(Log::new(&path, &["step", "loss, in nats"], 9).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        let log = Log::new(&path, &["step", "loss, in nats"], 3).unwrap();
        let steps: Vec<f64> = log.points("step", "loss, in nats").iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, [1.0, 2.0, 3.0]);

        // There is no file to continue.
        fs::remove_file(&path).unwrap();
        assert_eq!(Log::new(&path, &["step", "loss"], 3).unwrap().points("step", "loss"), []);
    }

    #[test]
    fn a_file_of_another_run_is_refused_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        for text in ["epoch,loss\n1,2\n", "step,loss\n1,much\n", "step,loss\n1\n", ""] {
            fs::write(&path, text).unwrap();
            let error = Log::new(&path, &["step", "loss"], 1).expect_err(text);
            assert!(matches!(&error, Error::File { path: named, .. } if *named == path), "{error:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let absent = folder.path().join("absent").join("log.csv");
        assert!(matches!(Log::new(&absent, &["step"], 0), Err(Error::File { .. })));
    }
}
