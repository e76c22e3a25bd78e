//! What the examples share: the command line, meters, charts, logs, and a run's file.

#![allow(dead_code)] // no example uses all of it

pub mod args;
pub mod chart;
pub mod classifier;
pub mod log;
pub mod meter;
pub mod run;
