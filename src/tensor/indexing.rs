//! Indexing with index tensors (i32 or u32). An index that the host knows is checked at the caller's line.

use super::{Tensor, same_device};
use crate::core::dtype::DType;
use crate::core::shape::{Spec, refuse};
use crate::graph::Op;

impl Tensor {
    /// Gathers elements along `dim`: `out[i][j] = self[index[i][j]][j]` for dim 0.
    ///
    /// `index` has the rank of `self` and is not larger than `self` in the other dims. An index out of range that only
    /// the device knows gives NaN (0 for integers), and the next read returns [`Error::Index`](crate::Error::Index).
    ///
    /// # Panics
    ///
    /// Panics if `dim` is out of range, if `index` is not i32 or u32, if its rank differs or it is larger in another
    /// dim, if the host knows an index out of range, or if the tensors are on different devices.
    #[track_caller]
    pub fn gather(&self, dim: i64, index: &Tensor) -> Tensor {
        let at = self.indexed("gather", dim, index);
        index.check_indices("gather", self.shape()[at]);
        let fits = (0..self.rank()).all(|d| d == at || index.shape()[d] <= self.shape()[d]);
        if !fits {
            refuse!(
                "gather",
                "index {} is larger than {} in a dim other than {dim}",
                index.spec(),
                self.spec()
            );
        }
        Tensor::build(Op::Gather(at), &[self, index], Spec::new(index.shape().clone(), self.dtype()))
    }

    /// A copy of the tensor with `src` added at the indices along `dim`: `out[index[i][j]][j] += src[i][j]` for dim 0.
    /// The terms are added in the order of `i`, so the result is deterministic.
    ///
    /// # Panics
    ///
    /// Panics if `dim` is out of range, if `index` is not i32 or u32, if the ranks or sizes do not fit, if `src` has
    /// another dtype or is bool, if the host knows an index out of range, or if the tensors are on different devices.
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

    /// The leading part of the tensor, with this shape.
    #[track_caller]
    fn corner(&self, shape: &crate::Shape) -> Tensor {
        (0..self.rank()).fold(self.clone(), |x, dim| x.narrow(dim as i64, 0, shape[dim]))
    }

    /// Selects the slices along `dim` at the indices of the 1-D tensor `index`, in its order.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is a scalar, if `dim` is out of range, if `index` is not i32 or u32 or has more than one
    /// dim, if the host knows an index out of range, or if the tensors are on different devices.
    #[track_caller]
    pub fn index_select(&self, dim: i64, index: &Tensor) -> Tensor {
        self.check_index("index_select", index);
        if index.rank() > 1 || self.rank() == 0 {
            refuse!(
                "index_select",
                "expects a 1-D index and a tensor of rank >= 1, got {} into {}",
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

    /// Looks up rows of `weight`, `[num_embeddings, embedding_dim]`, at the indices in this tensor. The result is
    /// `[.., embedding_dim]` (PyTorch's `embedding`).
    ///
    /// # Panics
    ///
    /// Panics if this tensor is not i32 or u32, if `weight` is not a matrix, if the host knows an index out of range,
    /// or if the tensors are on different devices.
    #[track_caller]
    pub fn embedding(&self, weight: &Tensor) -> Tensor {
        self.embedded("embedding", weight)
    }

    #[track_caller]
    fn embedded(&self, op: &str, weight: &Tensor) -> Tensor {
        weight.check_index(op, self);
        if weight.rank() != 2 {
            refuse!(op, "the weight must be [num_embeddings, embedding_dim], but is {}", weight.spec());
        }
        self.check_indices(op, weight.size(0));
        let rows = weight.index_select(0, &self.reshape([-1]));
        rows.reshape(self.shape().insert(self.rank(), weight.shape()[1]))
    }

    /// [`embedding`](Tensor::embedding) where row `padding` receives no gradient (PyTorch's `padding_idx`). A negative
    /// index counts from the end.
    ///
    /// # Panics
    ///
    /// Panics if this tensor is not i32 or u32, if `weight` is not a matrix, if `padding` or an index known to the host
    /// is out of range, or if the tensors are on different devices.
    #[track_caller]
    pub fn embedding_padded(&self, weight: &Tensor, padding: i64) -> Tensor {
        let rows = self.embedded("embedding_padded", weight);
        let classes = weight.shape()[0] as i64;
        if padding < -classes || padding >= classes {
            refuse!(
                "embedding_padded",
                "padding row {padding} is out of range for the weight {}",
                weight.spec()
            );
        }
        let padded = self.eq(padding.rem_euclid(classes) as f64).unsqueeze(-1);
        padded.where_(rows.detach(), rows)
    }

    /// Checks the index of an indexing method and returns the normalized dim.
    #[track_caller]
    fn indexed(&self, op: &str, dim: i64, index: &Tensor) -> usize {
        self.check_index(op, index);
        if self.rank() == 0 || index.rank() != self.rank() {
            refuse!(op, "index {} must have the rank of {}, and rank >= 1", index.spec(), self.spec());
        }
        self.shape().dim(op, dim)
    }

    #[track_caller]
    fn check_index(&self, op: &str, index: &Tensor) {
        same_device(op, &[self, index]);
        if !matches!(index.dtype(), DType::I32 | DType::U32) {
            refuse!(op, "the index must be i32 or u32, but is {}", index.spec());
        }
    }

    /// Panics if an index is outside `0..size`. Only indices that were uploaded from the host are checked.
    #[track_caller]
    pub(crate) fn check_indices(&self, op: &str, size: usize) {
        self.check_indices_but(op, size, i64::MIN);
    }

    /// [`check_indices`](Tensor::check_indices), with one value that is always allowed.
    #[track_caller]
    pub(crate) fn check_indices_but(&self, op: &str, size: usize, but: i64) {
        let Op::Input(Some(known)) = &self.node().op else { return };
        let Some((least, largest)) = known.min_max_excluding(but) else { return };
        if least < 0 || largest >= size as i64 {
            let wrong = if least < 0 { least } else { largest };
            refuse!(op, "index {wrong} in {} is out of range: there are {size} entries", self.spec());
        }
    }
}
