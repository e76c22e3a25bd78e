//! Movement operations as index arithmetic: a chain of movement operations on a buffer is one strided view with a mask
//! (a range of valid coordinates for each dim).
//!
//! In: a layout and the movement operations, starting at the buffer. Out: for each element of the result, its offset in
//! the buffer, or zero padding. `None` if strides cannot express the result; the scheduler then materializes the
//! operand.

use smallvec::SmallVec;

use crate::core::shape::Shape;

/// A movement operation with resolved attributes. It only rearranges elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Move {
    /// The same elements in row-major order, with another shape.
    Reshape(Shape),
    /// Dim `i` of the result is dim `dims[i]` of the source.
    Permute(SmallVec<[usize; 4]>),
    /// Repeats dims of size 1.
    Expand(Shape),
    /// For each dim, the first index and the number of the elements that are kept.
    Slice(SmallVec<[(usize, usize); 4]>),
    /// For each dim, the number of zeros before and after the elements.
    Pad(SmallVec<[(usize, usize); 4]>),
    /// Reverses the listed dims.
    Flip(SmallVec<[usize; 4]>),
    /// All windows along a dim; a new last dim indexes the elements of each window.
    Windows(WindowMove),
}

/// Windows of `size` elements along `dim`. Adjacent elements of a window are `dilation` apart, and adjacent windows
/// start `step` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowMove {
    pub dim: usize,
    pub size: usize,
    pub step: usize,
    pub dilation: usize,
}

impl WindowMove {
    /// Returns the number of windows in `length` elements.
    pub fn count(&self, length: usize) -> usize {
        length.checked_sub(self.dilation * (self.size - 1) + 1).map_or(0, |room| room / self.step + 1)
    }
}

impl Move {
    /// Returns the shape of the result for a source of shape `source`.
    pub fn shape(&self, source: &Shape) -> Shape {
        match self {
            Move::Reshape(shape) | Move::Expand(shape) => shape.clone(),
            Move::Permute(dims) => dims.iter().map(|&dim| source[dim]).collect(),
            Move::Slice(ranges) => ranges.iter().map(|&(_, len)| len).collect(),
            Move::Pad(pads) => source.iter().zip(pads).map(|(size, (a, b))| a + size + b).collect(),
            Move::Flip(_) => source.clone(),
            Move::Windows(windows) => source
                .with(windows.dim, windows.count(source[windows.dim]))
                .insert(source.rank(), windows.size),
        }
    }

    /// Returns the operation's name in printed graphs and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Move::Reshape(_) => "reshape",
            Move::Permute(_) => "permute",
            Move::Expand(_) => "expand",
            Move::Slice(_) => "slice",
            Move::Pad(_) => "pad",
            Move::Flip(_) => "flip",
            Move::Windows(_) => "windows",
        }
    }
}

/// A strided view: element `coords` is at `offset + Σ coords[d] * strides[d]`; elements outside the mask are zero
/// padding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct View {
    pub shape: Shape,
    pub strides: SmallVec<[isize; 4]>,
    pub offset: isize,
    /// For each dim, the half-open range of valid coordinates (elements that are not padding); `None` if all
    /// coordinates are valid.
    pub mask: Option<SmallVec<[(usize, usize); 4]>>,
}

impl View {
    /// Returns the view of a whole buffer in row-major order.
    pub fn contiguous(shape: &Shape) -> View {
        let strides = shape.strides().iter().map(|&stride| stride as isize).collect();
        View { shape: shape.clone(), strides, offset: 0, mask: None }
    }

    /// Whether element `i` in row-major order is at offset `i`.
    pub fn is_contiguous(&self) -> bool {
        let plain = self.shape.strides();
        self.offset == 0
            && self.mask.is_none()
            && (0..self.shape.rank()).all(|d| self.shape[d] == 1 || self.strides[d] == plain[d] as isize)
    }

    /// Whether all coordinates map to the same element.
    pub fn is_uniform(&self) -> bool {
        self.mask.is_none()
            && self.strides.iter().zip(self.shape.iter()).all(|(&stride, &size)| stride == 0 || size == 1)
    }

    /// Returns the view with its last two dims exchanged.
    pub fn transposed(&self) -> Option<View> {
        let rank = self.shape.rank();
        let mut dims: SmallVec<[usize; 4]> = (0..rank).collect();
        (rank >= 2).then(|| dims.swap(rank - 2, rank - 1))?;
        self.apply(&Move::Permute(dims))
    }

