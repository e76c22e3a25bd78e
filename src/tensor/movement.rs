//! Movement operations: another shape over the same elements. They copy nothing, unless a kernel needs another memory
//! layout.

use smallvec::SmallVec;

use super::Tensor;
use crate::core::grad_mode::is_grad_enabled;
use crate::core::shape::{Dims, Shape, Spec, refuse};
use crate::graph::{Move, Op, WindowMove};

impl Tensor {
    /// Builds the node of a movement operation, unless it changes nothing.
    #[track_caller]
    pub(crate) fn moved(&self, movement: Move) -> Tensor {
        let shape = movement.shape(self.shape());
        let still = match &movement {
            Move::Reshape(_) | Move::Expand(_) | Move::Slice(_) | Move::Pad(_) => shape == *self.shape(),
            Move::Permute(dims) => dims.is_sorted(),
            Move::Flip(dims) => dims.is_empty(),
            Move::Windows(_) => false,
        };
        match still {
            true => self.unchanged(),
            false => Tensor::build(Op::Move(movement), &[self], Spec::new(shape, self.dtype())),
        }
    }

    /// The result of a method that changes nothing: this tensor, detached if gradients are disabled.
    #[track_caller]
    pub(crate) fn unchanged(&self) -> Tensor {
        if is_grad_enabled() || !self.needs_grad() { self.clone() } else { self.detach() }
    }

