//! Printed graphs: one line per node, with the user's line that built the node.

use std::fmt::Write;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::node::Node;

/// Prints the node and all nodes on which it depends, oldest node first.
pub(crate) fn print(root: &Arc<Node>) -> String {
    let (mut stack, mut seen, mut nodes) = (vec![root.clone()], FxHashSet::default(), Vec::new());
    while let Some(node) = stack.pop() {
        if seen.insert(node.id) {
            stack.extend(node.sources().iter().map(|edge| edge.node.clone()));
            nodes.push(node);
        }
    }
    nodes.sort_unstable_by_key(|node| node.id);
    nodes.iter().fold(String::new(), |mut text, node| {
        writeln!(text, "{node:?}").expect("a string takes text");
        text
    })
}
