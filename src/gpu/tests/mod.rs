//! Tests of the GPU runtime alone, with simple kernels.

mod device;
mod failures;
mod kernels;
mod reads;
mod runs;
