//! CIFAR-10, the binary version (A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009). Each
//! record is a class and 3 x 32 x 32 bytes of an image; there is no header.

use std::fs;
use std::path::Path;

use super::ten_classes;
use crate::core::error::Error;
use crate::core::files::file_error;
use crate::data::{Column, Images};

const SHAPE: [usize; 3] = [3, 32, 32];
const RECORD: usize = 1 + 3 * 32 * 32;

/// Reads CIFAR-10 from the folder of its binary version. Returns the training images and classes (`data_batch_1.bin` to
/// `data_batch_5.bin`), and the test images and classes (`test_batch.bin`).
///
/// # Errors
///
/// Returns [`Error::File`] if a file is missing or cannot be read, if its size is not a multiple of a record, or if a
/// class is not in 0 to 9.
#[expect(clippy::type_complexity)] // two datasets for a loader
pub fn cifar10(folder: impl AsRef<Path>) -> Result<((Images, Column<i32>), (Images, Column<i32>)), Error> {
    let folder = folder.as_ref();
    let train = [1, 2, 3, 4, 5].map(|number| format!("data_batch_{number}.bin"));
    Ok((read(folder, &train)?, read(folder, &["test_batch.bin".into()])?))
}

fn read(folder: &Path, names: &[String]) -> Result<(Images, Column<i32>), Error> {
    let (mut pixels, mut classes) = (Vec::new(), Vec::new());
    for path in names.iter().map(|name| folder.join(name)) {
        let bytes = fs::read(&path).map_err(|error| file_error(&path, error))?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
            return Err(file_error(
                &path,
                format!("{} bytes are not a multiple of {RECORD}, the size of a record", bytes.len()),
            ));
        }
        let records = bytes.chunks_exact(RECORD);
        classes.extend_from_slice(ten_classes(&path, records.clone().map(|record| record[0]))?.data());
        pixels.extend(records.flat_map(|record| &record[1..]));
    }
    Ok((Images::new(pixels, SHAPE), Column::new(classes, ())))
}
