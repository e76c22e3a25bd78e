//! The per-thread gradient mode: whether a thread records the graph for gradients.

use std::cell::Cell;

use super::scoped::scoped;

thread_local! {
    static GRAD_ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Runs `f` without recording the graph: the tensors that it builds need no gradient. The setting is per thread.
///
/// ```
/// use wgrad::{Device, Tensor, no_grad};
/// let x = Tensor::ones([2], &Device::cpu()).requires_grad();
/// assert!(!no_grad(|| &x * 2.0).needs_grad());
/// ```
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    with_grad(false, f)
}

/// Runs `f` with recording turned on, for use inside [`no_grad`].
pub fn enable_grad<R>(f: impl FnOnce() -> R) -> R {
    with_grad(true, f)
}

/// Whether this thread records the graph for gradients.
pub fn is_grad_enabled() -> bool {
    GRAD_ENABLED.get()
}

pub(crate) fn with_grad<R>(enabled: bool, f: impl FnOnce() -> R) -> R {
    scoped(&GRAD_ENABLED, enabled, f)
}
