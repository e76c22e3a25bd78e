//! Pieces of tensors and tensors of pieces: cat, stack, split, chunk, unbind, repeat, roll, triangles.

use super::{Const, Operand, Tensor, same_device};
use crate::core::dtype::DType;
use crate::core::shape::{Dims, Shape, refuse};
use crate::graph::Move;
use crate::ops::cat::Cat;
use crate::ops::split::Split;

/// So many pieces, and fewer, are joined by primitives, which fuse with what is around them.
pub(crate) const FEW: usize = 8;

impl Tensor {
    /// The tensors one after the other along `dim`; all other sizes must agree.
    #[track_caller]
    pub fn cat(tensors: &[&Tensor], dim: i64) -> Tensor {
        same_device("cat", tensors);
        let first = tensors[0];
        let at = first.dim_of("cat", dim);
        for x in tensors {
            let fits = x.dtype() == first.dtype()
                && x.rank() == first.rank()
                && x.shape().with(at, 0) == first.shape().with(at, 0);
            if !fits {
                refuse!("cat", "{} and {} do not join along dim {dim}", first.spec(), x.spec());
            }
        }
        if tensors.len() > FEW {
            return Tensor::fused(Cat { dim: at }, tensors).remove(0);
        }
        let total: usize = tensors.iter().map(|x| x.shape()[at]).sum();
        // Each operand in its place among zeros; the places do not overlap, so their sum (or, of bools) is the result.
        let mut before = 0;
        let placed = tensors.iter().map(|x| {
            let size = x.shape()[at];
            before += size;
            x.pad_dim(at, before - size, total - before)
        });
        let join = |a: Tensor, b: Tensor| if a.dtype() == DType::Bool { a.logical_or(b) } else { a + b };
        placed.reduce(join).expect("there is an operand")
    }

    /// The tensors, all of one shape, along a new dim.
    #[track_caller]
    pub fn stack(tensors: &[&Tensor], dim: i64) -> Tensor {
        same_device("stack", tensors);
        if let Some(other) = tensors.iter().find(|x| x.spec() != tensors[0].spec()) {
            refuse!("stack", "{} and {} are not of one shape and dtype", tensors[0].spec(), other.spec());
        }
        let rank = tensors[0].rank() as i64;
        if dim < -rank - 1 || dim > rank {
            refuse!("stack", "dim {dim} is out of range for {}", tensors[0].spec());
        }
        let columns: Vec<Tensor> = tensors.iter().map(|x| x.unsqueeze(dim)).collect();
        Tensor::cat(&columns.iter().collect::<Vec<_>>(), dim)
    }

    /// Pieces of `size` elements along `dim`; the last may be smaller.
    #[track_caller]
    pub fn split(&self, size: usize, dim: i64) -> Vec<Tensor> {
        let at = self.dim_of("split", dim);
        let length = self.shape()[at];
        if size == 0 && length != 0 {
            refuse!("split", "pieces of 0 elements of dim {dim} of {}", self.spec());
        }
        let count = if size == 0 { 1 } else { length.div_ceil(size).max(1) };
        let sizes: Vec<usize> = (0..count).map(|i| size.min(length - i * size)).collect();
        self.split_with_sizes(&sizes, dim)
    }

    /// Pieces of the sizes given along `dim`; their sum is the dim's.
    #[track_caller]
    pub fn split_with_sizes(&self, sizes: &[usize], dim: i64) -> Vec<Tensor> {
        let at = self.dim_of("split_with_sizes", dim);
        if sizes.iter().sum::<usize>() != self.shape()[at] {
            refuse!("split_with_sizes", "pieces of {sizes:?} are not dim {dim} of {}", self.spec());
        }
        self.pieces(sizes, at)
    }

    #[track_caller]
    fn pieces(&self, sizes: &[usize], dim: usize) -> Vec<Tensor> {
        if sizes.len() <= FEW {
            return self.narrows(sizes, dim);
        }
        if sizes.len() <= Split::MOST {
            return Tensor::fused(Split { dim, sizes: sizes.to_vec() }, &[self]);
        }
        let groups = sizes.chunks(Split::MOST);
        let parts: Vec<usize> = groups.clone().map(|sizes| sizes.iter().sum()).collect();
        let parts = self.pieces(&parts, dim);
        parts.iter().zip(groups).flat_map(|(part, sizes)| part.pieces(sizes, dim)).collect()
    }

    /// One [`narrow`](Tensor::narrow) after the other.
    #[track_caller]
    pub(crate) fn narrows(&self, sizes: &[usize], dim: usize) -> Vec<Tensor> {
        let mut start = 0;
        let mut piece = |size: usize| {
            start += size;
            self.narrow(dim as i64, (start - size) as i64, size)
        };
        sizes.iter().map(|&size| piece(size)).collect()
    }

