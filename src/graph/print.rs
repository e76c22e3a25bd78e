//! The graph as text: a line a node, each with the user's line that built it.

use std::fmt::Write;

use rustc_hash::FxHashSet;

use crate::tensor::Tensor;

impl Tensor {
    /// The graph behind this tensor as text, oldest node first: what has been computed and forgotten is not in it.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let x = Tensor::ones([2], &Device::cpu());
    /// let lines = (x.exp() * 2.0).graph();
    /// assert!(lines.lines().any(|line| line.contains("exp")));
    /// ```
    pub fn graph(&self) -> String {
        let (mut stack, mut seen, mut nodes) = (vec![self.node.clone()], FxHashSet::default(), Vec::new());
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
}
