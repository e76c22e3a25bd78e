//! Tests that need to see inside: the rows of the table.

#[path = "../../tests/common/mod.rs"]
mod common;
mod extremes;
mod rows;
mod special;
