//! What every layer and every model is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::state;
use crate::core::error::Error;
use crate::core::shape::refuse;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// A piece of a model. `forward` computes; `visit` shows every place and module it holds, so that parameters, names, saving,
/// loading, freezing and [`summary`](super::summary) follow.
///
/// ```
/// use wgrad::nn::{Dropout, Linear, Module, Visitor};
/// use wgrad::{Device, Tensor};
///
/// struct Residual { inner: Linear, dropout: Dropout }
///
/// impl Module for Residual {
///     fn forward(&self, x: &Tensor) -> Tensor {
///         x + self.dropout.forward(&self.inner.forward(x).relu())
///     }
///     fn visit(&self, visitor: &mut Visitor) {
///         visitor.module("inner", &self.inner);
///         visitor.module("dropout", &self.dropout);
///     }
/// }
///
/// let model = Residual { inner: Linear::new(4, 4, &Device::cpu()), dropout: Dropout::new(0.1) };
/// let names: Vec<String> = model.named_vars().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["inner.weight", "inner.bias"]);
/// model.eval(); // no element is dropped any more
/// ```
pub trait Module: Send + Sync {
    /// The output for an input; shapes are each module's own matter. A module of other operands or results has a method of its
    /// own, and leaves this one out.
    ///
    /// # Panics
    ///
    /// If it was left out.
    #[track_caller]
    fn forward(&self, _x: &Tensor) -> Tensor {
        refuse!(self.kind(), "has no forward pass of one tensor")
    }

    /// Shows the places and the modules inside, in a fixed order. What has none need not say so.
    fn visit(&self, _visitor: &mut Visitor) {}

    /// What kind of module it is: its type's name.
    fn kind(&self) -> String {
        let path = std::any::type_name::<Self>();
        let outer = path.split('<').next().unwrap_or(path);
        outer.rsplit("::").next().unwrap_or(outer).to_owned()
    }

    /// Every place with its full name: `0.weight`. Statistics and frozen parameters are among them.
    fn named_vars(&self) -> Vec<(String, Var)> {
        Visitor::walk(self).vars
    }

    /// The places that optimizers train, with their names. One that is shared is named once.
    fn named_params(&self) -> Vec<(String, Var)> {
        let mut params: Vec<(String, Var)> = Vec::new();
        for (name, var) in self.named_vars() {
            if var.trains() && !params.iter().any(|(_, other)| other.same(&var)) {
                params.push((name, var));
            }
        }
        params
    }

    /// The places that optimizers train.
    fn params(&self) -> Vec<Var> {
        self.named_params().into_iter().map(|(_, var)| var).collect()
    }

    /// Number of elements that optimizers train.
    fn num_params(&self) -> usize {
        self.params().iter().map(|var| var.tensor().numel()).sum()
    }

    /// What every place holds, under PyTorch's names: `0.weight`.
    fn to_state_dict(&self) -> BTreeMap<String, Tensor> {
        self.named_vars().into_iter().map(|(name, var)| (name, var.tensor())).collect()
    }

    /// Fills every place from a state dict, which may lie on another device.
    ///
    /// # Errors
    ///
    /// If a name is missing or is not the module's, or a shape or dtype differs: the message names them all, and nothing is
    /// changed.
    fn load_state_dict(&self, dict: &BTreeMap<String, Tensor>) -> Result<(), Error> {
        state::load(self.named_vars(), dict)
    }

    /// From now on dropout drops and batch norm goes by its batch: how a module starts.
    fn train(&self) {
        Visitor::walk(self).modes.iter().for_each(|mode| mode.set(true));
    }

    /// From now on dropout does nothing and batch norm goes by its running statistics.
    fn eval(&self) {
        Visitor::walk(self).modes.iter().for_each(|mode| mode.set(false));
    }

    /// Takes the parameters from training: no gradient is computed for them, until [`unfreeze`](Module::unfreeze).
    fn freeze(&self) {
        self.named_vars().iter().for_each(|(_, var)| var.freeze());
    }

    /// Gives frozen parameters back to training.
    fn unfreeze(&self) {
        self.named_vars().iter().for_each(|(_, var)| var.unfreeze());
    }
}

/// Whether a module is being trained: what [`Module::train`] and [`Module::eval`] set. Clones share it.
#[derive(Clone, Debug)]
pub struct Mode(Arc<AtomicBool>);

impl Mode {
    /// Whether the module is being trained. It is at first.
    pub fn training(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, training: bool) {
        self.0.store(training, Ordering::Relaxed);
    }
}

impl Default for Mode {
    fn default() -> Mode {
        Mode(Arc::new(AtomicBool::new(true)))
    }
}

/// Walks a module and gathers what it holds.
#[derive(Default)]
pub struct Visitor {
    prefix: String,
    depth: usize,
    pub(super) vars: Vec<(String, Var)>,
    pub(super) modes: Vec<Mode>,
    pub(super) modules: Vec<Seen>,
}

/// A module that a walk came by.
pub(super) struct Seen {
    /// Empty for the outermost.
    pub name: String,
    pub depth: usize,
    pub kind: String,
    pub address: usize,
    /// Its own places, without those of the modules inside.
    pub vars: Vec<Var>,
}

impl Visitor {
    pub(super) fn walk<M: Module + ?Sized>(module: &M) -> Visitor {
        let mut visitor = Visitor::default();
        visitor.enter("", module);
        visitor
    }

    /// A place of the module that is being visited.
    pub fn var(&mut self, name: &str, var: &Var) {
        self.vars.push((format!("{}{name}", self.prefix), var.clone()));
        let inside = self.modules.iter_mut().rfind(|seen| seen.depth + 1 == self.depth);
        inside.expect("a module is being visited").vars.push(var.clone());
    }

    /// A place that may be absent, such as a bias.
    pub fn optional(&mut self, name: &str, var: &Option<Var>) {
        var.iter().for_each(|var| self.var(name, var));
    }

    /// What [`Module::train`] and [`Module::eval`] shall set in the module that is being visited.
    pub fn mode(&mut self, mode: &Mode) {
        self.modes.push(mode.clone());
    }

    /// A module inside the one that is being visited.
    pub fn module(&mut self, name: &str, module: &dyn Module) {
        let outer = self.prefix.len();
        self.prefix += name;
        self.prefix += ".";
        self.enter(name, module);
        self.prefix.truncate(outer);
    }

    fn enter<M: Module + ?Sized>(&mut self, name: &str, module: &M) {
        let (name, kind, address) = (name.to_owned(), module.kind(), address(module));
        self.modules.push(Seen { name, depth: self.depth, kind, address, vars: Vec::new() });
        self.depth += 1;
        module.visit(self);
        self.depth -= 1;
    }
}

/// Where a module lies: with its kind, which one it is, since the first field of a struct lies where the struct does.
pub(super) fn address<M: Module + ?Sized>(module: &M) -> usize {
    (module as *const M).cast::<()>() as usize
}
