//! Layers: parameters with a forward pass, and names that PyTorch would give them.

mod activation;
mod linear;
mod sequential;

pub use activation::{Flatten, ReLU, Sigmoid, Tanh};
pub use linear::Linear;
pub use sequential::Sequential;

use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// A piece of a model. `forward` computes; `visit` shows every place it holds, so that parameters, names, saving and
/// loading follow.
///
/// ```
/// use wgrad::nn::{Linear, Module, Visitor};
/// use wgrad::{Device, Tensor};
///
/// struct Residual { inner: Linear }
///
/// impl Module for Residual {
///     fn forward(&self, x: &Tensor) -> Tensor {
///         x + self.inner.forward(x).relu()
///     }
///     fn visit(&self, visitor: &mut Visitor) {
///         visitor.module("inner", &self.inner);
///     }
/// }
///
/// let model = Residual { inner: Linear::new(4, 4, &Device::cpu()) };
/// let names: Vec<String> = model.named_vars().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["inner.weight", "inner.bias"]);
/// ```
pub trait Module: Send + Sync {
    /// The output for an input; shapes are each module's own matter.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor;

    /// Shows the places and the modules inside, in a fixed order. What has none need not say so.
    fn visit(&self, _visitor: &mut Visitor) {}

    /// Every place with its full name: `0.weight`.
    fn named_vars(&self) -> Vec<(String, Var)> {
        let mut visitor = Visitor::default();
        self.visit(&mut visitor);
        visitor.found
    }

    /// The places that optimizers train.
    fn params(&self) -> Vec<Var> {
        self.named_vars().into_iter().map(|(_, var)| var).filter(Var::trains).collect()
    }

    /// Number of elements that optimizers train.
    fn num_params(&self) -> usize {
        self.params().iter().map(|var| var.tensor().numel()).sum()
    }
}

/// Walks a module and gathers its places under their full names.
#[derive(Default)]
pub struct Visitor {
    prefix: String,
    found: Vec<(String, Var)>,
}

impl Visitor {
    /// A place of the module that is being visited.
    pub fn var(&mut self, name: &str, var: &Var) {
        self.found.push((format!("{}{name}", self.prefix), var.clone()));
    }

    /// A module inside the one that is being visited.
    pub fn module(&mut self, name: &str, module: &dyn Module) {
        let outer = self.prefix.len();
        self.prefix += name;
        self.prefix += ".";
        module.visit(self);
        self.prefix.truncate(outer);
    }
}

/// Softmax cross-entropy of logits and classes, the mean over the batch: [`Tensor::cross_entropy`] as a value.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropyLoss;

impl CrossEntropyLoss {
    /// `logits` `[batch, classes]`, `target` `[batch]` of classes: a scalar.
    #[track_caller]
    pub fn forward(&self, logits: &Tensor, target: &Tensor) -> Tensor {
        logits.cross_entropy(target)
    }
}
