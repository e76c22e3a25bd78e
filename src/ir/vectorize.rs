//! Decides which kernels are vectorized. Each invocation of a vectorized kernel computes four adjacent elements. It
//! loads the corresponding elements of each operand as one vector, or as one element that is the same for all four.

use super::{Inst, Kernel, Program, ReductionKernel};
use crate::graph::View;

/// Minimum number of indices of a vectorized kernel, except for elementwise kernels over contiguous buffers. Smaller
/// kernels are not vectorized, so that one pipeline runs all their sizes.
pub(crate) const MIN_VECTORIZED_SPACE: usize = 1 << 14;

/// Maximum number of accumulators of a vectorized column reduction. The workgroup memory must have space for four times
/// as many.
const MAX_COLUMN_ACCUMULATORS: usize = 8;

/// Returns the vectorized dim of a kernel, if it is vectorized.
pub(crate) fn vec4_dim(kernel: &Kernel) -> Option<usize> {
    match kernel {
        Kernel::Elementwise(program) => elementwise_vec4_dim(program),
        Kernel::Reduce(reduction) => reduction_vec4_dim(reduction),
        Kernel::MatMul(..) | Kernel::Fused(_) => None,
    }
}

/// Returns the vectorized dim of a reduction: the last reduced dim, or else the last dim that is not reduced.
pub(crate) fn reduction_vec4_dim(reduction: &ReductionKernel) -> Option<usize> {
    let (program, inner) = (&reduction.program, reduction.inner());
    let rows = program.space.rank().checked_sub(1).filter(|&last| last >= inner);
    let large = program.space.numel() >= MIN_VECTORIZED_SPACE;
    let fits = |&dim: &usize| large && program.space[dim].is_multiple_of(4) && is_vectorizable(program, dim);
    let columns = inner.checked_sub(1).filter(|_| reduction.reduce_ops.len() <= MAX_COLUMN_ACCUMULATORS);
    rows.into_iter().chain(columns).find(fits)
}

/// Returns the vectorized dim of an elementwise kernel: its last dim. If it is the only dim, its size does not have to
/// be a multiple of 4: buffers are padded, and the kernel writes the results of out-of-range invocations to the
/// padding.
pub(crate) fn elementwise_vec4_dim(program: &Program) -> Option<usize> {
    let rank = program.space.rank();
    let dim = rank.saturating_sub(1);
    let fits = rank <= 1 || program.space[dim].is_multiple_of(4);
    let simple = rank <= 1 && program.is_plain() && !program.uses_coordinates();
    let worth = program.space.numel() >= MIN_VECTORIZED_SPACE || simple;
    (fits && worth && is_vectorizable(program, dim)).then_some(dim)
}

/// Whether every memory access at four adjacent indices along the dim is one aligned vector or one element. Kernels
/// with a gather are not vectorized.
fn is_vectorizable(program: &Program, dim: usize) -> bool {
    let view_fits = |view: &View| {
        let range = view.mask.as_ref().and_then(|mask| mask.get(dim));
        let masked = range.is_some_and(|(low, high)| low % 4 != 0 || high % 4 != 0);
        let aligned = |d: usize| d == dim || view.shape[d] == 1 || view.strides[d] % 4 == 0;
        !masked
            && match view.strides.get(dim) {
                Some(1) => view.offset % 4 == 0 && (0..view.strides.len()).all(aligned),
                stride => matches!(stride, None | Some(0)),
            }
    };
    let gathers = program.code.iter().any(|inst| matches!(inst, Inst::Gather { .. }));
    program.memory_views().all(view_fits) && !gathers
}
