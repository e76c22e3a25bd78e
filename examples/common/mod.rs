//! What the examples share: the command line, a run's file, and what is measured.

#![allow(dead_code)] // no example uses all of it

pub mod args;
pub mod classifier;
pub mod meter;
pub mod run;
