//! Text as numbers, and the windows of it that a language model learns from.

use std::collections::BTreeSet;

use super::Dataset;
use crate::core::shape::refuse;
use crate::graph::Device;
use crate::tensor::Tensor;

/// The characters of a text, each with its number: in the order of Unicode, so the same text gives the same numbers.
///
/// ```
/// let vocabulary = wgrad::data::Vocabulary::of("hello");
/// assert_eq!(vocabulary.encode("hole"), Ok(vec![1, 3, 2, 0]));
/// assert_eq!(vocabulary.decode(&[1, 0, 2, 2, 3]), "hello");
/// assert_eq!(vocabulary.encode("help"), Err('p'));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    characters: Vec<char>,
}

impl Vocabulary {
    /// The characters of this text.
    pub fn of(text: &str) -> Vocabulary {
        Vocabulary { characters: text.chars().collect::<BTreeSet<_>>().into_iter().collect() }
    }

    /// Number of characters.
    pub fn len(&self) -> usize {
        self.characters.len()
    }

    /// Whether it knows no character.
    pub fn is_empty(&self) -> bool {
        self.characters.is_empty()
    }

    /// The characters in the order of their numbers.
    pub fn characters(&self) -> &[char] {
        &self.characters
    }

    /// The number of each character, or the first character that has none.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, char> {
        let number = |c| self.characters.binary_search(&c).map(|number| number as i32).map_err(|_| c);
        text.chars().map(number).collect()
    }

    /// The characters with these numbers.
    #[track_caller]
    pub fn decode(&self, tokens: &[i32]) -> String {
        let character = |&token| match self.characters.get(token as usize) {
            Some(character) => character,
            None => refuse!("decode", "{token} among {} characters", self.len()),
        };
        tokens.iter().map(character).collect()
    }
}

/// Every stretch of `context` tokens in a text, with the token that follows each: `[batch, context]` twice, the second
/// one token further on. The tokens are any tokenizer's.
///
/// ```
/// use wgrad::data::{Dataset, Windows};
/// let (x, y) = Windows::new(vec![5, 6, 7, 8], 2).batch(&[0, 1], &wgrad::Device::cpu());
/// assert_eq!(x.to_vec::<i32>().unwrap(), [5, 6, 6, 7]);
/// assert_eq!(y.to_vec::<i32>().unwrap(), [6, 7, 7, 8]);
/// ```
#[derive(Clone, Debug)]
pub struct Windows {
    tokens: Vec<i32>,
    context: usize,
    stride: usize,
}

impl Windows {
    /// A text of no more than `context` tokens has no window.
    #[track_caller]
    pub fn new(tokens: Vec<i32>, context: usize) -> Windows {
        if context == 0 {
            refuse!("windows", "a context of 0 tokens");
        }
        Windows { tokens, context, stride: 1 }
    }

    /// Only every `stride`-th window: with `stride(context)` each token comes once, as for a validation loss.
    #[track_caller]
    pub fn stride(self, stride: usize) -> Windows {
        if stride == 0 {
            refuse!("windows", "a stride of 0 tokens");
        }
        Windows { stride, ..self }
    }

    /// The text.
    pub fn tokens(&self) -> &[i32] {
        &self.tokens
    }
}

impl Dataset for Windows {
    type Batch = (Tensor, Tensor);

    fn len(&self) -> usize {
        self.tokens.len().saturating_sub(self.context).div_ceil(self.stride)
    }

    fn batch(&self, samples: &[usize], device: &Device) -> (Tensor, Tensor) {
        let windows = |shift| {
            let window = |&sample: &usize| &self.tokens[sample * self.stride + shift..][..self.context];
            let tokens: Vec<i32> = samples.iter().flat_map(window).copied().collect();
            Tensor::new(tokens, [samples.len(), self.context], device)
        };
        (windows(0), windows(1))
    }
}
