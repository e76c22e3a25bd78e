//! `Device::tune`: measures the variants of the matrix product.
//!
//! In: a device. Out: the costs of the variants, which determine the choice of kernels for products. The costs are
//! stored in a file named after the adapter and its driver. Nothing is measured, read or written unless
//! [`Device::tune`] is called.

use std::env;
use std::fmt::Write;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustc_hash::FxHasher;

use crate::core::error::Error;
use crate::core::files::{file_error, write_whole};
use crate::core::limits::AdapterKind;
use crate::core::random::Generator;
use crate::gpu::matmul::{Costs, Variant};
use crate::graph::Device;
use crate::tensor::Tensor;

/// Number of measurements per variant; the minimum is used.
const MEASUREMENTS: usize = 5;

/// Number of products per measurement, so that submission and reading are a small part of the time.
const PRODUCTS_PER_MEASUREMENT: usize = 8;

impl Device {
    /// Chooses the kernels of matrix products by measured costs instead of by estimates for the kind of adapter. The
    /// first call on a machine measures, which takes about a second on a GPU that should be otherwise idle, and stores
    /// the costs in the user's cache folder, by adapter and driver. Later calls read them.
    ///
    /// Results stay bitwise identical. On the CPU, this method does nothing.
    ///
    /// # Errors
    ///
    /// If the device fails, or the file cannot be written.
    ///
    /// ```no_run
    /// let device = wgrad::Device::gpu()?;
    /// device.tune()?;
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn tune(&self) -> Result<(), Error> {
        self.tune_in(&cache_folder())
    }

    /// Returns a hash of the costs, which identifies the choice of kernels, or `None` on devices without a choice of
    /// kernels.
    pub fn tuning(&self) -> Option<u64> {
        let gpu = self.gpu_backend()?;
        let mut hasher = FxHasher::default();
        text(self, &gpu.matmul_costs()).hash(&mut hasher);
        Some(hasher.finish())
    }

    pub(crate) fn tune_in(&self, folder: &Path) -> Result<(), Error> {
        let Some(gpu) = self.gpu_backend() else { return Ok(()) };
        let known = Costs::of(gpu.limits());
        let name = self.to_string().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let path = folder.join(format!("{name}-{:?}.txt", gpu.limits().kind));
        let stored = fs::read_to_string(&path).ok().and_then(|stored| parse(&stored, &known));
        let costs = match stored {
            Some(costs) => costs,
            None => {
                let measured = self.measure(&known);
                // Allow all variants again, even after an error.
                *gpu.matmul_costs() = known;
                let costs = measured?;
                fs::create_dir_all(folder)
                    .and_then(|()| write_whole(&path, text(self, &costs).as_bytes()))
                    .map_err(|error| file_error(&path, error))?;
                costs
            }
        };
        *gpu.matmul_costs() = costs;
        self.runtime().forget_plans();
        Ok(())
    }

    /// Measures the costs of the variants with products of square matrices.
    fn measure(&self, known: &Costs) -> Result<Costs, Error> {
        let Some(gpu) = self.gpu_backend() else { unreachable!("only GPUs have variants") };
        let n = if gpu.limits().kind == AdapterKind::Software { 256 } else { 2048 };
        let mut generator = Generator::new(0);
        let [a, b] = [(); 2].map(|()| Tensor::new(generator.uniform(n * n), [n, n], self));
        let mut variants = Vec::new();
        for &(variant, step) in &known.variants {
            *gpu.matmul_costs() = Costs { variants: vec![(variant, step)], ..known.clone() };
            self.runtime().forget_plans();
            multiply(&a, &b)?; // compiles the kernel
            let times = (0..MEASUREMENTS).map(|_| multiply(&a, &b)).collect::<Result<Vec<f64>, Error>>()?;
            let fastest = times.into_iter().fold(f64::INFINITY, f64::min);
            variants.push((variant, fastest / known.steps(variant, n) as f64));
        }
        Ok(Costs { variants, ..known.clone() })
    }
}

