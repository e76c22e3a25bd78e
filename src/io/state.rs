//! State: what a part of a training run must remember, as named tensors and numbers.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::core::error::Error;
use crate::core::random::Generator;
use crate::data::{DataLoader, Dataset, LoaderState};
use crate::nn::Module;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// A part of a run that can be saved and continued: modules, optimizers, loaders, generators, and plain numbers.
///
/// ```
/// use wgrad::Error;
/// use wgrad::io::{State, Stateful};
///
/// /// Stops a run when a loss has not fallen for long.
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
///         rest.finish()?; // nothing that is not known here
///         *self = loaded; // and only now anything changes
///         Ok(())
///     }
/// }
/// ```
pub trait Stateful {
    /// All that it takes to go on from here.
    fn state(&self) -> State;

    /// Goes on from there.
    ///
    /// # Errors
    ///
    /// If a name is missing or unknown, or a shape, dtype or number does not fit. Then nothing is changed.
    fn load_state(&mut self, state: &State) -> Result<(), Error>;
}

/// Named tensors and numbers. Names of parts begin with the part's own: `optimizer.0.mean`.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(super) tensors: BTreeMap<String, Tensor>,
    /// As text that reads back as the same number.
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

    /// Adds all of a part's, under its name.
    pub fn put_part(&mut self, part: &str, state: State) {
        let named = |name: String| format!("{part}.{name}");
        self.tensors.extend(state.tensors.into_iter().map(|(name, tensor)| (named(name), tensor)));
        self.numbers.extend(state.numbers.into_iter().map(|(name, number)| (named(name), number)));
    }

    /// Takes a number out.
    pub fn take<T: FromStr>(&mut self, name: &str) -> Result<T, Error> {
        let number = self.numbers.remove(name).ok_or_else(|| refusal(format!("{name:?} is missing")))?;
        number.parse().map_err(|_| refusal(format!("{name:?} is {number:?}")))
    }

    /// Takes a tensor out, which must be of this one's shape and dtype; it is brought to its device.
    pub fn take_tensor(&mut self, name: &str, like: &Tensor) -> Result<Tensor, Error> {
        let tensor = self.tensors.remove(name).ok_or_else(|| refusal(format!("{name:?} is missing")))?;
        if tensor.spec() != like.spec() {
            return Err(refusal(format!("{name:?} is {} instead of {}", tensor.spec(), like.spec())));
        }
        if tensor.device() == like.device() { Ok(tensor) } else { tensor.to_device(like.device()) }
    }

    /// Takes all of a part's out.
    pub fn take_part(&mut self, part: &str) -> State {
        let prefix = format!("{part}.");
        State { tensors: split(&mut self.tensors, &prefix), numbers: split(&mut self.numbers, &prefix) }
    }

    /// Refuses what was not taken.
    pub fn finish(self) -> Result<(), Error> {
        match self.tensors.keys().chain(self.numbers.keys()).next() {
            Some(name) => Err(refusal(format!("{name:?} is not known"))),
            None => Ok(()),
        }
    }

    /// Sets every var to the tensor of its name, if the names are just these and all tensors fit.
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

/// Loads each part from what bears its name, and refuses what bears none of theirs. If one does not fit, those before
/// it are put back.
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
                part.load_state(old).expect("its own state fits");
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Every var under its name.
impl<M: Module> Stateful for M {
    fn state(&self) -> State {
        let tensors = self.named_vars().into_iter().map(|(name, var)| (name, var.tensor())).collect();
        State { tensors, numbers: BTreeMap::new() }
    }

    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        state.fill(self.named_vars())
    }
}

/// Seed and counter.
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

/// The seed, the pass, and the position in it.
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
            return Err(refusal(format!("\"position\" is {position}, of {samples} samples")));
        }
        DataLoader::load_state(self, LoaderState { seed, epoch, position });
        Ok(())
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        /// Itself: a run's own counter, or its best score.
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
