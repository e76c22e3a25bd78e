//! Matrix products and fused operations, which read their operands from memory: where each operand lies.

use super::{Epilogue, Planner, Region};
use crate::graph::View;
use crate::ir::{BufferId, Output};
use crate::schedule::access::batch_strides;

impl Planner<'_> {
    /// Places a matrix product. Its operands are read by strides; batches that two strides cannot express are laid out
    /// anew.
    pub(super) fn place_matmul(&mut self, item: usize, epilogue: Option<Epilogue>) {
        let [left, right] = self.item(item).sources[..] else { unreachable!("two operands") };
        let out = self.item(item).spec(0).shape.clone();
        let sizes = &out[..out.rank() - 2];
        // Kernels count with unsigned numbers.
        let is_forward = |view: &View| view.strides.iter().all(|&stride| stride >= 0);
        let [a, b] = [left, right].map(|source| match self.resolve_view(source).1 {
            view if is_forward(&view) => view,
            _ => View::contiguous(&self.graph.spec(source).shape),
        });
        let has_strides = batch_strides(sizes, [&a, &b]).is_some();
        let fits = |view: &View| if has_strides { is_forward(view) } else { view.is_contiguous() };
        let operands = [self.operand(left, fits), self.operand(right, fits)];
        self.push(Region::MatMul { item, operands, epilogue });
    }

    /// Places a fused operation. Its kernels read whole buffers.
    pub(super) fn place_fused(&mut self, item: usize) {
        let sources = self.item(item).sources.clone();
        let inputs = sources.iter().map(|&source| self.operand(source, View::is_contiguous).0).collect();
        self.push(Region::Fused { item, inputs });
    }

    /// An operand of a kernel that can read only views for which `fits` is true: where it lies, or else laid out anew.
    fn operand(&mut self, source: Output, fits: impl Fn(&View) -> bool) -> (BufferId, View) {
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
        // An input that is itself a view.
        let to = BufferId::Scratch(self.regions.scratch.len());
        self.regions.scratch.push(spec.bytes());
        self.push(Region::Copy { source, view, to });
        (to, contiguous)
    }
}
