//! The [`Module`] trait of layers and models, and the visitor that traverses a model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::state;
use crate::core::error::Error;
use crate::core::shape::refuse;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// A layer or a model. `forward` computes its output. `visit` lists its variables and submodules. Parameters, names,
/// saving, loading, freezing and [`summary`](super::summary) are derived from this list.
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
/// model.eval(); // turns dropout off
/// ```
pub trait Module: Send + Sync {
    /// Computes the output for an input. Each module defines the shapes it accepts. A module with other inputs or
    /// outputs defines a separate method instead of `forward`.
    ///
    /// # Panics
    ///
    /// Panics if the module does not implement `forward`, or if the module does not accept the input.
    #[track_caller]
    fn forward(&self, _x: &Tensor) -> Tensor {
        refuse!(self.kind(), "does not implement forward with one tensor")
    }

    /// Lists the module's variables and submodules, in a fixed order. The default is for modules without variables and
    /// submodules.
    fn visit(&self, _visitor: &mut Visitor) {}

    /// Returns the kind of the module. By default it is the name of its type.
    fn kind(&self) -> String {
        let path = std::any::type_name::<Self>();
        let outer = path.split('<').next().unwrap_or(path);
        outer.rsplit("::").next().unwrap_or(outer).to_owned()
    }

    /// Returns all variables with their full names, such as `0.weight`. This includes buffers and frozen parameters.
    fn named_vars(&self) -> Vec<(String, Var)> {
        Visitor::walk(self).vars
    }

    /// Returns the variables that optimizers train, with their names. A shared variable is listed once.
    fn named_params(&self) -> Vec<(String, Var)> {
        let mut params: Vec<(String, Var)> = Vec::new();
        for (name, var) in self.named_vars() {
            if var.trains() && !params.iter().any(|(_, other)| other.same(&var)) {
                params.push((name, var));
            }
        }
        params
    }

    /// Returns the variables that optimizers train.
    fn params(&self) -> Vec<Var> {
        self.named_params().into_iter().map(|(_, var)| var).collect()
    }

    /// Returns the number of elements that optimizers train.
    fn num_params(&self) -> usize {
        self.params().iter().map(|var| var.tensor().numel()).sum()
    }

    /// Returns the state dict: the tensors of all variables under PyTorch's names, such as `0.weight`.
    fn to_state_dict(&self) -> BTreeMap<String, Tensor> {
        self.named_vars().into_iter().map(|(name, var)| (name, var.tensor())).collect()
    }

    /// Sets all variables from a state dict, which may be on another device.
    ///
    /// # Errors
    ///
    /// Returns [`Error::State`] if a name is missing or unknown, or if a shape or dtype differs. The message lists all
    /// mismatches, and nothing is changed. Returns an error of reading if a tensor cannot be copied from another
    /// device.
    fn load_state_dict(&self, dict: &BTreeMap<String, Tensor>) -> Result<(), Error> {
        state::load(self.named_vars(), dict)
    }

    /// Switches to training mode, the initial mode: dropout drops elements, and batch norm uses the statistics of the
    /// batch.
    fn train(&self) {
        Visitor::walk(self).modes.iter().for_each(|mode| mode.set(true));
    }

    /// Switches to evaluation mode: dropout does nothing, and batch norm uses its running statistics.
    fn eval(&self) {
        Visitor::walk(self).modes.iter().for_each(|mode| mode.set(false));
    }

    /// Freezes the parameters: no gradient is computed for them until [`unfreeze`](Module::unfreeze).
    fn freeze(&self) {
        self.named_vars().iter().for_each(|(_, var)| var.freeze());
    }

    /// Unfreezes the parameters.
    fn unfreeze(&self) {
        self.named_vars().iter().for_each(|(_, var)| var.unfreeze());
    }
}

/// Whether a module is in training mode, as set by [`Module::train`] and [`Module::eval`]. Clones share the mode.
#[derive(Clone, Debug)]
pub struct Mode(Arc<AtomicBool>);

impl Mode {
    /// Whether the module is in training mode, the initial mode.
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

/// Traverses a module and collects its variables, modes and submodules.
#[derive(Default)]
pub struct Visitor {
    prefix: String,
    depth: usize,
    pub(super) vars: Vec<(String, Var)>,
    pub(super) modes: Vec<Mode>,
    pub(super) modules: Vec<Seen>,
}

/// A module found by the traversal.
pub(super) struct Seen {
    /// The module's name; empty for the outermost module.
    pub name: String,
    pub depth: usize,
    pub kind: String,
    pub address: usize,
    /// The module's own variables, excluding submodules.
    pub vars: Vec<Var>,
}

impl Visitor {
    pub(super) fn walk<M: Module + ?Sized>(module: &M) -> Visitor {
        let mut visitor = Visitor::default();
        visitor.enter("", module);
        visitor
    }

    /// Lists a variable of the visited module.
    pub fn var(&mut self, name: &str, var: &Var) {
        self.vars.push((format!("{}{name}", self.prefix), var.clone()));
        let inside = self.modules.iter_mut().rfind(|seen| seen.depth + 1 == self.depth);
        inside.expect("a module is being visited").vars.push(var.clone());
    }

    /// Lists a variable that may be absent, such as a bias.
    pub fn optional(&mut self, name: &str, var: &Option<Var>) {
        var.iter().for_each(|var| self.var(name, var));
    }

    /// Registers the visited module's mode, which [`Module::train`] and [`Module::eval`] set.
    pub fn mode(&mut self, mode: &Mode) {
        self.modes.push(mode.clone());
    }

    /// Lists a submodule of the visited module.
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

/// Returns the address of a module. An address identifies a module only together with the module's kind, because the
/// first field of a struct has the address of the struct.
pub(super) fn address<M: Module + ?Sized>(module: &M) -> usize {
    (module as *const M).cast::<()>() as usize
}
