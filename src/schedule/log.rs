//! The topics of `WGRAD_LOG`: the passes, and what backends do.

use std::sync::LazyLock;

use super::PASSES;

/// Whether the variable `WGRAD_LOG` names a topic: `plan` prints each plan when it is made, `after:NAME` the form behind a
/// pass, `wgsl` each kernel's text, `kernel` a line for each kernel that has run.
pub(crate) fn logs(topic: &str) -> bool {
    static TOPICS: LazyLock<Vec<String>> = LazyLock::new(topics);
    TOPICS.iter().any(|other| other == topic)
}

/// The topics that the variable names. One that does not exist would be silence otherwise.
fn topics() -> Vec<String> {
    let named = std::env::var("WGRAD_LOG").unwrap_or_default();
    let topics: Vec<String> = named.split(',').filter(|topic| !topic.is_empty()).map(str::to_owned).collect();
    let exists = |topic: &str| match topic.strip_prefix("after:") {
        Some(pass) => pass == "all" || PASSES.contains(&pass),
        None => ["plan", "kernel", "wgsl"].contains(&topic),
    };
    for topic in topics.iter().filter(|topic| !exists(topic)) {
        let passes = PASSES.join(", ");
        eprintln!(
            "wgrad: WGRAD_LOG takes plan, kernel, wgsl, after:all or after:NAME ({passes}), not {topic}"
        );
    }
    topics
}