/// Measures the time of a product in seconds.
fn multiply(a: &Tensor, b: &Tensor) -> Result<f64, Error> {
    let start = Instant::now();
    let mut product = a.matmul(b);
    for _ in 1..PRODUCTS_PER_MEASUREMENT {
        product.realize()?;
        product = a.matmul(b);
    }
    product.realize()?.narrow(0, 0, 1).narrow(1, 0, 1).item()?;
    Ok(start.elapsed().as_secs_f64() / PRODUCTS_PER_MEASUREMENT as f64)
}

/// Formats the file's text: the adapter's name, then one line per variant with its cost and name.
fn text(device: &Device, costs: &Costs) -> String {
    let mut text = format!("{device}\n");
    for (variant, step) in &costs.variants {
        writeln!(text, "{step:e} {variant}").expect("a string takes text");
    }
    text
}

/// Parses the output of [`text`]. Returns `None` if a variant in `known` is missing or its cost is not a finite number.
fn parse(stored: &str, known: &Costs) -> Option<Costs> {
    let lines: Vec<(&str, &str)> =
        stored.lines().skip(1).map(|line| line.split_once(' ')).collect::<Option<_>>()?;
    let cost = |variant: &Variant| {
        let (cost, _) = lines.iter().find(|(_, name)| *name == variant.to_string())?;
        cost.parse::<f64>().ok().filter(|cost| cost.is_finite()).map(|cost| (*variant, cost))
    };
    let variants = known.variants.iter().map(|(variant, _)| cost(variant)).collect::<Option<_>>()?;
    Some(Costs { variants, ..known.clone() })
}

/// Returns the folder for tuning files in the user's cache folder on this platform.
fn cache_folder() -> PathBuf {
    let from = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || {
        from("HOME")
            .map(|home| home.join(if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" }))
    };
    let folder = from("XDG_CACHE_HOME").or_else(|| from("LOCALAPPDATA")).or_else(home);
    folder.unwrap_or_else(env::temp_dir).join("wgrad")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{load_checkpoint, save_checkpoint};

    #[test]
    fn what_was_measured_is_read_back_and_changes_no_bit() {
        let device = Device::gpu_with(&Default::default()).unwrap();
        let mut generator = Generator::new(3);
        let [a, b] = [(); 2].map(|()| Tensor::new(generator.uniform(70 * 70), [70, 70], &device));
        let product = || a.matmul(&b).to_vec::<f32>().unwrap();
        let (before, untuned) = (product(), device.tuning());
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = folder.path().join("run.safetensors");
        save_checkpoint(&checkpoint, &[], &device).unwrap();
        let warnings = |device: &Device| load_checkpoint(&checkpoint, &mut [], device).unwrap();
        assert_eq!(warnings(&device), Vec::<String>::new());

        device.tune_in(folder.path()).unwrap();
        let tuned = device.tuning();
        assert_ne!(tuned, untuned);
        assert_eq!(product(), before);
        let warned = warnings(&device);
        assert!(matches!(&warned[..], [warning] if warning.contains("Device::tune")), "{warned:?}");

        let again = Device::gpu_with(&Default::default()).unwrap();
        assert_eq!(again.tuning(), untuned);
        again.tune_in(folder.path()).unwrap();
        assert_eq!(again.tuning(), tuned, "measured anew instead of read");
        save_checkpoint(&checkpoint, &[], &device).unwrap();
        assert_eq!(warnings(&again), Vec::<String>::new());
    }

    #[test]
    fn a_damaged_file_is_measured_anew() {
        let device = Device::gpu_with(&Default::default()).unwrap();
        let known = Costs::of(device.limits().unwrap());
        assert_eq!(
            parse(&text(&device, &known), &known).map(|costs| costs.variants.len()),
            Some(known.variants.len())
        );
        let stored = text(&device, &known);
        let (whole, _) = stored.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(parse(whole, &known), None, "a variant is missing");
        assert_eq!(parse(&stored.replace('e', "x"), &known), None, "costs are no numbers");
        assert_eq!(parse("", &known), None);
    }
}
