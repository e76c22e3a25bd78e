//! Repetitions, triangles, and padding with numbers other than 0. Joining and splitting have operations of their own:
//! `ops/cat`, `ops/split`.

use super::{Const, Operand, Tensor};
use crate::core::shape::{Dims, Shape, refuse};
use crate::graph::Move;

impl Tensor {
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
