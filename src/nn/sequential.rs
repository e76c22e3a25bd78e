//! Modules one after the other.

use super::{Module, Visitor};
use crate::tensor::Tensor;

/// Each module's output is the next one's input; the names are their numbers: `0.weight`.
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
    /// The identity, to which modules are added.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// With one more module at the end.
    #[allow(clippy::should_implement_trait)] // PyTorch users add modules, they do not sum them
    pub fn add(mut self, module: impl Module + 'static) -> Sequential {
        self.modules.push(Box::new(module));
        self
    }
}

impl Module for Sequential {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.modules.iter().fold(x.clone(), |x, module| module.forward(&x))
    }

    fn visit(&self, visitor: &mut Visitor) {
        for (i, module) in self.modules.iter().enumerate() {
            visitor.module(&i.to_string(), module.as_ref());
        }
    }
}
