//! Datasets in files. A truncated or damaged file gives an error with its name and the reason.

mod cifar;
mod idx;
mod table;

pub use cifar::cifar10;
pub use idx::{Idx, mnist, read_idx};
pub use table::{Table, read_csv};

use super::Column;
use crate::core::error::Error;
use crate::core::files::file_error;
use std::path::Path;

/// Converts class numbers from 0 to 9 to a column.
fn ten_classes(path: &Path, labels: impl Iterator<Item = u8>) -> Result<Column<i32>, Error> {
    let label = |(i, label): (usize, u8)| match label {
        0..10 => Ok(i32::from(label)),
        _ => Err(file_error(path, format!("label {label} of sample {i} is not in 0 to 9"))),
    };
    Ok(Column::new(labels.enumerate().map(label).collect::<Result<_, _>>()?, ()))
}
