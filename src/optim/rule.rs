//! The parts shared by all optimizers: groups of parameters, their state, learning rates and weight decay. An optimizer
//! is a [`Rule`] inside an [`Optim`].

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::{Optimizer, check_positive};
use crate::core::error::Error;
use crate::core::grad_mode::no_grad;
use crate::core::shape::refuse;
use crate::io::{State, Stateful, load_parts};
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// The formula of an optimizer and its options: it computes the update of one parameter in one step.
///
/// ```
/// use wgrad::optim::{Optim, Optimizer, Rule, Slots};
/// use wgrad::{Device, Tensor, Var};
///
/// /// Gradient descent by the sign of the gradient alone (Bernstein et al., 2018).
/// #[derive(Debug)]
/// struct SignSGD;
///
/// impl Rule for SignSGD {
///     const NAME: &'static str = "SignSGD";
///     fn update(&self, lr: f64, param: &Tensor, gradient: Tensor, _slots: &mut Slots) -> Tensor {
///         param - gradient.sign() * lr
///     }
/// }
///
/// let w = Var::parameter(Tensor::new([1.0, -2.0], [2], &Device::cpu()));
/// let mut opt = Optim::with(SignSGD, vec![w.clone()], 0.5);
/// w.tensor().square().sum().backward();
/// opt.step();
/// assert_eq!(w.tensor().to_vec::<f32>().unwrap(), [0.5, -1.5]);
/// ```
pub trait Rule: Debug {
    /// The rule's name in messages.
    const NAME: &'static str;

    /// Whether weight decay is decoupled: it acts on the parameter (Loshchilov and Hutter, 2019) instead of on the
    /// gradient.
    const DECOUPLED: bool = false;

    /// Returns the names of the tensors that the rule keeps for each parameter. The tensors have the parameter's shape
    /// and are initially zero.
    fn slots(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Whether the rule can train this parameter.
    ///
    /// # Errors
    ///
    /// Returns the reason if it cannot.
    fn accepts(&self, _param: &Tensor) -> Result<(), String> {
        Ok(())
    }

    /// Computes the next value of the parameter.
    fn update(&self, lr: f64, param: &Tensor, gradient: Tensor, slots: &mut Slots) -> Tensor;
}

/// The state of one parameter, created with its first gradient.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    steps: u32,
    state: BTreeMap<String, Var>,
}

impl Slots {
    /// Returns the number of this step, counted from 1: the number of gradients that the parameter has had.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Returns the tensor with this name, if the rule keeps one.
    pub fn get(&self, name: &str) -> Option<Tensor> {
        self.state.get(name).map(Var::tensor)
    }

    /// Updates the running mean with this name to `decay * mean + (1 - decay) * value`. Returns the new mean.
    pub fn ema_update(&mut self, name: &str, value: &Tensor, decay: f64) -> Tensor {
        let mean = self.state[name].tensor() * decay + value * (1.0 - decay);
        self.put(name, mean)
    }

    /// Stores a tensor under this name and returns it.
    pub fn put(&mut self, name: &str, tensor: Tensor) -> Tensor {
        self.state[name].set(tensor.clone());
        tensor
    }

    fn init(&mut self, names: &[&str], param: &Tensor) {
        if self.steps == 0 {
            let zeros = |name: &&str| ((*name).to_owned(), Var::buffer(param.zeros_like()));
            self.state = names.iter().map(zeros).collect();
        }
        self.steps += 1;
    }
}

/// An optimizer: a [`Rule`] for some parameters, and the groups added to it.
#[derive(Debug)]
pub struct Optim<R> {
    pub(super) rule: R,
    lr: f64,
    weight_decay: f64,
    params: Vec<(Var, Slots)>,
    /// Each group with the ratio of its learning rate to the first group's.
    groups: Vec<(f64, Box<dyn Optimizer>)>,
}

impl<R: Rule> Optim<R> {
    /// Creates an optimizer with this rule and without weight decay.
    ///
    /// # Panics
    ///
    /// Panics if `lr` is negative or NaN, if the rule does not accept a parameter, or if a parameter is listed twice.
    #[track_caller]
    pub fn with(rule: R, params: Vec<Var>, lr: f64) -> Optim<R> {
        check_positive(R::NAME, &[("lr", lr)]);
        for (i, param) in params.iter().enumerate() {
            if let Err(reason) = rule.accepts(&param.tensor()) {
                refuse!(R::NAME, "{reason}");
            }
            check_new(R::NAME, &params[..i], param);
        }
        let params = params.into_iter().map(|param| (param, Slots::default())).collect();
        Optim { rule, lr, weight_decay: 0.0, params, groups: Vec::new() }
    }

