//! Memory layouts of operands, all of which every kernel must be able to read.

use wgrad::Tensor;

/// How an operand is a view of the leaf that holds its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Contiguous,
    Transposed,
    Sliced,
    Broadcast,
    Empty,
    /// Realized before it is used: a value that is a strided view of another value's memory.
    RealisedTransposed,
    RealisedSliced,
    /// Realized, with negative strides.
    RealisedFlipped,
}

pub const LAYOUTS: [Layout; 8] = [
    Layout::Contiguous,
    Layout::Transposed,
    Layout::Sliced,
    Layout::Broadcast,
    Layout::Empty,
    Layout::RealisedTransposed,
    Layout::RealisedSliced,
    Layout::RealisedFlipped,
];

impl Layout {
    /// The shape of the leaf for an operand of `shape`.
    pub fn leaf(self, shape: &[usize]) -> Vec<usize> {
        let with_first = |size| [size].into_iter().chain(shape[1..].iter().copied()).collect();
        match self {
            Layout::Contiguous | Layout::RealisedFlipped => shape.to_vec(),
            Layout::Transposed | Layout::RealisedTransposed => shape.iter().rev().copied().collect(),
            Layout::Sliced | Layout::RealisedSliced => shape.iter().map(|size| size + 3).collect(),
            Layout::Broadcast => with_first(1),
            Layout::Empty => with_first(0),
        }
    }

    /// The operand of `shape` as a view of its leaf. An empty one has no elements, whatever the shape.
    pub fn view(self, leaf: &Tensor, shape: &[usize]) -> Tensor {
        let dims = 0..shape.len();
        match self {
            Layout::Contiguous | Layout::Empty => leaf.clone(),
            Layout::Transposed => leaf.permute(dims.rev().collect::<Vec<_>>()),
            Layout::Sliced => dims.fold(leaf.clone(), |x, dim| x.narrow(dim as i64, 2, shape[dim])),
            Layout::Broadcast => leaf.expand(shape),
            Layout::RealisedTransposed => realised(Layout::Transposed.view(leaf, shape)),
            Layout::RealisedSliced => realised(Layout::Sliced.view(leaf, shape)),
            Layout::RealisedFlipped => realised(leaf.flip(dims.collect::<Vec<_>>())),
        }
    }
}

fn realised(view: Tensor) -> Tensor {
    view.realize().expect("the device computes it");
    view
}
