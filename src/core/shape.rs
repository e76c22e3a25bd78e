//! Shapes: sizes, broadcasting, dims as users write them, and error messages.
//!
//! In: the user's sizes and dims. Out: checked, non-negative sizes. Independent of tensors.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::core::dtype::DType;

/// The sizes of a tensor's dimensions, outermost first. Rank 0 (`[]`) is a scalar, sizes of 0 are allowed.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(SmallVec<[usize; 4]>);

/// The shape and the dtype of a tensor.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Sizes, outermost first.
    pub shape: Shape,
    /// Type of the elements.
    pub dtype: DType,
}

/// A list of integers given by the user: `2`, `-1`, `[0, 1]` or `&sizes`, of any integer type.
#[derive(Clone, Debug)]
pub struct Dims(pub(crate) SmallVec<[i64; 4]>);

/// The reason why the operands of an operation are incompatible. The method that builds the operation panics with this
/// message, in the caller's line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

/// Panics with `op: message`. Functions with `#[track_caller]` report all programming mistakes this way.
macro_rules! refuse {
    ($op:expr, $($message:tt)+) => { panic!("{}: {}", $op, format_args!($($message)+)) };
}
pub(crate) use refuse;

impl Shape {
    /// Returns the number of elements; 1 for a scalar.
    pub fn numel(&self) -> usize {
        self.0.iter().product()
    }

    /// Returns the number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Returns the strides of a contiguous, row-major layout.
    pub fn strides(&self) -> SmallVec<[usize; 4]> {
        let mut strides: SmallVec<[usize; 4]> = SmallVec::from_elem(1, self.rank());
        for dim in (0..self.rank().saturating_sub(1)).rev() {
            strides[dim] = strides[dim + 1] * self.0[dim + 1].max(1);
        }
        strides
    }

    /// Returns the shape with the size of `dim` replaced by `size`.
    pub(crate) fn with(&self, dim: usize, size: usize) -> Shape {
        let mut shape = self.clone();
        shape.0[dim] = size;
        shape
    }

    /// Returns the shape without the listed dims.
    pub(crate) fn without(&self, dims: &[usize]) -> Shape {
        self.0.iter().enumerate().filter(|(dim, _)| !dims.contains(dim)).map(|(_, &size)| size).collect()
    }

    /// Returns the shape with a new dim of size `size` inserted at `dim`.
    pub(crate) fn insert(&self, dim: usize, size: usize) -> Shape {
        let mut shape = self.clone();
        shape.0.insert(dim, size);
        shape
    }

    /// Returns the shape to which both shapes broadcast: sizes are matched from the last dim, and a size of 1 is
    /// repeated ([NumPy's rule](https://numpy.org/doc/stable/user/basics.broadcasting.html)).
    #[track_caller]
    pub(crate) fn broadcast(op: &str, a: &Shape, b: &Shape) -> Shape {
        let rank = a.rank().max(b.rank());
        let size = |shape: &Shape, dim: usize| (dim + shape.rank()).checked_sub(rank).map_or(1, |d| shape[d]);
        // A loop instead of a closure, so that `track_caller` reports the user's line.
        let mut shape = Shape::default();
        for dim in 0..rank {
            shape.0.push(match (size(a, dim), size(b, dim)) {
                (x, y) if x == y => x,
                (1, y) => y,
                (x, 1) => x,
                (x, y) => refuse!(op, "shapes do not broadcast: {a} and {b} (dim {dim}: {x} against {y})"),
            });
        }
        shape
    }

    /// Whether the shapes broadcast.
    pub(crate) fn broadcasts(a: &Shape, b: &Shape) -> bool {
        a.iter().rev().zip(b.iter().rev()).all(|(&x, &y)| x == y || x == 1 || y == 1)
    }

    /// Resolves a dim that the user counts from the front or, if negative, from the end.
    #[track_caller]
    pub(crate) fn dim(&self, op: &str, dim: i64) -> usize {
        // A scalar has the dims 0 and -1, as in PyTorch.
        let rank = self.rank().max(1) as i64;
        if dim < -rank || dim >= rank {
            refuse!(op, "dim {dim} is out of range for {self} (dims {} to {})", -rank, rank - 1);
        }
        dim.rem_euclid(rank) as usize
    }