    /// Sets the weight decay. It is the multiple of the parameter that is added to the gradient. If it is decoupled
    /// (AdamW, Lion, Muon), each step subtracts `lr * weight_decay` times the parameter.
    ///
    /// # Panics
    ///
    /// Panics if `weight_decay` is negative or NaN.
    #[track_caller]
    pub fn weight_decay(mut self, weight_decay: f64) -> Optim<R> {
        check_positive(R::NAME, &[("weight_decay", weight_decay)]);
        self.weight_decay = weight_decay;
        self
    }

    /// Adds another optimizer as a group of parameters with its own learning rate, weight decay and rule. One step
    /// updates all groups, one state contains all of them, and a schedule scales all learning rates by the same factor.
    ///
    /// ```
    /// use wgrad::optim::{AdamW, Muon, Optimizer};
    /// use wgrad::{Device, Tensor, Var};
    /// let dev = Device::cpu();
    /// let weight = Var::parameter(Tensor::ones([4, 4], &dev));
    /// let bias = Var::parameter(Tensor::ones([4], &dev));
    /// let mut opt = Muon::new(vec![weight], 0.02).group(AdamW::new(vec![bias], 3e-4).weight_decay(0.0));
    /// opt.set_lr(0.01); // and 1.5e-4
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if a parameter is in both, or if the learning rate of this optimizer is 0 and the learning rate of the
    /// other is not.
    #[track_caller]
    pub fn group(mut self, other: impl Optimizer + 'static) -> Optim<R> {
        let own = self.params();
        other.params().iter().for_each(|param| check_new(R::NAME, &own, param));
        if self.lr == 0.0 && other.lr() != 0.0 {
            refuse!(
                R::NAME,
                "the first group's learning rate must not be 0 if another group's is {}",
                other.lr()
            );
        }
        let ratio = if other.lr() == self.lr { 1.0 } else { other.lr() / self.lr };
        self.groups.push((ratio, Box::new(other)));
        self
    }
}

/// Panics if a parameter is listed twice.
#[track_caller]
fn check_new(optimizer: &str, known: &[Var], param: &Var) {
    if known.iter().any(|other| other.same(param)) {
        refuse!(optimizer, "{param:?} is listed twice");
    }
}

impl<R: Rule> Optimizer for Optim<R> {
    fn update(&mut self) {
        let Optim { ref rule, lr, weight_decay, ref mut params, .. } = *self;
        let names = rule.slots();
        no_grad(|| {
            for (var, slots) in params {
                let Some(mut gradient) = var.take_grad() else { continue };
                let mut param = var.tensor();
                slots.init(&names, &param);
                match R::DECOUPLED {
                    _ if weight_decay == 0.0 => {}
                    true => param = param * (1.0 - lr * weight_decay),
                    false => gradient = gradient + &param * weight_decay,
                }
                var.set(rule.update(lr, &param, gradient, slots));
            }
        });
        self.groups.iter_mut().for_each(|(_, group)| group.update());
    }

    fn params(&self) -> Vec<Var> {
        let own = self.params.iter().map(|(param, _)| param.clone());
        own.chain(self.groups.iter().flat_map(|(_, group)| group.params())).collect()
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
        self.groups.iter_mut().for_each(|(ratio, group)| group.set_lr(lr * *ratio));
    }
}

/// The state of an optimizer: the learning rate, and for each parameter its number of steps and the rule's tensors,
/// such as `0.mean`. The names of a group begin with `group0.`.
impl<R: Rule> Stateful for Optim<R> {
    fn state(&self) -> State {
        let mut state = State::default();
        state.put("lr", self.lr);
        for (i, (_, slots)) in self.params.iter().enumerate() {
            state.put(&format!("{i}.steps"), slots.steps);
            for (name, var) in &slots.state {
                state.put_tensor(&format!("{i}.{name}"), var.tensor());
            }
        }
        for (i, (_, group)) in self.groups.iter().enumerate() {
            state.put_part(&format!("group{i}"), group.state());
        }
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        let mut rest = state.clone();
        let lr = rest.take("lr")?;
        let mut loaded = Vec::new();
        for (i, (param, _)) in self.params.iter().enumerate() {
            let steps = rest.take(&format!("{i}.steps"))?;
            let mut state = BTreeMap::new();
            for name in self.rule.slots().into_iter().filter(|_| steps > 0) {
                let tensor = rest.take_tensor(&format!("{i}.{name}"), &param.tensor())?;
                state.insert(name.to_owned(), Var::buffer(tensor));
            }
            loaded.push(Slots { steps, state });
        }
        let names: Vec<String> = (0..self.groups.len()).map(|i| format!("group{i}")).collect();
        let parts = names.iter().zip(&mut self.groups);
        let mut parts: Vec<(&str, &mut dyn Stateful)> =
            parts.map(|(name, (_, group))| (name.as_str(), group.as_mut() as &mut dyn Stateful)).collect();
        load_parts(&mut parts, rest)?;
        self.lr = lr;
        self.params.iter_mut().zip(loaded).for_each(|((_, slots), loaded)| *slots = loaded);
        Ok(())
    }
}
