//! The embedded dataset: 1,797 drawings of digits, 8x8 grey levels each, with their classes. `DATA.md` names the
//! source.

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use wgrad::data::Column;
use wgrad::{Device, Tensor};

/// Pixels of one digit, 8 rows of 8.
pub const PIXELS: usize = 64;
pub const CLASSES: usize = 10;

const TRAIN: usize = 1437;

pub struct Digits {
    /// Grey levels from 0 (white) to 1 (black), [`PIXELS`] per digit.
    pub pixels: Vec<f32>,
    pub classes: Vec<i32>,
}

impl Digits {
    /// The first 1,437 digits for training, and the last 360 for testing.
    pub fn load() -> Result<(Digits, Digits)> {
        let file = GzDecoder::new(&include_bytes!("digits.csv.gz")[..]);
        let mut rows = csv::ReaderBuilder::new().has_headers(false).from_reader(file);
        let mut train = Digits { pixels: Vec::new(), classes: Vec::new() };
        for row in rows.deserialize() {
            let row: Vec<u8> = row?;
            let (class, levels) = row.split_last().context("a row is empty")?;
            train.pixels.extend(levels.iter().map(|&level| f32::from(level) / 16.0));
            train.classes.push(i32::from(*class));
        }
        let test = Digits {
            pixels: train.pixels.split_off(TRAIN * PIXELS),
            classes: train.classes.split_off(TRAIN),
        };
        Ok((train, test))
    }

    /// Pixels and classes as columns for a data loader.
    pub fn columns(&self) -> (Column<f32>, Column<i32>) {
        (Column::new(self.pixels.clone(), [PIXELS]), Column::new(self.classes.clone(), ()))
    }

    /// All pixels `[digits, 64]` and all classes `[digits]`.
    pub fn tensors(&self, device: &Device) -> (Tensor, Tensor) {
        let digits = self.classes.len();
        (Tensor::new(&self.pixels, [digits, PIXELS], device), Tensor::new(&self.classes, [digits], device))
    }
}
