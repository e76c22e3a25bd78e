//! The loader against its promises (one order, whatever the workers; exact positions; no hang), images against a plain
//! loop, and files, whole and damaged.

#[path = "../common/refusal.rs"]
mod refusal;

mod files;
mod images;
mod loader;
mod tokenizer;