    /// Applies a movement operation to the view.
    pub fn apply(&self, movement: &Move) -> Option<View> {
        let mut view = match movement {
            Move::Reshape(shape) => return self.reshape(shape),
            Move::Permute(dims) => View {
                strides: dims.iter().map(|&dim| self.strides[dim]).collect(),
                mask: self.mask.as_ref().map(|mask| dims.iter().map(|&dim| mask[dim]).collect()),
                ..self.clone()
            },
            Move::Expand(shape) => self.expand(shape),
            Move::Slice(ranges) => self.slice(ranges),
            Move::Pad(pads) => self.pad(pads),
            Move::Flip(dims) => self.flip(dims),
            Move::Windows(windows) => self.windows(windows)?,
        };
        view.shape = movement.shape(&self.shape);
        Some(view)
    }

    fn expand(&self, shape: &Shape) -> View {
        let mut view = self.clone();
        for dim in (0..shape.rank()).filter(|&dim| shape[dim] != self.shape[dim]) {
            view.strides[dim] = 0;
            if let Some(mask) = &mut view.mask {
                mask[dim] = if mask[dim] == (0, 1) { (0, shape[dim]) } else { (0, 0) };
            }
        }
        view
    }

    fn slice(&self, ranges: &[(usize, usize)]) -> View {
        let mut view = self.clone();
        for (dim, &(start, len)) in ranges.iter().enumerate() {
            view.offset += start as isize * self.strides[dim];
            if let Some(mask) = &mut view.mask {
                let (low, high) = mask[dim];
                mask[dim] = (low.saturating_sub(start).min(len), high.saturating_sub(start).min(len));
            }
        }
        view
    }

    fn pad(&self, pads: &[(usize, usize)]) -> View {
        let mut view = self.clone();
        let mut mask =
            self.mask.clone().unwrap_or_else(|| self.shape.iter().map(|&size| (0, size)).collect());
        for (dim, &(before, _)) in pads.iter().enumerate() {
            view.offset -= before as isize * self.strides[dim];
            mask[dim] = (mask[dim].0 + before, mask[dim].1 + before);
        }
        view.mask = Some(mask);
        view
    }

    fn flip(&self, dims: &[usize]) -> View {
        let mut view = self.clone();
        for &dim in dims {
            let size = self.shape[dim];
            view.offset += size.saturating_sub(1) as isize * self.strides[dim];
            view.strides[dim] = -self.strides[dim];
            if let Some(mask) = &mut view.mask {
                mask[dim] = (size - mask[dim].1, size - mask[dim].0);
            }
        }
        view
    }

    /// Returns `None` if the dim is padded: the valid elements of the windows would not be a range of coordinates.
    fn windows(&self, windows: &WindowMove) -> Option<View> {
        let mut view = self.clone();
        let stride = self.strides[windows.dim];
        if let Some(mask) = &mut view.mask {
            if mask[windows.dim] != (0, self.shape[windows.dim]) {
                return None;
            }
            mask[windows.dim].1 = windows.count(self.shape[windows.dim]);
            mask.push((0, windows.size));
        }
        view.strides[windows.dim] = stride * windows.step as isize;
        view.strides.push(stride * windows.dilation as isize);
        Some(view)
    }

