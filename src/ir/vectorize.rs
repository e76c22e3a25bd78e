//! Which kernels compute four neighbours at a time: those whose operands have the four in one vector, or in one element.

use super::{Inst, Kernel, Program, ReductionKernel};
use crate::graph::View;

/// Indices from which on a vectorized kernel is worth its own text. Below, one text serves all sizes.
pub(crate) const MIN_VECTORIZED_SPACE: usize = 1 << 14;

/// Accumulators that a vectorized column reduction may have: four times as many are exchanged in workgroup memory.
const MAX_COLUMN_ACCUMULATORS: usize = 8;

/// The dim along which the kernel is vectorized.
pub(crate) fn vec4_dim(kernel: &Kernel) -> Option<usize> {
    match kernel {
        Kernel::Elementwise(program) => elementwise_vec4_dim(program),
        Kernel::Reduce(reduction) => reduction_vec4_dim(reduction),
        Kernel::MatMul(..) | Kernel::Fused(_) => None,
    }
}

/// The last dim that is reduced, or else the last one that is not.
pub(crate) fn reduction_vec4_dim(reduction: &ReductionKernel) -> Option<usize> {
    let (program, inner) = (&reduction.program, reduction.inner());
    let rows = program.space.rank().checked_sub(1).filter(|&last| last >= inner);
    let large = program.space.numel() >= MIN_VECTORIZED_SPACE;
    let fits = |&dim: &usize| large && program.space[dim].is_multiple_of(4) && is_vectorizable(program, dim);
    let columns = inner.checked_sub(1).filter(|_| reduction.reduce_ops.len() <= MAX_COLUMN_ACCUMULATORS);
    rows.into_iter().chain(columns).find(fits)
}

/// The last dim. A single dim need not be a multiple of four: buffers are padded, and what is computed beyond the end
/// of the tensor is written to the padding.
pub(crate) fn elementwise_vec4_dim(program: &Program) -> Option<usize> {
    let rank = program.space.rank();
    let dim = rank.saturating_sub(1);
    let fits = rank <= 1 || program.space[dim].is_multiple_of(4);
    let simple = rank <= 1 && program.is_plain() && !program.uses_coordinates();
    let worth = program.space.numel() >= MIN_VECTORIZED_SPACE || simple;
    (fits && worth && is_vectorizable(program, dim)).then_some(dim)
}

/// Whether each operand has four neighbours along the dim in one vector, or the same element for all of them, and each
/// elementwise output of a reduction has them in one vector. A gather reads anywhere.
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
