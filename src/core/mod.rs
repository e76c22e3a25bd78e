//! Plain values that all layers use: shapes, dtypes, limits, errors, random numbers, and thread-local settings.
//!
//! Independent of graphs, tensors and devices.

pub(crate) mod array;
pub(crate) mod clock;
pub(crate) mod dtype;
pub(crate) mod error;
pub(crate) mod extremes;
pub(crate) mod files;
pub(crate) mod grad_mode;
pub(crate) mod host;
pub(crate) mod limits;
pub(crate) mod random;
pub(crate) mod scoped;
pub(crate) mod shape;
pub(crate) mod sync;