    /// Splits both shapes into the shortest groups of dims with equal products. Each group must be a single dim of size
    /// above 1 in both shapes, or its old dims must be unpadded and merge into one stride.
    fn reshape(&self, shape: &Shape) -> Option<View> {
        if self.shape.numel() == 0 {
            return Some(View::contiguous(shape));
        }
        if let Some(mask) = &self.mask
            && (0..self.shape.rank()).any(|dim| self.shape[dim] == 1 && mask[dim] != (0, 1))
        {
            return None; // the new shape has no dim for the mask of this dim
        }
        let old: SmallVec<[usize; 4]> = (0..self.shape.rank()).filter(|&dim| self.shape[dim] != 1).collect();
        let range = |dim: usize| self.mask.as_ref().map_or((0, self.shape[dim]), |mask| mask[dim]);
        let mut strides: SmallVec<[isize; 4]> = SmallVec::from_elem(0, shape.rank());
        let mut mask: SmallVec<[(usize, usize); 4]> = shape.iter().map(|&size| (0, size)).collect();
        let (mut i, mut j) = (0, 0);
        while i < old.len() {
            let (first, start) = (i, j);
            let (mut from, mut to) = (self.shape[old[i]], 1);
            i += 1;
            while from != to {
                if to < from {
                    to *= shape[j];
                    j += 1;
                } else {
                    from *= self.shape[old[i]];
                    i += 1;
                }
            }
            let inner = old[i - 1];
            let sizable: SmallVec<[usize; 4]> = (start..j).filter(|&dim| shape[dim] != 1).collect();
            if let ([dim], 1) = (&sizable[..], i - first) {
                (strides[*dim], mask[*dim]) = (self.strides[inner], range(inner));
                continue;
            }
            for k in first..i {
                let full = range(old[k]) == (0, self.shape[old[k]]);
                let merges = k + 1 == i
                    || self.strides[old[k]] == self.strides[old[k + 1]] * self.shape[old[k + 1]] as isize;
                if !full || !merges {
                    return None;
                }
            }
            let mut stride = self.strides[inner];
            for &dim in sizable.iter().rev() {
                strides[dim] = stride;
                stride *= shape[dim] as isize;
            }
        }
        let mask = self.mask.is_some().then_some(mask);
        Some(View { shape: shape.clone(), strides, offset: self.offset, mask })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::array::Array;
    use crate::cpu::move_array;
    use proptest::prelude::*;

    /// Reads the elements of the view from `data`.
    fn read(view: &View, data: &[f64]) -> Vec<f64> {
        view.shape
            .coords()
            .map(|coords| {
                let exists = view.mask.as_ref().is_none_or(|mask| {
                    mask.iter().zip(&coords).all(|(&(low, high), &x)| low <= x && x < high)
                });
                let at =
                    coords.iter().zip(&view.strides).map(|(&x, stride)| x as isize * stride).sum::<isize>();
                if exists { data[(view.offset + at) as usize] } else { 0.0 }
            })
            .collect()
    }

    /// Returns a movement operation for `shape`, chosen by `seed`.
    fn movement(shape: &Shape, seed: u32) -> Move {
        let pick = |dim: usize, n: usize| (seed >> (3 * dim + 3)) as usize % n.max(1);
        match seed % 7 {
            0 => {
                let mut sizes: Vec<usize> = shape.to_vec();
                match sizes.iter().position(|&size| size > 2 && size % 2 == 0) {
                    Some(dim) if pick(0, 2) == 0 => {
                        sizes[dim] /= 2;
                        sizes.insert(dim + pick(1, 2), 2);
                    }
                    _ if sizes.len() > 1 => {
                        let merged = sizes.remove(0);
                        sizes[0] *= merged;
                    }
                    _ => sizes.insert(pick(0, 2), 1),
                }
                Move::Reshape(Shape::from(&sizes[..]))
            }
            1 => {
                let mut dims: SmallVec<[usize; 4]> = (0..shape.rank()).collect();
                dims.rotate_left(pick(0, shape.rank()));
                Move::Permute(dims)
            }
            2 => Move::Expand(shape.iter().map(|&size| if size == 1 { 3 } else { size }).collect()),
            3 => Move::Slice(
                shape
                    .iter()
                    .enumerate()
                    .map(|(d, &n)| (pick(d, n), (n - pick(d, n)).min(1 + pick(d + 1, 4))))
                    .collect(),
            ),
            4 => Move::Pad((0..shape.rank()).map(|dim| (pick(dim, 3), pick(dim + 1, 2))).collect()),
            5 => Move::Flip((0..shape.rank()).filter(|&dim| pick(dim, 2) == 0).collect()),
            _ => {
                let dim = pick(0, shape.rank());
                let (size, dilation) = (1 + pick(1, 2).min(shape[dim] - 1), 1);
                Move::Windows(WindowMove { dim, size, step: 1 + pick(2, 3), dilation })
            }
        }
    }

    proptest! {
        /// A chain of movement operations as one view gives the same elements as applying the operations to arrays one
        /// by one.
        #[test]
        fn chains_compose(sizes in prop::collection::vec(1usize..5, 1..4), seeds in prop::collection::vec(any::<u32>(), 1..6)) {
            let shape = Shape::from(&sizes[..]);
            let data: Vec<f64> = (1..=shape.numel()).map(|x| x as f64).collect();
            let (mut view, mut array, mut now) = (View::contiguous(&shape), Array::Float(data.clone()), shape);
            for seed in seeds {
                let movement = movement(&now, seed);
                let Some(next) = view.apply(&movement) else { break };
                array = move_array(&movement, &array, &now);
                now = movement.shape(&now);
                view = next;
                prop_assert_eq!(&view.shape, &now);
                prop_assert_eq!(Array::Float(read(&view, &data)), array.clone());
            }
        }
    }

    #[test]
    fn reshape_of_a_transpose_must_materialise() {
        let transposed =
            View::contiguous(&[2, 3].into()).apply(&Move::Permute(SmallVec::from_slice(&[1, 0])));
        assert_eq!(transposed.unwrap().apply(&Move::Reshape([6].into())), None);
    }

    #[test]
    fn reshape_keeps_the_strides_of_dims_it_does_not_touch() {
        let view =
            View::contiguous(&[4, 6].into()).apply(&Move::Slice(SmallVec::from_slice(&[(0, 4), (1, 4)])));
        let view = view.unwrap().apply(&Move::Reshape([2, 2, 1, 4].into())).unwrap();
        assert_eq!((&view.strides[..], view.offset), (&[12, 6, 0, 1][..], 1));
    }
}
