//! Images as bytes, and the usual augmentations.

use super::Dataset;
use crate::core::random;
use crate::core::shape::{Shape, refuse};
use crate::graph::Device;
use crate::tensor::Tensor;

/// Images of one size as bytes on the host, `[images, channels, height, width]`. Their batches are tensors with values
/// from 0 to 1.
///
/// [`shift`](Images::shift), [`crop`](Images::crop) and [`flip`](Images::flip) change each image randomly whenever it
/// is loaded. The random numbers come from the thread's generator; in a [`DataLoader`](super::DataLoader) they depend
/// on its seed.
///
/// ```
/// use wgrad::data::{Dataset, Images};
/// let images = Images::new(vec![0, 51, 102, 255], [1, 2, 2]).normalise(&[0.5], &[0.5]);
/// let x = images.batch(&[0], &wgrad::Device::cpu());
/// assert_eq!(x.shape()[..], [1, 1, 2, 2]);
/// assert_eq!(x.to_vec::<f32>().unwrap()[3], 1.0);
/// ```
#[derive(Clone, Debug)]
pub struct Images {
    pixels: Vec<u8>,
    channels: usize,
    size: [usize; 2],
    window: [usize; 2],
    shift: usize,
    flip: bool,
    /// For each channel, the mean to subtract and the factor to multiply by.
    normal: Vec<(f32, f32)>,
}

impl Images {
    /// Creates a dataset of images. `shape` is channels, height and width of an image.
    ///
    /// # Panics
    ///
    /// Panics if `shape` contains 0, or if `pixels.len()` is not a multiple of the bytes of an image.
    #[track_caller]
    pub fn new(pixels: Vec<u8>, shape: [usize; 3]) -> Images {
        let [channels, height, width] = shape;
        let bytes = shape.iter().product::<usize>();
        if bytes == 0 || !pixels.len().is_multiple_of(bytes) {
            refuse!("images", "{} bytes are not a multiple of the image shape {shape:?}", pixels.len());
        }
        let (size, normal) = ([height, width], vec![(0.0, 1.0 / 255.0); channels]);
        Images { pixels, channels, size, window: size, shift: 0, flip: false, normal }
    }

    /// Shifts each image by up to `pixels` pixels vertically and horizontally. The new border is black (0). `shift(4)`
    /// is the usual padding and cropping for CIFAR-10.
    pub fn shift(mut self, pixels: usize) -> Images {
        self.shift = pixels;
        self
    }

    /// Crops a window of this height and width at a random position.
    ///
    /// # Panics
    ///
    /// Panics if the window contains 0 or is larger than the image.
    #[track_caller]
    pub fn crop(mut self, window: [usize; 2]) -> Images {
        if window.contains(&0) || window[0] > self.size[0] || window[1] > self.size[1] {
            refuse!("crop", "the window {window:?} does not fit into images of {:?}", self.size);
        }
        self.window = window;
        self
    }

    /// Mirrors an image horizontally with probability 0.5.
    pub fn flip(mut self) -> Images {
        self.flip = true;
        self
    }

    /// Subtracts the mean of each channel and divides by its standard deviation, both on the scale from 0 to 1.
    ///
    /// # Panics
    ///
    /// Panics if there is not one mean and one standard deviation per channel, or if a standard deviation is 0.
    #[track_caller]
    pub fn normalise(mut self, mean: &[f32], std: &[f32]) -> Images {
        if mean.len() != self.channels || std.len() != self.channels || std.contains(&0.0) {
            refuse!(
                "normalise",
                "expects one mean and one std > 0 per channel, got {mean:?} and {std:?} for {} channels",
                self.channels
            );
        }
        self.normal = mean.iter().zip(std).map(|(mean, std)| (255.0 * mean, 1.0 / (255.0 * std))).collect();
        self
    }

    /// Returns the bytes, one image after another.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Returns the channels, height and width of an image in a batch.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.window[0], self.window[1]]
    }

    /// Computes the top left corner of the window from two random numbers in [0, 1).
    fn corner(&self, random: &[f32]) -> [isize; 2] {
        [0, 1].map(|dim| {
            let places = self.size[dim] - self.window[dim] + 2 * self.shift + 1;
            (random[dim] * places as f32) as isize - self.shift as isize
        })
    }

    /// Appends one image as floats.
    fn append(&self, image: usize, random: &[f32], floats: &mut Vec<f32>) {
        let [height, width] = self.size.map(|size| size as isize);
        let ([top, left], mirrored) = (self.corner(random), self.flip && random[2] < 0.5);
        for (channel, (mean, scale)) in self.normal.iter().enumerate() {
            let plane = (image * self.channels + channel) * self.size[0] * self.size[1];
            for row in 0..self.window[0] as isize {
                for column in 0..self.window[1] as isize {
                    let column = if mirrored { self.window[1] as isize - 1 - column } else { column };
                    let (y, x) = (top + row, left + column);
                    let inside = (0..height).contains(&y) && (0..width).contains(&x);
                    let byte = if inside { self.pixels[plane + (y * width + x) as usize] } else { 0 };
                    floats.push((f32::from(byte) - mean) * scale);
                }
            }
        }
    }
}

impl Dataset for Images {
    type Batch = Tensor;

    fn len(&self) -> usize {
        self.pixels.len() / (self.channels * self.size[0] * self.size[1])
    }

    fn batch(&self, samples: &[usize], device: &Device) -> Tensor {
        let shape: Shape = [samples.len()].into_iter().chain(self.shape()).collect();
        let random = random::next_stream().uniform(3 * samples.len());
        let mut floats = Vec::with_capacity(shape.numel());
        for (&image, random) in samples.iter().zip(random.chunks_exact(3)) {
            self.append(image, random, &mut floats);
        }
        Tensor::new(floats, shape, device)
    }
}