    /// The same elements in row-major order with another shape. One size may be -1; it is computed from the others.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let x = Tensor::zeros([2, 6], &Device::cpu());
    /// assert_eq!(x.reshape([4, -1]).shape()[..], [4, 3]);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the number of elements differs, if more than one size is -1, or if another size is negative.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Dims>) -> Tensor {
        let dims = shape.into();
        let unknown = dims.0.iter().filter(|&&size| size == -1).count();
        let known: i64 = dims.0.iter().filter(|&&size| size != -1).product();
        let numel = self.numel() as i64;
        let fits = match unknown {
            0 => known == numel,
            1 => known > 0 && numel % known == 0,
            _ => false,
        };
        if !fits || dims.0.iter().any(|&size| size < -1) {
            refuse!("reshape", "{} with {numel} elements does not fit the shape {dims}", self.spec());
        }
        let size = |&size: &i64| if size == -1 { (numel / known) as usize } else { size as usize };
        self.moved(Move::Reshape(dims.0.iter().map(size).collect()))
    }

    /// Reorders the dims: dim `i` of the result is dim `dims[i]` of the tensor.
    ///
    /// # Panics
    ///
    /// Panics if `dims` is not a permutation of the tensor's dims.
    #[track_caller]
    pub fn permute(&self, dims: impl Into<Dims>) -> Tensor {
        let dims = dims.into();
        let order = self.shape().order("permute", &dims);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.rank()) {
            refuse!("permute", "dims {dims} are not a permutation of the dims of {}", self.spec());
        }
        self.moved(Move::Permute(order))
    }

    /// Swaps two dims.
    ///
    /// # Panics
    ///
    /// Panics if a dim is out of range.
    #[track_caller]
    pub fn transpose(&self, dim0: i64, dim1: i64) -> Tensor {
        let (a, b) = (self.shape().dim("transpose", dim0), self.shape().dim("transpose", dim1));
        let mut order: SmallVec<[usize; 4]> = (0..self.rank()).collect();
        if a != b {
            order.swap(a, b);
        }
        self.moved(Move::Permute(order))
    }

    /// The transpose of a matrix. Swaps the last two dims.
    ///
    /// # Panics
    ///
    /// Panics if the tensor has fewer than two dims.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        if self.rank() < 2 {
            refuse!("t", "expects rank >= 2, got {}", self.spec());
        }
        self.transpose(-2, -1)
    }

    /// Expands dims of size 1 to the given sizes and adds new dims in front. A size of -1 keeps the dim.
    ///
    /// # Panics
    ///
    /// Panics if the tensor has more dims than `shape`, if a dim whose size is not 1 would change, or if the result
    /// exceeds the device's storage binding limit.
    #[track_caller]
    pub fn expand(&self, shape: impl Into<Dims>) -> Tensor {
        let dims = shape.into();
        let Some(new) = dims.0.len().checked_sub(self.rank()) else {
            refuse!("expand", "{} has more dims than {dims}", self.spec());
        };
        let mut sizes: SmallVec<[usize; 4]> = SmallVec::new();
        for (dim, &size) in dims.0.iter().enumerate() {
            sizes.push(match dim.checked_sub(new).map(|dim| self.shape()[dim]) {
                Some(own) if size == -1 || size == own as i64 => own,
                Some(1) | None if size >= 0 => size as usize,
                _ => refuse!("expand", "{} does not expand to {dims} (dim {dim})", self.spec()),
            });
        }
        let sizes = Shape::from(&sizes[..]);
        Spec::new(sizes.clone(), self.dtype()).check_size("expand", self.device());
        self.broadcast_to(&sizes)
    }

    /// [`expand`](Tensor::expand) to a shape that the tensor is known to broadcast to.
    #[track_caller]
    pub(crate) fn broadcast_to(&self, shape: &Shape) -> Tensor {
        if self.shape() == shape {
            return self.unchanged();
        }
        let mut aligned = self.shape().clone();
        while aligned.rank() < shape.rank() {
            aligned = aligned.insert(0, 1);
        }
        self.moved(Move::Reshape(aligned)).moved(Move::Expand(shape.clone()))
    }

    /// `length` elements along `dim`, beginning at `start`. A negative start counts from the end.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is a scalar, if `dim` is out of range, or if the range is not within the dim.
    #[track_caller]
    pub fn narrow(&self, dim: i64, start: i64, length: usize) -> Tensor {
        let at = self.dim_of("narrow", dim);
        let size = self.shape()[at] as i64;
        let first = if start < 0 { start + size } else { start };
        if first < 0 || first + length as i64 > size {
            refuse!(
                "narrow",
                "start {start} and length {length} are out of range for dim {dim} of {}",
                self.spec()
            );
        }
        let range = |(d, &size): (usize, &usize)| if d == at { (first as usize, length) } else { (0, size) };
        self.moved(Move::Slice(self.shape().iter().enumerate().map(range).collect()))
    }

    /// The slice at `index` along `dim`, without that dim. A negative index counts from the end.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is a scalar, or if `dim` or `index` is out of range.
    #[track_caller]
    pub fn select(&self, dim: i64, index: i64) -> Tensor {
        let at = self.dim_of("select", dim);
        let size = self.shape()[at] as i64;
        if index < -size || index >= size {
            refuse!("select", "index {index} is out of range for dim {dim} of {}", self.spec());
        }
        self.narrow(dim, index, 1).squeeze(at as i64)
    }

    /// Python's `x[start:end:step]` along `dim`: bounds are clamped to the size, and negative bounds count from the
    /// end.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is a scalar, if `dim` is out of range, or if `step` is 0.
    #[track_caller]
    pub fn slice(&self, dim: i64, start: Option<i64>, end: Option<i64>, step: usize) -> Tensor {
        let at = self.dim_of("slice", dim);
        if step == 0 {
            refuse!("slice", "step 0 is not allowed (dim {dim} of {})", self.spec());
        }
        let size = self.shape()[at] as i64;
        let bound = |x: i64| if x < 0 { (x + size).max(0) } else { x.min(size) };
        let (start, end) = (bound(start.unwrap_or(0)), bound(end.unwrap_or(size)));
        let length = (end - start).max(0) as usize;
        let taken = self.narrow(dim, start.min(size), length);
        if step == 1 || length == 0 {
            return taken;
        }
        // Every `step`-th element: pads the length to a multiple of `step`, splits it into rows of `step`, and takes
        // the first column.
        let count = length.div_ceil(step);
        let rows = taken.shape().with(at, count).insert(at + 1, step);
        let padded = taken.pad_dim(at, 0, count * step - length).moved(Move::Reshape(rows));
        padded.narrow(at as i64 + 1, 0, 1).squeeze(at as i64 + 1)
    }

    /// The normalized dim. Panics for a scalar, which has no dims.
    #[track_caller]
    pub(crate) fn dim_of(&self, op: &str, dim: i64) -> usize {
        if self.rank() == 0 {
            refuse!(op, "dim {dim} is out of range for the scalar {}", self.spec());
        }
        self.shape().dim(op, dim)
    }

    #[track_caller]
    pub(crate) fn pad_dim(&self, dim: usize, before: usize, after: usize) -> Tensor {
        let pads = (0..self.rank()).map(|d| if d == dim { (before, after) } else { (0, 0) }).collect();
        self.moved(Move::Pad(pads))
    }

    /// Inserts `step - 1` zeros after each element along `dim`.
    #[track_caller]
    pub(crate) fn dilate(&self, dim: usize, step: usize) -> Tensor {
        if step == 1 {
            return self.clone();
        }
        let rows = self.moved(Move::Reshape(self.shape().insert(dim + 1, 1))).pad_dim(dim + 1, 0, step - 1);
        rows.moved(Move::Reshape(self.shape().with(dim, self.shape()[dim] * step)))
    }

    /// Pads with zeros in front along `dim`, then pads or crops the end to `length` elements in total.
    #[track_caller]
    pub(crate) fn pad_or_crop(&self, dim: usize, before: usize, length: usize) -> Tensor {
        let kept = self.shape()[dim].min(length - before.min(length));
        self.narrow(dim as i64, 0, kept).pad_dim(dim, before.min(length), length - kept - before.min(length))
    }

    /// Windows of `size` elements along `dim`. The elements of a window are `dilation` apart, the windows start `step`
    /// apart, and the elements of a window become a new last dim (PyTorch's `unfold`, with a dilation).
    ///
    /// # Panics
    ///
    /// Panics if the tensor is a scalar, if `dim` is out of range, if `size`, `step` or `dilation` is 0, or if no
    /// window fits.
    #[track_caller]
    pub fn unfold(&self, dim: i64, size: usize, step: usize, dilation: usize) -> Tensor {
        let at = self.dim_of("unfold", dim);
        if size == 0 || step == 0 || dilation == 0 {
            refuse!("unfold", "size {size}, step {step} and dilation {dilation} must be >= 1");
        }
        let windows = WindowMove { dim: at, size, step, dilation };
        if windows.count(self.shape()[at]) == 0 {
            refuse!(
                "unfold",
                "a window of size {size} and dilation {dilation} does not fit into dim {dim} of {}",
                self.spec()
            );
        }
        self.moved(Move::Windows(windows))
    }

    /// Pads with zeros. `pad` holds pairs (before, after), beginning with the last dim, as in PyTorch's `pad`. A
    /// negative number crops.
    ///
    /// # Panics
    ///
    /// Panics if `pad` has an odd length or more pairs than the tensor has dims, or if it crops more elements than a
    /// dim has.
    #[track_caller]
    pub fn pad(&self, pad: impl Into<Dims>) -> Tensor {
        self.padded("pad", &pad.into())
    }

    /// [`pad`](Tensor::pad). `op` is the method that the panic messages show.
    #[track_caller]
    pub(crate) fn padded(&self, op: &str, pad: &Dims) -> Tensor {
        let pairs = pad.0.chunks(2);
        if pad.0.len() % 2 == 1 || pairs.len() > self.rank() {
            refuse!(
                op,
                "{pad} does not hold pairs (before, after) for at most {} dims of {}",
                self.rank(),
                self.spec()
            );
        }
        let mut ranges: SmallVec<[(usize, usize); 4]> = self.shape().iter().map(|&size| (0, size)).collect();
        let mut pads: SmallVec<[(usize, usize); 4]> = SmallVec::from_elem((0, 0), self.rank());
        for (i, pair) in pairs.enumerate() {
            let dim = self.rank() - 1 - i;
            let crop = |x: i64| (-x).max(0) as usize;
            let Some(left) = self.shape()[dim].checked_sub(crop(pair[0]) + crop(pair[1])) else {
                refuse!(op, "{pad} crops more elements than dim {dim} of {} has", self.spec());
            };
            ranges[dim] = (crop(pair[0]), left);
            pads[dim] = (pair[0].max(0) as usize, pair[1].max(0) as usize);
        }
        self.moved(Move::Slice(ranges)).moved(Move::Pad(pads))
    }

    /// Reverses the order of the elements along the dims. An empty list changes nothing.
    ///
    /// # Panics
    ///
    /// Panics if a dim is out of range or listed twice.
    #[track_caller]
    pub fn flip(&self, dims: impl Into<Dims>) -> Tensor {
        let dims = dims.into();
        if dims.0.is_empty() {
            return self.clone();
        }
        self.moved(Move::Flip(self.shape().dims("flip", &dims)))
    }

    /// Inserts a dim of size 1 at `dim`.
    ///
    /// # Panics
    ///
    /// Panics if `dim` is out of range.
    #[track_caller]
    pub fn unsqueeze(&self, dim: i64) -> Tensor {
        let rank = self.rank() as i64 + 1;
        if dim < -rank || dim >= rank {
            refuse!(
                "unsqueeze",
                "dim {dim} is out of range for {} (dims {} to {})",
                self.spec(),
                -rank,
                rank - 1
            );
        }
        self.moved(Move::Reshape(self.shape().insert(dim.rem_euclid(rank) as usize, 1)))
    }

    /// Removes the listed dims that have size 1. An empty list means all dims.
    ///
    /// # Panics
    ///
    /// Panics if a dim is out of range or listed twice.
    #[track_caller]
    pub fn squeeze(&self, dims: impl Into<Dims>) -> Tensor {
        let dims = self.shape().dims("squeeze", &dims.into());
        let ones: SmallVec<[usize; 4]> = dims.into_iter().filter(|&dim| self.shape()[dim] == 1).collect();
        self.moved(Move::Reshape(self.shape().without(&ones)))
    }

    /// Merges the dims `start_dim` to `end_dim`, inclusive, into one.
    ///
    /// # Panics
    ///
    /// Panics if a dim is out of range, or if `start_dim` comes after `end_dim`.
    #[track_caller]
    pub fn flatten(&self, start_dim: i64, end_dim: i64) -> Tensor {
        let (start, end) = (self.shape().dim("flatten", start_dim), self.shape().dim("flatten", end_dim));
        if start > end {
            refuse!("flatten", "start_dim {start_dim} comes after end_dim {end_dim} in {}", self.spec());
        }
        if self.rank() == 0 {
            return self.moved(Move::Reshape([1].into()));
        }
        let merged = self.shape()[start..=end].iter().product();
        let sizes = self.shape()[..start].iter().copied().chain([merged]);
        self.moved(Move::Reshape(sizes.chain(self.shape()[end + 1..].iter().copied()).collect()))
    }
}
