//! Modules in sequence, and lists of modules.

use std::ops::Deref;

use super::summary::record_output;
use super::{Module, Visitor};
use crate::tensor::Tensor;

/// A chain of modules: the output of each is the input of the next. The modules' names are their indices, as in
/// `0.weight`.
///
/// ```
/// use wgrad::nn::{Linear, Module, ReLU, Sequential};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let model = Sequential::new().add(Linear::new(8, 16, &dev)).add(ReLU).add(Linear::new(16, 2, &dev));
/// assert_eq!(model.forward(&Tensor::zeros([5, 8], &dev)).shape()[..], [5, 2]);
/// assert_eq!(model.num_params(), 8 * 16 + 16 + 16 * 2 + 2);
/// ```
#[derive(Default)]
pub struct Sequential {
    modules: Vec<Box<dyn Module>>,
}

impl Sequential {
    /// Creates an empty chain, which returns its input.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// Appends a module.
    #[allow(clippy::should_implement_trait)] // `add` appends a module, it is not arithmetic
    pub fn add(mut self, module: impl Module + 'static) -> Sequential {
        self.modules.push(Box::new(module));
        self
    }
}

impl Module for Sequential {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        record_output(self, self.modules.iter().fold(x.clone(), |x, module| module.forward(&x)))
    }

    fn visit(&self, visitor: &mut Visitor) {
        for (i, module) in self.modules.iter().enumerate() {
            visitor.module(&i.to_string(), module.as_ref());
        }
    }
}

/// A list of modules of one type, which the enclosing model calls. The modules' names are their indices.
///
/// ```
/// use wgrad::nn::{Linear, Module, ModuleList, Visitor};
/// use wgrad::{Device, Tensor};
///
/// struct Tower { layers: ModuleList<Linear> }
///
/// impl Module for Tower {
///     fn forward(&self, x: &Tensor) -> Tensor {
///         self.layers.iter().fold(x.clone(), |x, layer| layer.forward(&x).tanh() + x)
///     }
///     fn visit(&self, visitor: &mut Visitor) {
///         visitor.module("layers", &self.layers);
///     }
/// }
///
/// let tower = Tower { layers: (0..3).map(|_| Linear::new(4, 4, &Device::cpu())).collect() };
/// assert_eq!(tower.named_params()[5].0, "layers.2.bias");
/// ```
#[derive(Clone, Debug, Default)]
pub struct ModuleList<M>(Vec<M>);

impl<M: Module> FromIterator<M> for ModuleList<M> {
    fn from_iter<I: IntoIterator<Item = M>>(modules: I) -> ModuleList<M> {
        ModuleList(modules.into_iter().collect())
    }
}

impl<M> Deref for ModuleList<M> {
    type Target = [M];
    fn deref(&self) -> &[M] {
        &self.0
    }
}

impl<M: Module> Module for ModuleList<M> {
    fn visit(&self, visitor: &mut Visitor) {
        for (i, module) in self.iter().enumerate() {
            visitor.module(&i.to_string(), module);
        }
    }
}
