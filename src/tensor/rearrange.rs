//! Repeating, triangular parts, and padding with a value other than 0. Concatenating and splitting have their own
//! kernels: `ops/cat`, `ops/split`.

use super::{Const, Operand, Tensor};
use crate::core::shape::{Dims, Shape, refuse};
use crate::graph::Move;

impl Tensor {
    /// Repeats the tensor `repeats[i]` times along dim `i`. If there are more repeats than dims, new dims are added in
    /// front.
    ///
    /// # Panics
    ///
    /// Panics if a number is negative, if there are fewer repeats than dims, or if the result exceeds the device's
    /// storage binding limit.
    #[track_caller]
    pub fn repeat(&self, repeats: impl Into<Dims>) -> Tensor {
        let repeats = repeats.into().sizes("repeat");
        let Some(new) = repeats.rank().checked_sub(self.rank()) else {
            refuse!("repeat", "{repeats} has fewer entries than {} has dims", self.spec());
        };
        let sizes: Shape =
            (0..repeats.rank()).map(|d| if d < new { 1 } else { self.shape()[d - new] }).collect();
        // Puts an expanded dim in front of each dim.
        let pairs = |first: &dyn Fn(usize) -> usize| -> Shape {
            (0..sizes.rank()).flat_map(|dim| [first(dim), sizes[dim]]).collect()
        };
        let rows = self.moved(Move::Reshape(pairs(&|_| 1))).moved(Move::Expand(pairs(&|dim| repeats[dim])));
        rows.moved(Move::Reshape(
            sizes.iter().zip(repeats.iter()).map(|(size, times)| size * times).collect(),
        ))
    }

    /// The lower triangle of each matrix: the elements on and below the diagonal, with zeros above. Diagonal 0 is the
    /// main one, 1 is the one above it.
    ///
    /// # Panics
    ///
    /// Panics if the tensor has fewer than two dims.
    #[track_caller]
    pub fn tril(&self, diagonal: i64) -> Tensor {
        let below = self.diagonals("tril").le(diagonal as f64);
        below.where_(self, self.zeros_like())
    }

    /// The upper triangle of each matrix: the elements on and above the diagonal, with zeros below. Diagonal 0 is the
    /// main one, 1 is the one above it.
    ///
    /// # Panics
    ///
    /// Panics if the tensor has fewer than two dims.
    #[track_caller]
    pub fn triu(&self, diagonal: i64) -> Tensor {
        let above = self.diagonals("triu").ge(diagonal as f64);
        above.where_(self, self.zeros_like())
    }

    /// The diagonal index of each element: column minus row.
    #[track_caller]
    fn diagonals(&self, op: &str) -> Tensor {
        let Some(rows) = self.rank().checked_sub(2) else {
            refuse!(op, "expects rank >= 2, got {}", self.spec());
        };
        let along = |dim: usize| Tensor::iota(self.shape().clone(), dim, self.device());
        along(rows + 1) - along(rows)
    }

    /// [`pad`](Tensor::pad) with `value` instead of 0.
    ///
    /// # Panics
    ///
    /// Panics if `pad` has an odd length or more pairs than the tensor has dims, if it crops more elements than a dim
    /// has, or if `value` is not representable in the tensor's dtype.
    #[track_caller]
    pub fn pad_value(&self, pad: impl Into<Dims>, value: impl Into<Operand>) -> Tensor {
        let pad = pad.into();
        let inside = Tensor::ones(self.shape(), self.device()).padded("pad_value", &pad);
        inside.eq(Const(1.0)).choose("pad_value", self.padded("pad_value", &pad).into(), value.into())
    }
}
