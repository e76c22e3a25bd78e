//! Matrix products: where their operands lie, and long ones in parts of K.

use smallvec::SmallVec;

use super::map::Epilogue;
use super::{Access, Fuser};
use crate::graph::{Move, Reduce, View};
use crate::schedule::cone::Source;
use crate::schedule::emit::position;
use crate::schedule::plan::{Kernel, MatMul, Matrix, Program, Reduction};
use crate::schedule::split::k_splits;

impl Fuser<'_> {
    /// The product, or its transpose: that of the transposed operands. Gives the group that has the results.
    pub(super) fn matmul(&mut self, item: usize, epilogue: Option<Epilogue>, transposed: bool) -> usize {
        let [left, right] = self.cone.items[item].sources[..] else { unreachable!("two operands") };
        let out = self.cone.items[item].spec(0).shape.clone();
        let rank = out.rank();
        let (a, mut view_a) = self.fitting_operand(left, forward);
        let (b, mut view_b) = self.fitting_operand(right, forward);
        let batch = |a: &View, b: &View| batches(&out[..rank - 2], [a, b]);
        // Batches that two strides cannot say are laid out anew.
        let (a, b, batches) = match batch(&view_a, &view_b) {
            Some(found) => (a, b, found),
            None => {
                let (a, b) = (
                    self.fitting_operand(left, View::is_contiguous),
                    self.fitting_operand(right, View::is_contiguous),
                );
                (view_a, view_b) = (a.1, b.1);
                let found = batch(&view_a, &view_b).expect("contiguous batches are one dim");
                (a.0, b.0, found)
            }
        };
        let (sizes, strides) = batches;
        let mut reads = vec![a];
        let mut matrix = |access: Access, view: &View, batch: [usize; 2]| Matrix {
            read: position(&mut reads, access),
            offset: view.offset as usize,
            batch,
            row: view.strides[rank - 2] as usize,
            col: view.strides[rank - 1] as usize,
        };
        let (mut a, mut b) = (matrix(a, &view_a, strides[0]), matrix(b, &view_b, strides[1]));
        let (mut m, mut n, k) = (out[rank - 2], out[rank - 1], view_a.shape[rank - 1]);
        if transposed {
            (a, b, m, n) = (b.transposed(), a.transposed(), n, m);
        }
        let outputs = out.numel();
        let splits = k_splits(self.limits, outputs, k);
        let product =
            |splits, epilogue| Kernel::MatMul(MatMul { batch: sizes, m, n, k, a, b, splits }, epilogue);
        let own = std::iter::once(Access::Item(Source { item, out: 0 }));
        let dtype = self.cone.items[item].spec(0).dtype;
        if splits == 1 {
            let (epilogue, writes) = Epilogue::onto(epilogue, &mut reads, own, &[dtype]);
            return self.push(product(1, epilogue), reads, writes, item);
        }
        let scratch = Access::Scratch(self.out.scratch.len());
        self.out.scratch.push(outputs * splits * dtype.bytes());
        let mut partial = vec![scratch];
        let (epilogue, writes) = Epilogue::onto(epilogue, &mut partial, own, &[dtype]);
        // The partial products follow one another: the sum runs over the outer dim.
        let view =
            View::contiguous(&[splits, outputs].into()).apply(&Move::Permute(SmallVec::from_slice(&[1, 0])));
        let program = Program::copy(view.expect("strides can say a transpose"), dtype);
        let how = SmallVec::from_elem(Reduce::Sum, 1);
        let sum = Reduction { how, program, dims: SmallVec::from_elem(1, 1), splits: 1, lanes: 1, epilogue };
        let group = self.push(Kernel::Reduce(sum), partial, writes, item);
        self.push(product(splits, None), reads, SmallVec::from_elem(scratch, 1), item);
        group
    }
}

/// Batch sizes, and each operand's strides over them.
type Batches = ([usize; 2], [[usize; 2]; 2]);

/// The batch dims as two, if two strides can say them for both operands.
fn batches(sizes: &[usize], views: [&View; 2]) -> Option<Batches> {
    let mut merged: SmallVec<[(usize, [usize; 2]); 4]> = SmallVec::new();
    for (dim, &size) in sizes.iter().enumerate().filter(|(_, size)| **size != 1) {
        let strides = views.map(|view| view.strides[dim] as usize);
        match merged.last_mut() {
            Some((all, outer)) if (0..2).all(|i| outer[i] == strides[i] * size) => {
                *all *= size;
                *outer = strides;
            }
            _ => merged.push((size, strides)),
        }
    }
    while merged.len() < 2 {
        merged.insert(0, (1, [0, 0]));
    }
    let [(outer, a), (inner, b)] = merged[..] else { return None };
    Some(([outer, inner], [[a[0], b[0]], [a[1], b[1]]]))
}

/// Strides that unsigned arithmetic can follow.
fn forward(view: &View) -> bool {
    view.strides.iter().all(|&stride| stride >= 0)
}
