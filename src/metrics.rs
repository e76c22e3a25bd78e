//! Metrics: numbers about a run that are accumulated on the device, step by step, and read when they are needed.
//!
//! Input: the tensors of each step. Output: numbers. Adding to a metric does not wait for the device; its sum is
//! computed with the next step. Metrics of an unfinished epoch can be part of a
//! [checkpoint](crate::io::save_checkpoint).

use std::time::Instant;

use crate::core::dtype::DType;
use crate::core::error::Error;
use crate::core::grad_mode::no_grad;
use crate::core::shape::refuse;
use crate::graph::Device;
use crate::io::{State, Stateful};
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// The mean of a loss over samples, and its perplexity.
///
/// ```
/// use wgrad::metrics::Mean;
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let mut loss = Mean::new(&dev);
/// loss.add(&Tensor::scalar(1.0, &dev), 64); // the mean loss of 64 samples
/// loss.add(&Tensor::scalar(4.0, &dev), 32);
/// assert_eq!(loss.mean().unwrap(), 2.0);
/// ```
#[derive(Debug)]
pub struct Mean {
    sum: Var,
    count: usize,
}

impl Mean {
    /// Creates a mean over no samples.
    pub fn new(device: &Device) -> Mean {
        Mean { sum: Var::buffer(Tensor::zeros((), device)), count: 0 }
    }

    /// Adds a scalar that is the mean over `samples` samples.
    ///
    /// # Panics
    ///
    /// Panics if `mean` is not an f32 scalar on the metric's device.
    #[track_caller]
    pub fn add(&mut self, mean: &Tensor, samples: usize) {
        no_grad(|| self.sum.set(self.sum.tensor() + mean * samples));
        self.count += samples;
    }

    /// The mean over all samples; NaN without samples. Waits for the device.
    ///
    /// # Errors
    ///
    /// Returns an error if the sum cannot be computed or read ([`Tensor::item`]).
    pub fn mean(&self) -> Result<f64, Error> {
        Ok(self.sum.tensor().item()? / self.count as f64)
    }

    /// The perplexity of a mean cross-entropy: e to the power of the mean (Jelinek et al., 1977). Waits for the device.
    ///
    /// # Errors
    ///
    /// Returns an error if the sum cannot be computed or read ([`Tensor::item`]).
    pub fn perplexity(&self) -> Result<f64, Error> {
        Ok(self.mean()?.exp())
    }

    /// Removes all samples.
    pub fn reset(&mut self) {
        *self = Mean::new(self.sum.tensor().device());
    }
}

/// The sum and the number of samples.
impl Stateful for Mean {
    fn state(&self) -> State {
        counted(&self.sum, self.count)
    }

    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        self.count = load_counted(&self.sum, state)?;
        Ok(())
    }
}

/// The fraction of samples whose class was predicted correctly.
///
/// ```
/// use wgrad::metrics::Accuracy;
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let logits = Tensor::new([0.1, 0.9, 0.8, 0.2, 0.3, 0.7], [3, 2], &dev);
/// let mut accuracy = Accuracy::new(&dev);
/// accuracy.add(&logits, &Tensor::new([1, 0, 0], [3], &dev));
/// assert_eq!(accuracy.accuracy().unwrap(), 2.0 / 3.0);
/// ```
#[derive(Debug)]
pub struct Accuracy {
    /// An integer, because f32 cannot count beyond 2^24.
    hits: Var,
    count: usize,
}

impl Accuracy {
    /// Creates an accuracy over no samples.
    pub fn new(device: &Device) -> Accuracy {
        Accuracy { hits: Var::buffer(Tensor::scalar(0, device)), count: 0 }
    }

    /// Adds samples: logits `[.., classes]`, whose maximum is the prediction, and the correct classes `[..]`.
    ///
    /// # Panics
    ///
    /// Panics if `logits` is a scalar, if `target` is not i32 or does not have the shape of `logits` without the last
    /// dim, or if the tensors are on different devices.
    #[track_caller]
    pub fn add(&mut self, logits: &Tensor, target: &Tensor) {
        no_grad(|| {
            let guess = logits.argmax(-1, false);
            if guess.spec() != target.spec() {
                refuse!("Accuracy", "the target {} does not fit the logits {}", target.spec(), logits.spec());
            }
            self.hits.set(self.hits.tensor() + guess.eq(target).to_dtype(DType::I32).sum());
        });
        self.count += target.numel();
    }

    /// The fraction of correct samples, from 0 to 1; NaN without samples. Waits for the device.
    ///
    /// # Errors
    ///
    /// Returns an error if the count cannot be computed or read ([`Tensor::item`]).
    pub fn accuracy(&self) -> Result<f64, Error> {
        Ok(self.hits.tensor().item()? / self.count as f64)
    }

