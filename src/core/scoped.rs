//! Thread-local settings that are set while a function runs.

use std::cell::Cell;
use std::thread::LocalKey;

/// Runs `f` with the setting at `value`, and restores it afterwards, also when `f` panics.
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
