//! Indexing by tensors of indices (i32 or u32), checked in the user's line where the host knows the indices.

use super::{Tensor, same_device};
use crate::core::dtype::DType;
use crate::core::shape::{Spec, refuse};
use crate::graph::Op;

impl Tensor {
    /// Along `dim`, the elements that `index` names: `out[i][j] = self[index[i][j]][j]` for dim 0.
    ///
    /// `index` has as many dims as `self`, and is no larger in the other dims. An index out of range is refused here
    /// where the host knows it; else it gives NaN (0 for integers) and an error at the next read.
    #[track_caller]
    pub fn gather(&self, dim: i64, index: &Tensor) -> Tensor {
        let at = self.indexed("gather", dim, index);
        index.check_indices("gather", self.shape()[at]);
        let fits = (0..self.rank()).all(|d| d == at || index.shape()[d] <= self.shape()[d]);
        if !fits {
            refuse!("gather", "index {} is larger than {} beside dim {dim}", index.spec(), self.spec());
        }
        Tensor::build(Op::Gather(at), &[self, index], Spec::new(index.shape().clone(), self.dtype()))
    }

    /// A copy with `src` added along `dim` where `index` says: `out[index[i][j]][j] += src[i][j]` for dim 0. Sums run
    /// in the order of `i`: the same bits every time.
    #[track_caller]
    pub fn scatter_add(&self, dim: i64, index: &Tensor, src: &Tensor) -> Tensor {
        let at = self.indexed("scatter_add", dim, index);
        same_device("scatter_add", &[self, src]);
        index.check_indices("scatter_add", self.shape()[at]);
        let fits = src.rank() == self.rank()
            && src.dtype() == self.dtype()
            && self.dtype() != DType::Bool
            && (0..self.rank()).all(|d| index.shape()[d] <= src.shape()[d])
            && (0..self.rank()).all(|d| d == at || index.shape()[d] <= self.shape()[d]);
        if !fits {
            refuse!(
                "scatter_add",
                "index {} and src {} do not fit {} along dim {dim}",
                index.spec(),
                src.spec(),
                self.spec()
            );
        }
        let src = src.corner(index.shape());
        let beside = index.shape().with(at, self.shape()[at]);
        let added = Tensor::build(
            Op::ScatterAdd(at, self.shape()[at]),
            &[index, &src],
            Spec::new(beside.clone(), self.dtype()),
        );
        let room: Vec<i64> =
            (0..self.rank()).rev().flat_map(|d| [0, (self.shape()[d] - beside[d]) as i64]).collect();
        self + added.pad(room)
    }

    /// The leading part of this shape.
    #[track_caller]
    fn corner(&self, shape: &crate::Shape) -> Tensor {
        (0..self.rank()).fold(self.clone(), |x, dim| x.narrow(dim as i64, 0, shape[dim]))
    }

    /// The slices along `dim` that the 1-D `index` names, in its order.
    #[track_caller]
    pub fn index_select(&self, dim: i64, index: &Tensor) -> Tensor {
        self.check_index("index_select", index);
        if index.rank() > 1 || self.rank() == 0 {
            refuse!(
                "index_select",
                "wants a 1-D index into a dim, not {} into {}",
                index.spec(),
                self.spec()
            );
        }
        let at = self.shape().dim("index_select", dim);
        index.check_indices("index_select", self.shape()[at]);
        let along = (0..self.rank()).map(|d| if d == at { index.numel() } else { 1 }).collect();
        let index = index.moved(crate::graph::Move::Reshape(along));
        self.gather(dim, &index.broadcast_to(&self.shape().with(at, index.numel())))
    }

    /// Rows of `weight` `[classes, width]` that this tensor of indices names: `[.., width]` (PyTorch's `embedding`).
    #[track_caller]
    pub fn embedding(&self, weight: &Tensor) -> Tensor {
        self.embedded("embedding", weight)
    }

    #[track_caller]
    fn embedded(&self, op: &str, weight: &Tensor) -> Tensor {
        weight.check_index(op, self);
        if weight.rank() != 2 {
            refuse!(op, "the weight must be [classes, width], not {}", weight.spec());
        }
        self.check_indices(op, weight.size(0));
        let rows = weight.index_select(0, &self.reshape([-1]));
        rows.reshape(self.shape().insert(self.rank(), weight.shape()[1]))
    }

    /// [`embedding`](Tensor::embedding) whose row `padding` learns nothing: its gradient is 0. A negative number counts
    /// from the end.
    #[track_caller]
    pub fn embedding_padded(&self, weight: &Tensor, padding: i64) -> Tensor {
        let rows = self.embedded("embedding_padded", weight);
        let classes = weight.shape()[0] as i64;
        if padding < -classes || padding >= classes {
            refuse!("embedding_padded", "there is no padding row {padding} in the weight {}", weight.spec());
        }
        let padded = self.eq(padding.rem_euclid(classes) as f64).unsqueeze(-1);
        padded.where_(rows.detach(), rows)
    }

    /// The dim, after checking what every indexing method asks of its index.
    #[track_caller]
    fn indexed(&self, op: &str, dim: i64, index: &Tensor) -> usize {
        self.check_index(op, index);
        if self.rank() == 0 || index.rank() != self.rank() {
            refuse!(op, "index {} must have as many dims as {}, and at least one", index.spec(), self.spec());
        }
        self.shape().dim(op, dim)
    }

    #[track_caller]
    fn check_index(&self, op: &str, index: &Tensor) {
        same_device(op, &[self, index]);
        if !matches!(index.dtype(), DType::I32 | DType::U32) {
            refuse!(op, "the index must be i32 or u32, not {}", index.spec());
        }
    }

    /// Refuses indices outside `0..size` where the host knows them: those that it uploaded itself.
    #[track_caller]
    pub(crate) fn check_indices(&self, op: &str, size: usize) {
        self.check_indices_but(op, size, i64::MIN);
    }

    /// [`check_indices`](Tensor::check_indices), but for one value that may be anywhere.
    #[track_caller]
    pub(crate) fn check_indices_but(&self, op: &str, size: usize, but: i64) {
        let Op::Input(Some(known)) = &self.node().op else { return };
        let Some((least, largest)) = known.min_max_excluding(but) else { return };
        if least < 0 || largest >= size as i64 {
            let wrong = if least < 0 { least } else { largest };
            refuse!(op, "index {wrong} in {} is out of range: there are {size}", self.spec());
        }
    }
}
