//! Progress reports of a run: a progress bar in the terminal, a log as CSV, curves as SVG. Each is a feature.
//!
//! Input: numbers on the host, from [`metrics`](crate::metrics). Output: lines and files. This module does not use
//! tensors.

#[cfg(feature = "plots")]
mod chart;
#[cfg(feature = "logs")]
mod log;
#[cfg(feature = "progress")]
mod progress;

#[cfg(feature = "plots")]
pub use chart::{Panel, draw, draw_pictures};
#[cfg(feature = "logs")]
pub use log::Log;
#[cfg(feature = "progress")]
pub use progress::Progress;
