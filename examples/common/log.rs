//! What a run showed, as rows of a CSV file.

use std::fs::{File, OpenOptions};
use std::path::Path;

use anyhow::{Context, Result};

pub struct Log(csv::Writer<File>);

impl Log {
    /// `log.csv` in the folder: begun with the names of its columns, or gone on with after so many steps.
    pub fn new(folder: &Path, columns: &[&str], step: usize) -> Result<Log> {
        let path = folder.join("log.csv");
        let goes_on = step > 0 && path.exists();
        let file = OpenOptions::new().create(true).write(true).append(goes_on).truncate(!goes_on).open(&path);
        let mut writer =
            csv::Writer::from_writer(file.with_context(|| format!("{} cannot be written", path.display()))?);
        if !goes_on {
            writer.write_record(columns)?;
        }
        Ok(Log(writer))
    }

    /// A row, which is in the file from now on.
    pub fn row(&mut self, values: &[f64]) -> Result<()> {
        self.0.write_record(values.iter().map(f64::to_string))?;
        Ok(self.0.flush()?)
    }
}
