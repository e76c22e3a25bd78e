//! Kernels as plain data. `schedule` builds them; `gpu` and `cpu` run them.
//!
//! A [`Program`] is straight-line code over an iteration space. A [`Kernel`] is a program, a reduction, a matrix
//! product or a dispatch of a fused operation. A [`KernelGraph`] contains kernels and the buffers between them; a
//! [`Plan`] also contains a memory slot for each buffer. All forms can be printed (`display`). Independent of nodes,
//! devices and backends.

mod display;
mod kernel;
mod plan;
mod program;
pub(crate) mod vectorize;

pub(crate) use display::{Strides, joined};
pub(crate) use kernel::{BufferId, Kernel, KernelGraph, KernelNode, MatMul, Matrix, Output, ReductionKernel};
pub(crate) use plan::{Placement, Plan, PlanSlot, Step};
pub(crate) use program::{Inst, Load, Program, Reg, index_of};
