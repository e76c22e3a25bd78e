//! Shapes: sizes, broadcasting, dims as users write them, and the messages when they do not fit.
//!
//! In: what the user wrote. Out: checked, non-negative sizes. Knows nothing of tensors.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::core::dtype::DType;

/// The sizes of a tensor's dimensions, outermost first. Rank 0 (`[]`) is a scalar, sizes of 0 are allowed.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(SmallVec<[usize; 4]>);

/// What is known of a tensor before it has a value: its shape and its dtype.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Sizes, outermost first.
    pub shape: Shape,
    /// Type of the elements.
    pub dtype: DType,
}

/// Integers as users write them: `2`, `-1`, `[0, 1]`, `&sizes`, of any integer type.
#[derive(Clone, Debug)]
pub struct Dims(pub(crate) SmallVec<[i64; 4]>);

/// Why operands do not fit together; the method that was called panics with it, in the user's line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

/// Panics with `op: message`. Every programming mistake ends here; callers are `#[track_caller]`.
macro_rules! refuse {
    ($op:expr, $($message:tt)+) => { panic!("{}: {}", $op, format_args!($($message)+)) };
}
pub(crate) use refuse;

impl Shape {
    /// Number of elements; 1 for a scalar.
    pub fn numel(&self) -> usize {
        self.0.iter().product()
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Distance between neighbours along each dim in a contiguous, row-major layout.
    pub fn strides(&self) -> SmallVec<[usize; 4]> {
        let mut strides: SmallVec<[usize; 4]> = SmallVec::from_elem(1, self.rank());
        for dim in (0..self.rank().saturating_sub(1)).rev() {
            strides[dim] = strides[dim + 1] * self.0[dim + 1].max(1);
        }
        strides
    }

    /// The same shape with one size replaced.
    pub(crate) fn with(&self, dim: usize, size: usize) -> Shape {
        let mut shape = self.clone();
        shape.0[dim] = size;
        shape
    }

    /// The same shape without the dims listed.
    pub(crate) fn without(&self, dims: &[usize]) -> Shape {
        self.0.iter().enumerate().filter(|(dim, _)| !dims.contains(dim)).map(|(_, &size)| size).collect()
    }

    /// The same shape with a new dim at `dim`.
    pub(crate) fn insert(&self, dim: usize, size: usize) -> Shape {
        let mut shape = self.clone();
        shape.0.insert(dim, size);
        shape
    }

    /// The shape that both broadcast to: sizes are matched from the last dim, and a size of 1 stretches
    /// ([NumPy's rule](https://numpy.org/doc/stable/user/basics.broadcasting.html)).
    #[track_caller]
    pub(crate) fn broadcast(op: &str, a: &Shape, b: &Shape) -> Shape {
        let rank = a.rank().max(b.rank());
        let size = |shape: &Shape, dim: usize| (dim + shape.rank()).checked_sub(rank).map_or(1, |d| shape[d]);
        // A loop: in a closure the panic would be in this line, not in the user's.
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

    /// Whether [`broadcast`](Shape::broadcast) has an answer.
    pub(crate) fn broadcasts(a: &Shape, b: &Shape) -> bool {
        a.iter().rev().zip(b.iter().rev()).all(|(&x, &y)| x == y || x == 1 || y == 1)
    }

    /// A dim as users count, from the front or (negative) from the end.
    #[track_caller]
    pub(crate) fn dim(&self, op: &str, dim: i64) -> usize {
        // A scalar has the dims 0 and -1, as in PyTorch.
        let rank = self.rank().max(1) as i64;
        if dim < -rank || dim >= rank {
            refuse!(op, "dim {dim} is out of range for {self} (dims {} to {})", -rank, rank - 1);
        }
        dim.rem_euclid(rank) as usize
    }

    /// The dims as they are listed.
    #[track_caller]
    pub(crate) fn order(&self, op: &str, dims: &Dims) -> SmallVec<[usize; 4]> {
        let mut out = SmallVec::new();
        for &dim in &dims.0 {
            out.push(self.dim(op, dim));
        }
        out
    }

    /// Distinct dims in ascending order; an empty list means all of them.
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

    /// Every coordinate in row-major order: what the CPU reference and the tests loop over.
    pub(crate) fn coords(&self) -> impl Iterator<Item = SmallVec<[usize; 4]>> + '_ {
        let strides = self.strides();
        (0..self.numel()).map(move |i| (0..self.rank()).map(|d| i / strides[d] % self.0[d]).collect())
    }
}

impl Spec {
    pub(crate) fn new(shape: impl Into<Shape>, dtype: DType) -> Spec {
        Spec { shape: shape.into(), dtype }
    }

    /// Bytes of a contiguous value on a GPU.
    pub fn bytes(&self) -> usize {
        self.shape.numel() * self.dtype.bytes()
    }
}

impl Dims {
    /// Sizes, none of them negative.
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

/// No sizes at all: the shape of a scalar.
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
