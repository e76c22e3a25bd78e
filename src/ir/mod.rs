//! Kernels as plain data: built by `schedule`, run by `gpu` and `cpu`.
//!
//! A [`Program`] is straight-line code over an iteration space. A [`Kernel`] is a program, a reduction, a matrix product
//! or a dispatch of a fused operation. A [`KernelGraph`] has kernels and the buffers between them, a [`Plan`] also has
//! a slot of memory for each buffer. All forms can be printed (`display`). Does not know nodes, devices or backends.

mod display;
mod kernel;
mod plan;
mod program;
pub(crate) mod vectorize;

pub(crate) use display::{Strides, joined};
pub(crate) use kernel::{BufferId, Kernel, KernelGraph, KernelNode, MatMul, Matrix, Output, ReductionKernel};
pub(crate) use plan::{Placement, Plan, PlanSlot, Step};
pub(crate) use program::{Inst, Load, Program, Reg, index_of};
