//! Kernels as plain data: what `schedule` makes, and what `gpu` and `cpu` run.
//!
//! A [`Program`] is straight-line code over an iteration space. A [`Kernel`] is a program, a reduction, a matrix product
//! or a dispatch of a fused operation. A [`KernelGraph`] is kernels with the buffers between them, a [`Plan`] the same with
//! each buffer given a slot of memory. All of it can be printed (`display`). Knows no node, device or backend.

mod display;
mod kernel;
mod plan;
mod program;
pub(crate) mod vectorize;

pub(crate) use display::{Strides, joined};
pub(crate) use kernel::{BufferId, Kernel, KernelGraph, KernelNode, MatMul, Matrix, Output, ReductionKernel};
pub(crate) use plan::{Placement, Plan, PlanSlot, Step};
pub(crate) use program::{Inst, Load, Program, Reg, index_of};
