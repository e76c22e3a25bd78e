//! Text as subword tokens, with a pretrained tokenizer.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::core::error::Error;
use crate::core::files::file_error;
use crate::core::shape::refuse;

/// A tokenizer from a `tokenizer.json` of Hugging Face's [`tokenizers`](https://docs.rs/tokenizers): byte pair
/// encoding, WordPiece and others. It replaces a [`Vocabulary`](super::Vocabulary) of characters.
///
/// ```
/// # fn main() -> Result<(), wgrad::Error> {
/// use wgrad::data::Tokenizer;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("tokenizer.json");
/// # std::fs::write(&path, r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
/// #     "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"}, "model": {"type": "BPE", "dropout": null,
/// #     "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
/// #     "vocab": {"a": 0, "b": 1, "ab": 2, "aba": 3}, "merges": [["a", "b"], ["ab", "a"]]}}"#).unwrap();
/// let tokenizer = Tokenizer::load(&path)?; // its tokens are a, b, ab and aba
/// assert_eq!(tokenizer.len(), 4);
/// assert_eq!(tokenizer.encode("abab")?, [2, 2]);
/// assert_eq!(tokenizer.decode(&[3, 1]), "abab");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// Returns [`Error::File`] if the file cannot be read or is not a tokenizer.
    pub fn load(path: impl AsRef<Path>) -> Result<Tokenizer, Error> {
        let path = path.as_ref().to_owned();
        match tokenizers::Tokenizer::from_file(&path) {
            Ok(inner) => Ok(Tokenizer { path, inner }),
            Err(error) => Err(file_error(&path, error)),
        }
    }

    /// Returns the number of tokens.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Converts a text to token indices, without special tokens around it.
    ///
    /// # Errors
    ///
    /// Returns [`Error::File`] if the tokenizer fails, for example for an unknown word if it has no token for unknown
    /// words.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, Error> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| file_error(&self.path, error))?;
        Ok(encoding.get_ids().iter().map(|&token| token as i32).collect())
    }

    /// Converts token indices to text.
    ///
    /// # Panics
    ///
    /// Panics if an index is not a token.
    #[track_caller]
    pub fn decode(&self, tokens: &[i32]) -> String {
        let tokens: Vec<u32> = tokens.iter().map(|&token| token as u32).collect();
        if let Some(unknown) = tokens.iter().find(|token| self.inner.id_to_token(**token).is_none()) {
            refuse!("decode", "token {} is out of range for {} tokens", *unknown as i32, self.len());
        }
        match self.inner.decode(&tokens, false) {
            Ok(text) => text,
            Err(error) => refuse!("decode", "{error}"),
        }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Tokenizer({} tokens of {})", self.len(), self.path.display())
    }
}
