//! State: the named tensors and numbers of one part of a training run.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::core::error::Error;
use crate::core::random::Generator;
use crate::data::{DataLoader, Dataset, LoaderState};
use crate::nn::Module;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// A part of a run that can be saved and restored: modules, optimizers, loaders, generators, and plain numbers.
///
/// ```
/// use wgrad::Error;
/// use wgrad::io::{State, Stateful};
///
/// /// Stops a run when the loss has stopped improving.
/// struct EarlyStopping { best: f64, since: u64 }
///
/// impl Stateful for EarlyStopping {
///     fn state(&self) -> State {
///         let mut state = State::default();
///         state.put("best", self.best);
///         state.put("since", self.since);
///         state
///     }
///     fn load_state(&mut self, state: &State) -> Result<(), Error> {
///         let mut rest = state.clone();
///         let loaded = EarlyStopping { best: rest.take("best")?, since: rest.take("since")? };
///         rest.finish()?; // fails if there are unknown names
///         *self = loaded; // changes only after everything fits
///         Ok(())
///     }
/// }
/// ```
pub trait Stateful {
    /// Returns the complete state.
    fn state(&self) -> State;

    /// Restores a state.
    ///
    /// # Errors
    ///
    /// Returns [`Error::State`] if a name is missing or unknown, or if a shape, dtype or number does not match. In
    /// these cases, nothing is changed. Returns an error of reading if a tensor cannot be copied from another device.
    fn load_state(&mut self, state: &State) -> Result<(), Error>;
}

/// Named tensors and numbers. The names inside a part begin with the part's name, as in `optimizer.0.mean`.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(super) tensors: BTreeMap<String, Tensor>,
    /// The numbers as texts that parse to exactly the same numbers.
    pub(super) numbers: BTreeMap<String, String>,
}

impl State {
    /// Adds a number.
    pub fn put(&mut self, name: &str, number: impl Display) {
        self.numbers.insert(name.to_owned(), number.to_string());
    }

    /// Adds a tensor.
    pub fn put_tensor(&mut self, name: &str, tensor: Tensor) {
        self.tensors.insert(name.to_owned(), tensor);
    }

    /// Adds the state of a part, with the part's name as prefix.
    pub fn put_part(&mut self, part: &str, state: State) {
        let named = |name: String| format!("{part}.{name}");
        self.tensors.extend(state.tensors.into_iter().map(|(name, tensor)| (named(name), tensor)));
        self.numbers.extend(state.numbers.into_iter().map(|(name, number)| (named(name), number)));
    }

    /// Removes a number and returns it.
    ///
    /// # Errors
    ///
    /// Returns [`Error::State`] if there is no such number, or if it does not parse as `T`.
    pub fn take<T: FromStr>(&mut self, name: &str) -> Result<T, Error> {
        let number = self.numbers.remove(name).ok_or_else(|| refusal(format!("{name:?} is missing")))?;
        number.parse().map_err(|_| refusal(format!("{name:?} is {number:?}")))
    }

    /// Removes a tensor and returns it, on the device of `like`.
    ///
    /// # Errors
    ///
    /// Returns [`Error::State`] if there is no such tensor, or if its shape or dtype differs from `like`, and an error
    /// of reading if it cannot be copied from another device.
    pub fn take_tensor(&mut self, name: &str, like: &Tensor) -> Result<Tensor, Error> {
        let tensor = self.tensors.remove(name).ok_or_else(|| refusal(format!("{name:?} is missing")))?;
        if tensor.spec() != like.spec() {
            return Err(refusal(format!("{name:?} is {} instead of {}", tensor.spec(), like.spec())));
        }
        if tensor.device() == like.device() { Ok(tensor) } else { tensor.to_device(like.device()) }
    }

    /// Removes the state of a part and returns it, without the prefix.
    pub fn take_part(&mut self, part: &str) -> State {
        let prefix = format!("{part}.");
        State { tensors: split(&mut self.tensors, &prefix), numbers: split(&mut self.numbers, &prefix) }
    }

