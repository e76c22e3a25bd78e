//! IDX, the file format of MNIST and Fashion-MNIST (Y. LeCun, C. Cortes, C. Burges, *The MNIST database of handwritten
//! digits*): two zero bytes, the type of the elements, the number of dims, each size as a big-endian u32, then the
//! elements.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use super::ten_classes;
use crate::core::error::Error;
use crate::core::files::file_error;
use crate::data::{Column, Images};

/// An array of bytes read from a file.
#[derive(Clone, Debug)]
pub struct Idx {
    /// The sizes of the dims, outermost first.
    pub shape: Vec<usize>,
    /// The elements in row-major order.
    pub data: Vec<u8>,
}

/// The code of the element type "unsigned byte", the only type of images and labels.
const UNSIGNED_BYTE: u8 = 0x08;

/// Reads an IDX file of bytes. It may be compressed with gzip.
///
/// # Errors
///
/// Returns [`Error::File`] if the file cannot be read, is not an IDX file of bytes, or if its size differs from the
/// size in its header.
pub fn read_idx(path: impl AsRef<Path>) -> Result<Idx, Error> {
    let path = path.as_ref();
    let parsed = open(path).map_err(|error| error.to_string()).and_then(|mut file| parse(&mut file));
    parsed.map_err(|reason| file_error(path, reason))
}

/// Opens the file, with decompression if it begins with the gzip magic number.
fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::new(File::open(path)?);
    let packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if packed { Box::new(GzDecoder::new(file)) } else { Box::new(file) })
}

fn parse(file: &mut dyn Read) -> Result<Idx, String> {
    let cut_off = |error: io::Error| format!("the header is incomplete: {error}");
    let mut magic = [0; 4];
    file.read_exact(&mut magic).map_err(cut_off)?;
    let [0, 0, kind, dims] = magic else {
        return Err(format!("it begins with {magic:02x?} and is not an IDX file"));
    };
    if kind != UNSIGNED_BYTE {
        return Err(format!("the element type is {kind:#04x}, not unsigned byte ({UNSIGNED_BYTE:#04x})"));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        let mut size = [0; 4];
        file.read_exact(&mut size).map_err(cut_off)?;
        shape.push(u32::from_be_bytes(size) as usize);
    }
    let promised = shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size as u64));
    let Some(promised) = promised.filter(|&bytes| bytes < u64::MAX) else {
        return Err(format!("the shape {shape:?} is too large"));
    };
    // Reads at most one byte more than the size in the header, which is enough to detect surplus bytes. Memory is
    // allocated only for bytes that exist.
    let mut data = Vec::new();
    file.take(promised + 1).read_to_end(&mut data).map_err(|error| error.to_string())?;
    match data.len() as u64 {
        found if found > promised => {
            Err(format!("there are more than the {promised} bytes of shape {shape:?}"))
        }
        found if found < promised => {
            Err(format!("expected {promised} bytes for shape {shape:?}, found {found}"))
        }
        _ => Ok(Idx { shape, data }),
    }
}

/// Reads MNIST, Fashion-MNIST or another dataset in the same four files. Returns the training images and classes, and
/// the test images and classes.
///
/// The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
/// `t10k-labels-idx1-ubyte`. Each may be compressed and end in `.gz`.
///
/// # Errors
///
/// Returns [`Error::File`] if a file is missing or is not an IDX file of bytes, if the numbers of images and labels
/// differ, or if a class is not in 0 to 9.
#[expect(clippy::type_complexity)] // two datasets for a loader
pub fn mnist(folder: impl AsRef<Path>) -> Result<((Images, Column<i32>), (Images, Column<i32>)), Error> {
    let folder = folder.as_ref();
    Ok((pair(folder, "train")?, pair(folder, "t10k")?))
}

fn pair(folder: &Path, part: &str) -> Result<(Images, Column<i32>), Error> {
    let image_path = find(folder, &format!("{part}-images-idx3-ubyte"))?;
    let label_path = find(folder, &format!("{part}-labels-idx1-ubyte"))?;
    let (images, labels) = (read_idx(&image_path)?, read_idx(&label_path)?);
    let (&[count, height, width], false) = (&images.shape[..], images.data.is_empty()) else {
        return Err(file_error(
            &image_path,
            format!("expected images [count, height, width], got shape {:?}", images.shape),
        ));
    };
    if labels.shape != [count] {
        return Err(file_error(
            &label_path,
            format!("expected {count} labels, got shape {:?}", labels.shape),
        ));
    }
    let classes = ten_classes(&label_path, labels.data.into_iter())?;
    Ok((Images::new(images.data, [1, height, width]), classes))
}

/// Returns the path of the file with this name, or of its `.gz` version.
fn find(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    let candidates = [folder.join(name), folder.join(format!("{name}.gz"))];
    let found = candidates.into_iter().find(|path| path.exists());
    found.ok_or_else(|| file_error(&folder.join(name), "there is no such file, nor one with .gz"))
}
