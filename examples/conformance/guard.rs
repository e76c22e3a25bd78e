//! Catches panics: of the library, and of the runner itself.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, set_hook, take_hook};
use std::sync::Once;

/// Why a call has no result.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The library does not have this operation.
    NotThere(String),
    /// The library's types do not allow this call.
    Impossible(String),
    /// The case does not follow the format.
    Malformed(String),
    /// The library panicked at this place.
    Panic { message: String, place: String },
}

impl Fault {
    /// Ends the case. [`catch`] returns the fault.
    pub fn raise(self) -> ! {
        panic_any(self)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Fault::NotThere(what) => write!(f, "not implemented: {what}"),
            Fault::Impossible(what) => write!(f, "cannot be written: {what}"),
            Fault::Malformed(what) => write!(f, "not in the format: {what}"),
            Fault::Panic { message, place } => write!(f, "panic at {place}: {message}"),
        }
    }
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `f`. A panic inside is not printed and is returned as a [`Fault`].
pub fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Fault> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |info| {
            if CATCHING.get() {
                PLACE.set(info.location().map_or(String::new(), ToString::to_string));
            } else {
                loud(info);
            }
        }));
    });
    let outer = CATCHING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    CATCHING.set(outer);
    result.map_err(|payload| match payload.downcast::<Fault>() {
        Ok(fault) => *fault,
        Err(payload) => {
            let message = payload.downcast_ref::<String>().cloned();
            let message = message.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Fault::Panic { message: message.unwrap_or_default(), place: PLACE.take() }
        }
    })
}