    /// Checks that everything was removed.
    ///
    /// # Errors
    ///
    /// Returns [`Error::State`] with the first remaining name.
    pub fn finish(self) -> Result<(), Error> {
        match self.tensors.keys().chain(self.numbers.keys()).next() {
            Some(name) => Err(refusal(format!("{name:?} is not known"))),
            None => Ok(()),
        }
    }

    /// Sets every variable to the tensor with the variable's name. Names, shapes and dtypes must match exactly.
    pub(crate) fn fill(&self, vars: Vec<(String, Var)>) -> Result<(), Error> {
        let mut rest = self.clone();
        let tensors = vars.iter().map(|(name, var)| rest.take_tensor(name, &var.tensor()));
        let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
        rest.finish()?;
        vars.iter().zip(tensors).for_each(|((_, var), tensor)| var.set(tensor));
        Ok(())
    }
}

fn split<T>(all: &mut BTreeMap<String, T>, prefix: &str) -> BTreeMap<String, T> {
    let (part, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
        std::mem::take(all).into_iter().partition(|(name, _)| name.starts_with(prefix));
    *all = rest;
    part.into_iter().map(|(name, value)| (name[prefix.len()..].to_owned(), value)).collect()
}

pub(super) fn refusal(reason: String) -> Error {
    Error::State { reason }
}

/// Loads the state of each part. Fails if the state has names of other parts. If a part fails to load, the parts that
/// were loaded before it are restored.
pub(crate) fn load_parts(parts: &mut [(&str, &mut dyn Stateful)], mut state: State) -> Result<(), Error> {
    let states: Vec<State> = parts.iter().map(|(name, _)| state.take_part(name)).collect();
    state.finish()?;
    let before: Vec<State> = parts.iter().map(|(_, part)| part.state()).collect();
    for (i, new) in states.iter().enumerate() {
        let (name, part) = &mut parts[i];
        if let Err(error) = part.load_state(new) {
            let error = match error {
                Error::State { reason } => refusal(format!("{name}: {reason}")),
                other => other,
            };
            for ((_, part), old) in parts[..i].iter_mut().zip(&before) {
                part.load_state(old).expect("a part accepts its own state");
            }
            return Err(error);
        }
    }
    Ok(())
}

/// The state of a module: its variables under their names.
impl<M: Module> Stateful for M {
    fn state(&self) -> State {
        let tensors = self.named_vars().into_iter().map(|(name, var)| (name, var.tensor())).collect();
        State { tensors, numbers: BTreeMap::new() }
    }

    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        state.fill(self.named_vars())
    }
}

/// The state of a generator: its seed and its counter.
impl Stateful for Generator {
    fn state(&self) -> State {
        let mut state = State::default();
        state.put("seed", self.seed);
        state.put("counter", self.counter);
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        let mut rest = state.clone();
        let generator = Generator { seed: rest.take("seed")?, counter: rest.take("counter")? };
        rest.finish()?;
        *self = generator;
        Ok(())
    }
}

/// The state of a data loader: its seed, its epoch and its position.
impl<D: Dataset> Stateful for DataLoader<D> {
    fn state(&self) -> State {
        let LoaderState { seed, epoch, position } = DataLoader::state(self);
        let mut state = State::default();
        state.put("seed", seed);
        state.put("epoch", epoch);
        state.put("position", position);
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        let mut rest = state.clone();
        let (seed, epoch) = (rest.take("seed")?, rest.take("epoch")?);
        let position = rest.take("position")?;
        rest.finish()?;
        let samples = self.dataset().len();
        if position > samples as u64 {
            return Err(refusal(format!("\"position\" is {position}, but there are {samples} samples")));
        }
        DataLoader::load_state(self, LoaderState { seed, epoch, position });
        Ok(())
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        /// The state of a number, such as a step counter or a best score.
        impl Stateful for $number {
            fn state(&self) -> State {
                let mut state = State::default();
                state.put("value", self);
                state
            }

            fn load_state(&mut self, state: &State) -> Result<(), Error> {
                let mut rest = state.clone();
                let value = rest.take("value")?;
                rest.finish()?;
                *self = value;
                Ok(())
            }
        }
    )*};
}
numbers!(u32 u64 usize f64);
