//! Tables from CSV files with a header.

use std::path::{Path, PathBuf};

use crate::core::error::Error;
use crate::core::files::file_error;
use crate::data::Column;

/// A table of text. Its columns are converted to numbers or classes on request.
#[derive(Clone, Debug)]
pub struct Table {
    path: PathBuf,
    names: Vec<String>,
    rows: Vec<csv::StringRecord>,
}

/// Reads a CSV file. The first row holds the names of the columns.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("wgrad-doc-{}.csv", std::process::id()));
/// std::fs::write(&path, "length,width,kind\n5.1,3.5,iris\n2.0,4.0,rose\n")?;
/// let table = wgrad::data::read_csv(&path)?;
/// let (inputs, (classes, names)) = (table.numbers(&["length", "width"])?, table.classes("kind")?);
/// assert_eq!(inputs.data(), [5.1, 3.5, 2.0, 4.0]);
/// assert_eq!((classes.data(), &names[..]), (&[0, 1][..], &["iris".to_owned(), "rose".to_owned()][..]));
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Returns [`Error::File`] if the file cannot be read, or if a row has another number of cells than the header.
pub fn read_csv(path: impl AsRef<Path>) -> Result<Table, Error> {
    let path = path.as_ref();
    let read = || {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path)?;
        let names = reader.headers()?.iter().map(str::to_owned).collect();
        let rows = reader.records().collect::<Result<_, _>>()?;
        Ok(Table { path: path.to_owned(), names, rows })
    };
    read().map_err(|error: csv::Error| file_error(path, error))
}

impl Table {
    /// Returns the names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the number of rows below the header.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Converts columns to numbers. Each row becomes a sample of shape `[names.len()]`.
    ///
    /// # Errors
    ///
    /// Returns [`Error::File`] if there is no such column, or if a cell is not a number.
    ///
    /// # Panics
    ///
    /// Panics if `names` is empty.
    pub fn numbers(&self, names: &[&str]) -> Result<Column<f32>, Error> {
        let places = names.iter().map(|name| self.place(name)).collect::<Result<Vec<_>, _>>()?;
        let cells =
            self.rows.iter().enumerate().flat_map(|row| places.iter().map(move |&place| (row, place)));
        let number = |((row, cells), place): ((usize, &csv::StringRecord), usize)| {
            let (text, column) = (&cells[place], &self.names[place]);
            let reason = || format!("row {}, column {column:?}: {text:?} is not a number", row + 1);
            text.parse::<f32>().map_err(|_| file_error(&self.path, reason()))
        };
        Ok(Column::new(cells.map(number).collect::<Result<_, _>>()?, [names.len()]))
    }

    /// Converts a column to class indices. Returns the indices and the class names, which are sorted.
    ///
    /// # Errors
    ///
    /// Returns [`Error::File`] if there is no such column.
    pub fn classes(&self, name: &str) -> Result<(Column<i32>, Vec<String>), Error> {
        let place = self.place(name)?;
        let mut names: Vec<String> = self.rows.iter().map(|row| row[place].to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        let number = |row: &csv::StringRecord| names.partition_point(|name| **name < row[place]) as i32;
        Ok((Column::new(self.rows.iter().map(number).collect(), ()), names))
    }

    fn place(&self, name: &str) -> Result<usize, Error> {
        let found = self.names.iter().position(|known| known == name);
        found.ok_or_else(|| {
            file_error(&self.path, format!("there is no column {name:?}, only {:?}", self.names))
        })
    }
}
