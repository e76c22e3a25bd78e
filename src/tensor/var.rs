//! [`Var`], the only mutable type.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::Tensor;
use crate::core::shape::refuse;
use crate::core::sync::lock;
use crate::graph::{Node, Pending, Variable};

/// A mutable variable that holds a tensor: a parameter, a running statistic, or optimizer state.
///
/// Tensors are immutable; a `Var` can be set to another tensor. Clones share the variable.
///
/// ```
/// use wgrad::{Device, Tensor, Var};
/// let w = Var::parameter(Tensor::new([1.0, 2.0], [2], &Device::cpu()));
/// (w.tensor() * 3.0).sum().backward();
/// assert_eq!(w.grad().unwrap().to_vec::<f32>().unwrap(), [3.0, 3.0]);
/// w.set(w.tensor() - w.grad().unwrap() * 0.1);
/// assert!(w.grad().is_none());
/// ```
#[derive(Clone)]
pub struct Var(Arc<VarCell>);

pub(crate) struct VarCell {
    parameter: bool,
    frozen: AtomicBool,
    tensor: Mutex<Tensor>,
}

impl Var {
    /// Creates a parameter: its tensor requires a gradient, and optimizers train it.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32.
    #[track_caller]
    pub fn parameter(tensor: Tensor) -> Var {
        Var::new(tensor, true)
    }

    /// Creates a buffer: its tensor requires no gradient (statistics and other state).
    ///
    /// # Panics
    ///
    /// Panics if the tensor exceeds the device's storage binding limit.
    #[track_caller]
    pub fn buffer(tensor: Tensor) -> Var {
        Var::new(tensor, false)
    }

    #[track_caller]
    fn new(tensor: Tensor, parameter: bool) -> Var {
        let tensor = Mutex::new(VarCell::own(parameter, &tensor));
        let var = Var(Arc::new(VarCell { parameter, frozen: AtomicBool::new(false), tensor }));
        var.register(true);
        var
    }

    /// The current tensor.
    pub fn tensor(&self) -> Tensor {
        lock(&self.0.tensor).clone()
    }

    /// Replaces the tensor with another one of the same shape and dtype. The new tensor is detached and has no
    /// gradient. Its value is computed by the next `realize` on the device, whichever tensor that is called on.
    ///
    /// # Panics
    ///
    /// Panics if the shape, dtype or device of `tensor` differs.
    #[track_caller]
    pub fn set(&self, tensor: Tensor) {
        let old = self.tensor();
        if tensor.spec() != old.spec() || tensor.device() != old.device() {
            refuse!(
                "set",
                "a Var of {} on {} cannot hold {} on {}",
                old.spec(),
                old.device(),
                tensor.spec(),
                tensor.device()
            );
        }
        let new = VarCell::own(self.trains(), &tensor);
        let is_first = tensor.node().sources().is_empty() && old.node().value(old.out()).is_none();
        drop(tensor);
        let replaced = std::mem::replace(&mut *lock(&self.0.tensor), new);
        drop(replaced);
        self.register(is_first);
    }

    /// Adds the tensor to the next realize of the device, so that the pending graph does not grow from step to step.
    fn register(&self, initial: bool) {
        let tensor = self.tensor();
        tensor.device().register(match initial {
            true => Pending::Initial(Arc::downgrade(tensor.node())),
            false => Pending::Changed(Arc::downgrade(&self.0) as Weak<dyn Variable>),
        });
    }

    /// The gradient accumulated by backward passes since the last [`set`](Var::set) or [`zero_grad`](Var::zero_grad).
    pub fn grad(&self) -> Option<Tensor> {
        self.tensor().grad()
    }

    /// Takes the gradient out. A remaining handle would force the plan to write its value to memory.
    pub(crate) fn take_grad(&self) -> Option<Tensor> {
        self.tensor().node().state().grad.take().map(Tensor)
    }

    /// Stores a gradient in place of the one that [`take_grad`](Var::take_grad) removed.
    pub(crate) fn put_grad(&self, gradient: Tensor) {
        let replaced = self.tensor().node().state().grad.replace(gradient.0);
        drop(replaced);
    }

    /// Clears the gradient.
    pub fn zero_grad(&self) {
        self.tensor().zero_grad();
    }

    /// Whether optimizers train the variable: it is a parameter and not frozen.
    pub fn trains(&self) -> bool {
        self.0.parameter && !self.0.frozen.load(Ordering::Relaxed)
    }

    pub(crate) fn is_parameter(&self) -> bool {
        self.0.parameter
    }

    /// Freezes a parameter. Tensors built with it from now on compute no gradient for it.
    pub fn freeze(&self) {
        self.set_frozen(true);
    }

    /// Unfreezes a parameter.
    pub fn unfreeze(&self) {
        self.set_frozen(false);
    }

    fn set_frozen(&self, frozen: bool) {
        if self.0.parameter && self.0.frozen.swap(frozen, Ordering::Relaxed) != frozen {
            self.set(self.tensor());
        }
    }

    /// Whether both handles refer to the same variable.
    pub fn same(&self, other: &Var) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl VarCell {
    /// The tensor's value on a new node, which can accumulate a gradient.
    #[track_caller]
    fn own(trains: bool, tensor: &Tensor) -> Tensor {
        let own = tensor.detach();
        if trains { own.requires_grad() } else { own }
    }
}

impl Variable for VarCell {
    fn node(&self) -> Arc<Node> {
        lock(&self.tensor).node().clone()
    }
}

impl fmt::Debug for Var {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Var({})", self.tensor().spec())
    }
}
