//! Locking.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. A panic elsewhere (a broken shader, a rejected argument) leaves what is locked in order, so it need not spread.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
