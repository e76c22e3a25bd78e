//! The topics of `WGRAD_LOG`: the forms after passes, plans, kernels and WGSL.

use std::sync::LazyLock;

use super::PASSES;

/// Whether `WGRAD_LOG` contains a topic: `plan` prints each new plan, `after:NAME` prints the form after a pass, `wgsl`
/// prints the shader code of each kernel, and `kernel` prints one line per kernel that has run.
pub(crate) fn logs(topic: &str) -> bool {
    static TOPICS: LazyLock<Vec<String>> = LazyLock::new(topics);
    TOPICS.iter().any(|other| other == topic)
}

/// Returns the topics in `WGRAD_LOG`. Prints a warning for each unknown topic.
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
