//! The training text as tokens.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wgrad::data::Vocabulary;

/// The default text: this project's documentation and some of its source.
const DEFAULT: &[&str] = &[
    include_str!("../../ARCHITECTURE.md"),
    include_str!("../../CONTRIBUTING.md"),
    include_str!("../../src/graph/table.rs"),
    include_str!("../../src/tensor/movement.rs"),
    include_str!("../../src/tensor/loss.rs"),
    include_str!("../../src/tensor/reduction.rs"),
    include_str!("../../src/schedule/regions/mod.rs"),
    include_str!("../../src/autograd/mod.rs"),
    include_str!("../../src/core/shape.rs"),
];

pub struct Text {
    pub vocabulary: Vocabulary,
    tokens: Vec<i32>,
}

impl Text {
    pub fn load(path: Option<&Path>) -> Result<Text> {
        let text = match path {
            Some(path) => {
                fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?
            }
            None => DEFAULT.concat(),
        };
        let vocabulary = Vocabulary::of(&text);
        let tokens = vocabulary.encode(&text).expect("the vocabulary is made from this text");
        Ok(Text { vocabulary, tokens })
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The first 90% for training, and the rest for validation.
    pub fn split(&self) -> (Vec<i32>, Vec<i32>) {
        let (train, rest) = self.tokens.split_at(self.len() / 10 * 9);
        (train.to_vec(), rest.to_vec())
    }
}
