//! Which kernels work on four neighbours at a time: those whose operands have them in one vector or in one element.

use super::plan::{Inst, Kernel, Program, Reduction};
use crate::graph::View;

/// Places from which on four at a time are worth a text of their own: below, sizes of every kind share one.
pub(super) const MANY: usize = 1 << 14;

/// Sums that four columns may have each: lanes hand them over in workgroup memory.
const MOST_SUMS: usize = 8;

impl Kernel {
    /// The dim along which it goes by fours.
    pub fn fours(&self) -> Option<usize> {
        match self {
            Kernel::Map(program) => program.fours(),
            Kernel::Reduce(reduction) => reduction.fours(),
            Kernel::MatMul(..) | Kernel::Fused(_) => None,
        }
    }
}

impl Reduction {
    /// The dim along which it goes by fours: the last one that is reduced, or else the last one that stays.
    pub fn fours(&self) -> Option<usize> {
        let (program, inner) = (&self.program, self.inner());
        let rows = program.space.rank().checked_sub(1).filter(|&last| last >= inner);
        let many = program.space.numel() >= MANY;
        let fits = |&dim: &usize| many && program.space[dim].is_multiple_of(4) && program.goes_by_fours(dim);
        let columns = inner.checked_sub(1).filter(|_| self.how.len() <= MOST_SUMS);
        rows.into_iter().chain(columns).find(fits)
    }
}

impl Program {
    /// The dim along which an elementwise program goes by fours: the last one. A single dim need not be a multiple of four,
    /// as memory is: what is computed beyond its end lies in the buffers' padding.
    pub fn fours(&self) -> Option<usize> {
        let rank = self.space.rank();
        let dim = rank.saturating_sub(1);
        let fits = rank <= 1 || self.space[dim].is_multiple_of(4);
        let worth = self.space.numel() >= MANY || (rank <= 1 && self.is_plain() && !self.is_placed());
        (fits && worth && self.goes_by_fours(dim)).then_some(dim)
    }

    /// Each operand has four neighbours along the dim in one vector, or is the same for all of them. What a gather reads
    /// lies anywhere. What a reduction writes place by place is to have them in one vector.
    fn goes_by_fours(&self, dim: usize) -> bool {
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
        self.in_memory().all(view_fits) && !self.code.iter().any(|inst| matches!(inst, Inst::Gather { .. }))
    }

    /// Whether every operand is read in order or at one place.
    pub fn is_plain(&self) -> bool {
        self.loads.iter().all(|load| load.view.is_contiguous() || load.view.is_one_place())
    }

    /// Whether a place's own coordinates enter into what is computed there.
    pub fn is_placed(&self) -> bool {
        self.code.iter().any(|inst| matches!(inst, Inst::Index(_) | Inst::Random(..) | Inst::Mask(..)))
    }
}
