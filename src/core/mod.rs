//! What everything else stands on: shapes and dtypes, limits and errors, random numbers, and the settings of a thread.
//!
//! Plain values and pure functions. Nothing here knows the graph, a tensor or a device.

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
