//! Regions of matrix products and fused operations, which read their operands from memory.

use super::{EpilogueRegion, Planner, Region};
use crate::graph::View;
use crate::ir::{BufferId, MatMul, Output};

impl Planner<'_> {
    /// Creates the region of a matrix product, which reads its operands through strides. If two batch strides cannot
    /// express an operand, operands that are not contiguous are materialized or copied.
    pub(super) fn place_matmul(&mut self, item: usize, epilogue: Option<EpilogueRegion>) {
        let sources = [0, 1].map(|i| self.item(item).sources[i]);
        let out = self.item(item).spec(0).shape.clone();
        let mut copies = Vec::new();
        // Kernels compute the offsets of operands as unsigned integers.
        let is_forward = |view: &View| view.strides.iter().all(|&stride| stride >= 0);
        let mut operands = sources.map(|source| self.operand(source, is_forward, &mut copies));
        if MatMul::batch_strides(&out[..out.rank() - 2], [&operands[0].1, &operands[1].1]).is_none() {
            operands = sources.map(|source| self.operand(source, View::is_contiguous, &mut copies));
        }
        self.push(Region::MatMul { item, operands, epilogue });
        copies.into_iter().for_each(|copy| self.push(copy));
    }

    /// Creates the region of a fused operation. Its kernels require contiguous operands.
    pub(super) fn place_fused(&mut self, item: usize) {
        let sources = self.item(item).sources.clone();
        let mut copies = Vec::new();
        let operand = |&source: &Output| self.operand(source, View::is_contiguous, &mut copies).0;
        let inputs = sources.iter().map(operand).collect();
        self.push(Region::Fused { item, inputs });
        copies.into_iter().for_each(|copy| self.push(copy));
    }

    /// Returns the memory of an operand. If the kernel cannot read its view (`fits` returns false), materializes or
    /// copies the operand.
    fn operand(
        &mut self,
        source: Output,
        fits: impl Fn(&View) -> bool,
        copies: &mut Vec<Region>,
    ) -> (BufferId, View) {
        let (base, view) = self.resolve_view(source);
        if fits(&view) {
            self.materialize(base.item);
            return (BufferId::Item(base), view);
        }
        let spec = self.graph.spec(source).clone();
        let contiguous = View::contiguous(&spec.shape);
        if self.item(source.item).is_pending() {
            self.materialize(source.item);
            return (BufferId::Item(source), contiguous);
        }
        // The operand is an input whose value is a strided view, so it is copied.
        let to = BufferId::Scratch(self.regions.scratch.len());
        self.regions.scratch.push(spec.bytes());
        copies.push(Region::Copy { source, view, to });
        (to, contiguous)
    }
}
