//! What a run shows of itself: a progress bar in the terminal, a log as CSV, curves as SVG. Each is a feature.
//!
//! In: numbers on the host, which [`metrics`](crate::metrics) gather. Out: lines and files. Knows no tensor.

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
