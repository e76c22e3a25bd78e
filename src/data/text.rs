//! Text as tokens, and windows of tokens to train a language model.

use std::collections::BTreeSet;

use super::Dataset;
use crate::core::shape::refuse;
use crate::graph::Device;
use crate::tensor::Tensor;

/// The characters of a text with their token indices, in Unicode order. The same text gives the same indices.
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
    /// Creates the vocabulary of the characters in a text.
    pub fn of(text: &str) -> Vocabulary {
        Vocabulary { characters: text.chars().collect::<BTreeSet<_>>().into_iter().collect() }
    }

    /// Returns the number of characters.
    pub fn len(&self) -> usize {
        self.characters.len()
    }

    /// Whether there are no characters.
    pub fn is_empty(&self) -> bool {
        self.characters.is_empty()
    }

    /// Returns the characters in the order of their indices.
    pub fn characters(&self) -> &[char] {
        &self.characters
    }

    /// Converts a text to token indices.
    ///
    /// # Errors
    ///
    /// Returns the first character that is not in the vocabulary.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, char> {
        let number = |c| self.characters.binary_search(&c).map(|number| number as i32).map_err(|_| c);
        text.chars().map(number).collect()
    }

    /// Converts token indices to text.
    ///
    /// # Panics
    ///
    /// Panics if an index is out of range.
    #[track_caller]
    pub fn decode(&self, tokens: &[i32]) -> String {
        let character = |&token| match self.characters.get(token as usize) {
            Some(character) => character,
            None => refuse!("decode", "token {token} is out of range for {} characters", self.len()),
        };
        tokens.iter().map(character).collect()
    }
}

/// All windows of `context` tokens in a text, with the token that follows each window token. A batch is a pair of
/// `[batch, context]` tensors; the second is shifted by one token.
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
    /// Creates the dataset. A text with at most `context` tokens has no windows.
    ///
    /// # Panics
    ///
    /// Panics if `context` is 0.
    #[track_caller]
    pub fn new(tokens: Vec<i32>, context: usize) -> Windows {
        if context == 0 {
            refuse!("windows", "context must be >= 1");
        }
        Windows { tokens, context, stride: 1 }
    }

    /// Uses only every `stride`-th window. With `stride(context)` each token occurs once, as for a validation loss.
    ///
    /// # Panics
    ///
    /// Panics if `stride` is 0.
    #[track_caller]
    pub fn stride(self, stride: usize) -> Windows {
        if stride == 0 {
            refuse!("windows", "stride must be >= 1");
        }
        Windows { stride, ..self }
    }

    /// Returns the tokens of the text.
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
