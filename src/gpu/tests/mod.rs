//! The runtime by itself, with kernels of the tests' own.

mod device;
mod failures;
mod kernels;
mod reads;
mod runs;