    /// The slices along `dim`, which goes away (PyTorch's
    /// [`unbind`](https://docs.pytorch.org/docs/stable/generated/torch.unbind.html)): [`stack`](Tensor::stack) puts them
    /// together again.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let x = Tensor::new([1.0, 2.0, 3.0, 4.0], [2, 2], &Device::cpu());
    /// let columns = x.unbind(1);
    /// assert_eq!(columns[0].to_vec::<f32>().unwrap(), [1.0, 3.0]);
    /// assert_eq!(columns[1].to_vec::<f32>().unwrap(), [2.0, 4.0]);
    /// ```
    #[track_caller]
    pub fn unbind(&self, dim: i64) -> Vec<Tensor> {
        let at = self.dim_of("unbind", dim);
        let slices = self.pieces(&vec![1; self.shape()[at]], at);
        slices.iter().map(|slice| slice.squeeze(at as i64)).collect()
    }

    /// At most `chunks` pieces of equal size along `dim`; the last may be smaller.
    #[track_caller]
    pub fn chunk(&self, chunks: usize, dim: i64) -> Vec<Tensor> {
        if chunks == 0 {
            refuse!("chunk", "{} in 0 pieces", self.spec());
        }
        let at = self.dim_of("chunk", dim);
        match self.shape()[at] {
            0 => vec![self.clone(); chunks],
            length => self.split(length.div_ceil(chunks), dim),
        }
    }

    /// The tensor `repeats[i]` times along dim `i`; more repeats than dims make new dims in front.
    #[track_caller]
    pub fn repeat(&self, repeats: impl Into<Dims>) -> Tensor {
        let repeats = repeats.into().sizes("repeat");
        let Some(new) = repeats.rank().checked_sub(self.rank()) else {
            refuse!("repeat", "{repeats} names fewer dims than {} has", self.spec());
        };
        let sizes: Shape =
            (0..repeats.rank()).map(|d| if d < new { 1 } else { self.shape()[d - new] }).collect();
        // Each dim behind one of its own that is stretched.
        let pairs = |first: &dyn Fn(usize) -> usize| -> Shape {
            (0..sizes.rank()).flat_map(|dim| [first(dim), sizes[dim]]).collect()
        };
        let rows = self.moved(Move::Reshape(pairs(&|_| 1))).moved(Move::Expand(pairs(&|dim| repeats[dim])));
        rows.moved(Move::Reshape(
            sizes.iter().zip(repeats.iter()).map(|(size, times)| size * times).collect(),
        ))
    }

    /// The elements moved on by `shifts[i]` along `dims[i]`; what falls out comes in again at the other end. Without
    /// dims the flattened tensor is rolled.
    #[track_caller]
    pub fn roll(&self, shifts: impl Into<Dims>, dims: impl Into<Dims>) -> Tensor {
        let (shifts, dims) = (shifts.into(), dims.into());
        if dims.0.is_empty() && shifts.0.len() == 1 {
            let flat = self.moved(Move::Reshape([self.numel()].into()));
            return flat.roll(shifts, 0).moved(Move::Reshape(self.shape().clone()));
        }
        if shifts.0.len() != dims.0.len() {
            refuse!("roll", "{shifts} is not a shift for each of the dims {dims} of {}", self.spec());
        }
        shifts.0.iter().zip(&dims.0).fold(self.clone(), |x, (&shift, &dim)| {
            let at = x.dim_of("roll", dim);
            let size = x.shape()[at];
            if size == 0 {
                return x;
            }
            let shift = shift.rem_euclid(size as i64) as usize;
            let (head, tail) =
                (x.narrow(at as i64, 0, size - shift), x.narrow(at as i64, (size - shift) as i64, shift));
            Tensor::cat(&[&tail, &head], at as i64)
        })
    }

    /// The elements on and below the diagonal of each matrix, zeros above; diagonal 1 is the one above the main one.
    #[track_caller]
    pub fn tril(&self, diagonal: i64) -> Tensor {
        let below = self.diagonals("tril").le(diagonal as f64);
        below.where_(self, self.zeros_like())
    }

    /// The elements on and above the diagonal of each matrix, zeros below; diagonal 1 is the one above the main one.
    #[track_caller]
    pub fn triu(&self, diagonal: i64) -> Tensor {
        let above = self.diagonals("triu").ge(diagonal as f64);
        above.where_(self, self.zeros_like())
    }

    /// The number of each element's diagonal: column minus row.
    #[track_caller]
    fn diagonals(&self, op: &str) -> Tensor {
        let Some(rows) = self.rank().checked_sub(2) else {
            refuse!(op, "{} is no matrix", self.spec());
        };
        let along = |dim: usize| Tensor::iota(self.shape().clone(), dim, self.device());
        along(rows + 1) - along(rows)
    }

    /// [`pad`](Tensor::pad) with another number than 0.
    #[track_caller]
    pub fn pad_value(&self, pad: impl Into<Dims>, value: impl Into<Operand>) -> Tensor {
        let pad = pad.into();
        let inside = Tensor::ones(self.shape(), self.device()).padded("pad_value", &pad);
        inside.eq(Const(1.0)).choose("pad_value", self.padded("pad_value", &pad).into(), value.into())
    }
}
