//! `Var`: the only thing in the crate that changes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::Tensor;
use crate::core::shape::refuse;
use crate::core::sync::lock;
use crate::graph::{Node, Pending, Variable};

/// A named place that holds a tensor: a parameter, a running statistic, an optimizer's state.
///
/// Tensors never change; a `Var` is given another one. Clones share the place.
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
    /// A place whose tensor asks for a gradient: what optimizers train.
    #[track_caller]
    pub fn parameter(tensor: Tensor) -> Var {
        Var::new(tensor, true)
    }

    /// A place without a gradient: statistics and other state.
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

    /// The tensor that the place holds now.
    pub fn tensor(&self) -> Tensor {
        lock(&self.0.tensor).clone()
    }

    /// Puts another tensor of the same shape and dtype in: detached from its history and with no gradient yet. It is
    /// computed at the next `realize` of the device, whoever calls it.
    #[track_caller]
    pub fn set(&self, tensor: Tensor) {
        let old = self.tensor();
        if tensor.spec() != old.spec() || tensor.device() != old.device() {
            refuse!(
                "set",
                "a place for {} on {} cannot hold {} on {}",
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

    /// Computed by the next realize of the device, so that no chain of pending values grows.
    fn register(&self, initial: bool) {
        let tensor = self.tensor();
        tensor.device().register(match initial {
            true => Pending::Initial(Arc::downgrade(tensor.node())),
            false => Pending::Changed(Arc::downgrade(&self.0) as Weak<dyn Variable>),
        });
    }

    /// The gradient that backward passes have added up since the tensor was put in, or since
    /// [`zero_grad`](Var::zero_grad).
    pub fn grad(&self) -> Option<Tensor> {
        self.tensor().grad()
    }

    /// The gradient, which is gone from here afterwards: a handle on it would have to be given a value.
    pub(crate) fn take_grad(&self) -> Option<Tensor> {
        self.tensor().node().state().grad.take().map(Tensor)
    }

    /// Another gradient in place of the one that was taken.
    pub(crate) fn put_grad(&self, gradient: Tensor) {
        let replaced = self.tensor().node().state().grad.replace(gradient.0);
        drop(replaced);
    }

    /// Forgets the gradient.
    pub fn zero_grad(&self) {
        self.tensor().zero_grad();
    }

    /// Whether optimizers train it: it is a parameter, and not frozen.
    pub fn trains(&self) -> bool {
        self.0.parameter && !self.0.frozen.load(Ordering::Relaxed)
    }

    pub(crate) fn is_parameter(&self) -> bool {
        self.0.parameter
    }

    /// Takes a parameter from training: what is built with it from now on computes no gradient for it.
    pub fn freeze(&self) {
        self.set_frozen(true);
    }

    /// Gives a frozen parameter back to training.
    pub fn unfreeze(&self) {
        self.set_frozen(false);
    }

    fn set_frozen(&self, frozen: bool) {
        if self.0.parameter && self.0.frozen.swap(frozen, Ordering::Relaxed) != frozen {
            self.set(self.tensor());
        }
    }

    /// Whether two handles mean the same place.
    pub fn same(&self, other: &Var) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl VarCell {
    /// The tensor's value on a node of the cell's own, where a gradient may gather.
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