    /// Removes all samples.
    pub fn reset(&mut self) {
        *self = Accuracy::new(self.hits.tensor().device());
    }
}

/// The number of correct samples and the number of samples.
impl Stateful for Accuracy {
    fn state(&self) -> State {
        counted(&self.hits, self.count)
    }

    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        self.count = load_counted(&self.hits, state)?;
        Ok(())
    }
}

/// The state of a sum over a number of samples.
fn counted(sum: &Var, count: usize) -> State {
    let mut state = State::default();
    state.put_tensor("sum", sum.tensor());
    state.put("count", count);
    state
}

fn load_counted(place: &Var, state: &State) -> Result<usize, Error> {
    let mut rest = state.clone();
    let (sum, count) = (rest.take_tensor("sum", &place.tensor())?, rest.take("count")?);
    rest.finish()?;
    place.set(sum);
    Ok(count)
}

/// Items per second: samples, tokens or steps.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    start: Instant,
    items: usize,
}

impl Throughput {
    /// Starts measuring now.
    pub fn start() -> Throughput {
        Throughput { start: Instant::now(), items: 0 }
    }

    /// Adds items that were submitted to the device.
    pub fn add(&mut self, items: usize) {
        self.items += items;
    }

    /// The items per second since the start. Steps do not wait for the device, which may be up to two steps behind. For
    /// an exact number read a loss first.
    pub fn per_second(&self) -> f64 {
        self.items as f64 / self.start.elapsed().as_secs_f64()
    }
}

/// Checks that numbers stay finite, such as the loss and the norm of the gradients, without reading them in every step:
/// the device records the first step at which a number is not finite.
///
/// ```
/// use wgrad::metrics::FiniteCheck;
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let mut check = FiniteCheck::new(&["loss"], &dev);
/// for (step, loss) in [3.0, 2.0, f64::NAN, 1.0].into_iter().enumerate() {
///     check.watch(step, &[&Tensor::scalar(loss, &dev)]);
/// }
/// let error = check.result().unwrap_err(); // reads: at a checkpoint, say
/// assert_eq!(error.to_string(), "loss was not finite at step 2");
/// ```
#[derive(Debug)]
pub struct FiniteCheck {
    /// The name of each number, and the first step at which it was not finite, or -1.
    watched: Vec<(String, Var)>,
}

impl FiniteCheck {
    /// Creates a check of numbers with these names.
    pub fn new(names: &[&str], device: &Device) -> FiniteCheck {
        let none = |name: &&str| ((*name).to_owned(), Var::buffer(Tensor::scalar(-1, device)));
        FiniteCheck { watched: names.iter().map(none).collect() }
    }

    /// Checks the values of one step, in the order of the names. A value is a scalar, or a tensor whose elements are
    /// all checked.
    ///
    /// # Panics
    ///
    /// Panics if the number of values is not the number of names, if a value is not f32, or if it is on another device.
    #[track_caller]
    pub fn watch(&mut self, step: usize, values: &[&Tensor]) {
        if values.len() != self.watched.len() {
            refuse!(
                "FiniteCheck",
                "expects one value per name, got {} values for {} names",
                values.len(),
                self.watched.len()
            );
        }
        no_grad(|| {
            for ((_, first), value) in self.watched.iter().zip(values) {
                let known = first.tensor();
                let finite = value.abs().lt(f64::INFINITY).to_dtype(DType::I32).amin((), false).eq(1);
                first.set(finite.logical_or(known.ge(0)).where_(&known, step));
            }
        });
    }

    /// Reads the result. Waits for the device.
    ///
    /// # Errors
    ///
    /// Returns [`Error::NotFinite`] with the first value and step that was infinite or NaN, or an error of reading.
    pub fn result(&self) -> Result<(), Error> {
        let mut earliest = None;
        for (what, first) in &self.watched {
            let step = first.tensor().item()?;
            if step >= 0.0 && earliest.is_none_or(|(earliest, _)| step < earliest) {
                earliest = Some((step, what));
            }
        }
        match earliest {
            Some((step, what)) => Err(Error::NotFinite { what: what.clone(), step: step as usize }),
            None => Ok(()),
        }
    }
}

/// For each name the first step at which it was not finite, or -1.
impl Stateful for FiniteCheck {
    fn state(&self) -> State {
        let mut state = State::default();
        self.watched.iter().for_each(|(name, first)| state.put_tensor(name, first.tensor()));
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        state.fill(self.watched.clone())
    }
}
