//! Code shared by the examples: the command line, checkpoints of a run, and measurements.

#![allow(dead_code)] // no example uses everything

pub mod args;
pub mod classifier;
pub mod meter;
pub mod run;
