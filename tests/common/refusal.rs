//! Panics of programming mistakes.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// The panic of a mistake.
#[derive(Debug)]
pub struct Refusal {
    pub message: String,
    /// The file of the reported line.
    pub file: String,
}

/// The result of `f`, or its panic, which is not printed.
pub fn refused<T>(f: impl FnOnce() -> T) -> Result<T, Refusal> {
    thread_local! {
        /// While a panic is expected: the file that it reports.
        static BLAMED: RefCell<Option<String>> = const { RefCell::new(None) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |info| {
            BLAMED.with_borrow_mut(|blamed| match blamed {
                Some(file) => *file = info.location().map_or(String::new(), |at| at.file().to_owned()),
                None => others(info),
            });
        }));
    });
    BLAMED.set(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(f));
    let file = BLAMED.take().unwrap_or_default();
    outcome.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let message = text.or(payload.downcast_ref::<&str>().copied()).expect("a panic carries a text");
        Refusal { message: message.to_owned(), file }
    })
}
