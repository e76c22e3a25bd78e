//! Tokens by a `tokenizer.json`, whose answers are worked out by hand.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use wgrad::data::{Dataset, Tokenizer, Windows};
use wgrad::{Device, Error};

use crate::refusal::refused;

/// A file with this model, and with pieces of text as GPT-2 has them: by its regular expression, with `Ġ` for a space.
fn file(model: Value) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let whole = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes, "model": model,
    });
    fs::write(&path, whole.to_string()).unwrap();
    (folder, path)
}

fn byte_pairs() -> Value {
    let tokens = ["h", "e", "l", "o", "Ġ", "w", "r", "d", "he", "ll", "hell", "Ġw"];
    let vocabulary: Value =
        tokens.iter().enumerate().map(|(i, token)| (token.to_string(), json!(i))).collect();
    let merges = [["h", "e"], ["l", "l"], ["he", "ll"], ["Ġ", "w"]];
    json!({"type": "BPE", "vocab": vocabulary, "merges": merges})
}

#[test]
fn byte_pairs_are_merged_in_their_order() {
    let (_folder, path) = file(byte_pairs());
    let tokenizer = Tokenizer::load(&path).unwrap();
    assert_eq!(tokenizer.len(), 12);
    let tokens = tokenizer.encode("hello world").unwrap();
    assert_eq!(tokens, [10, 3, 11, 3, 6, 2, 7]); // hell o | Ġw o r l d
    assert_eq!(tokenizer.decode(&tokens), "hello world");
    assert!(tokenizer.encode("").unwrap().is_empty());
    let (x, y) = Windows::new(tokens, 6).batch(&[0], &Device::cpu());
    assert_eq!(tokenizer.decode(&x.to_vec::<i32>().unwrap()), "hello worl");
    assert_eq!(tokenizer.decode(&y.to_vec::<i32>().unwrap()), "o world");
}

#[test]
fn what_is_no_token_is_refused() {
    let (_folder, path) = file(byte_pairs());
    let tokenizer = Tokenizer::load(&path).unwrap();
    for unknown in [12, -1] {
        let refusal = refused(|| tokenizer.decode(&[0, unknown])).expect_err("it is no token");
        assert!(refusal.message.contains(&format!("{unknown} is out of range for 12")), "{refusal:?}");
        assert!(refusal.file.ends_with("tokenizer.rs"), "{refusal:?}");
    }
    let (_folder, path) = file(json!({"type": "WordLevel", "vocab": {"he": 0}, "unk_token": "[UNK]"}));
    let error = Tokenizer::load(&path).unwrap().encode("she").expect_err("there is no token for it");
    assert!(matches!(&error, Error::File { path: named, .. } if *named == path), "{error:?}");
}

#[test]
fn a_damaged_file_is_refused() {
    let (folder, path) = file(byte_pairs());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    for path in [path, folder.path().join("absent.json")] {
        let error = Tokenizer::load(&path).expect_err("it is not whole");
        assert!(matches!(&error, Error::File { path: named, .. } if *named == path), "{error:?}");
    }
}