    /// Resolves the listed dims, in the same order.
    #[track_caller]
    pub(crate) fn order(&self, op: &str, dims: &Dims) -> SmallVec<[usize; 4]> {
        let mut out = SmallVec::new();
        for &dim in &dims.0 {
            out.push(self.dim(op, dim));
        }
        out
    }

    /// Resolves distinct dims and sorts them in ascending order; an empty list means all dims.
    #[track_caller]
    pub(crate) fn dims(&self, op: &str, dims: &Dims) -> SmallVec<[usize; 4]> {
        if dims.0.is_empty() {
            return (0..self.rank()).collect();
        }
        let mut out = self.order(op, dims);
        out.sort_unstable();
        if out.windows(2).any(|pair| pair[0] == pair[1]) {
            refuse!(op, "dims {dims} of {self} name a dim twice");
        }
        out.retain(|&mut dim| dim < self.rank());
        out
    }

    /// Iterates over all coordinates in row-major order.
    pub(crate) fn coords(&self) -> impl Iterator<Item = SmallVec<[usize; 4]>> + '_ {
        let strides = self.strides();
        (0..self.numel()).map(move |i| (0..self.rank()).map(|d| i / strides[d] % self.0[d]).collect())
    }
}

impl Spec {
    pub(crate) fn new(shape: impl Into<Shape>, dtype: DType) -> Spec {
        Spec { shape: shape.into(), dtype }
    }

    /// Returns the size of a contiguous value on a GPU, in bytes.
    pub fn bytes(&self) -> usize {
        self.shape.numel() * self.dtype.bytes()
    }
}

impl Dims {
    /// Converts the dims to sizes. Panics if a size is negative.
    #[track_caller]
    pub(crate) fn sizes(&self, op: &str) -> Shape {
        match self.0.iter().find(|&&size| size < 0) {
            Some(size) => refuse!(op, "size {size} in {self} is negative"),
            None => self.0.iter().map(|&size| size as usize).collect(),
        }
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(sizes: I) -> Shape {
        Shape(sizes.into_iter().collect())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Shape {
        sizes.into_iter().collect()
    }
}

impl From<&[usize]> for Shape {
    fn from(sizes: &[usize]) -> Shape {
        sizes.iter().copied().collect()
    }
}

impl From<&Shape> for Dims {
    fn from(shape: &Shape) -> Dims {
        Dims(shape.iter().map(|&size| size as i64).collect())
    }
}

impl From<Shape> for Dims {
    fn from(shape: Shape) -> Dims {
        Dims::from(&shape)
    }
}

/// An empty list: the shape of a scalar.
impl From<()> for Dims {
    fn from(_: ()) -> Dims {
        Dims(SmallVec::new())
    }
}

macro_rules! dims_from {
    ($($int:ty)*) => {$(
        impl From<$int> for Dims {
            fn from(dim: $int) -> Dims {
                Dims(SmallVec::from_slice(&[dim as i64]))
            }
        }
        impl<const N: usize> From<[$int; N]> for Dims {
            fn from(dims: [$int; N]) -> Dims {
                Dims(dims.iter().map(|&dim| dim as i64).collect())
            }
        }
        impl From<&[$int]> for Dims {
            fn from(dims: &[$int]) -> Dims {
                Dims(dims.iter().map(|&dim| dim as i64).collect())
            }
        }
        impl From<Vec<$int>> for Dims {
            fn from(dims: Vec<$int>) -> Dims {
                Dims::from(&dims[..])
            }
        }
    )*};
}
dims_from!(i32 i64 isize usize);

fn list<T: fmt::Display>(f: &mut fmt::Formatter, items: &[T]) -> fmt::Result {
    f.write_str("[")?;
    for (i, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
    }
    f.write_str("]")
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        list(f, &self.0)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        list(f, &self.0)
    }
}

impl fmt::Display for Dims {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        list(f, &self.0)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self}")
    }
}
