//! Scoped changes of thread-local settings.

use std::cell::Cell;
use std::thread::LocalKey;

/// Runs `f` with the setting set to `value`, and restores the previous value afterwards, even if `f` panics.
pub(crate) fn scoped<T: Copy + 'static, R>(
    setting: &'static LocalKey<Cell<T>>,
    value: T,
    f: impl FnOnce() -> R,
) -> R {
    struct RestoreSetting<T: Copy + 'static>(&'static LocalKey<Cell<T>>, T);
    impl<T: Copy> Drop for RestoreSetting<T> {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _restore = RestoreSetting(setting, setting.replace(value));
    f()
}
