//! Kernels, and kernel graphs: the buffers that each kernel reads and writes.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::{Program, Reg};
use crate::graph::{Launch, Reduce, View};

/// An output of an item of the pending graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Output {
    pub item: usize,
    pub out: u8,
}

/// A buffer before `memory` assigns its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BufferId {
    Item(Output),
    /// Scratch memory between two kernels.
    Scratch(usize),
}

#[derive(Clone, Debug)]
pub(crate) enum Kernel {
    /// Runs the program at every index of its space.
    Elementwise(Program),
    Reduce(ReductionKernel),
    /// A matrix product and its epilogue, which computes the outputs from each element.
    MatMul(MatMul, Option<Program>),
    /// A dispatch of a fused operation.
    Fused(Box<Launch>),
}

/// A reduction, or one stage of it. The program's last results are combined over the reduced dims. The results before them
/// are elementwise outputs, written at every index of the space; their buffers are listed first.
#[derive(Clone, Debug)]
pub(crate) struct ReductionKernel {
    /// How each accumulator combines elements.
    pub reduce_ops: SmallVec<[Reduce; 2]>,
    pub program: Program,
    /// The reduced dims of the program's space. In a collapsed space they are the last ones.
    pub dims: SmallVec<[usize; 4]>,
    /// The number of parts that the elements of each output are split into. The partial results have the layout `[splits, outputs]`.
    pub splits: usize,
    /// Invocations per partial result.
    pub lanes: u32,
    /// Computes the outputs from the accumulators. Without an epilogue the accumulators are the outputs.
    pub epilogue: Option<Program>,
}

/// `C[z] = A[z] B[z]` with any strides. If `splits` is above 1, K is split, and the partial products are written one after
/// the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MatMul {
    /// Two batch dims, the outer one first.
    pub batch: [usize; 2],
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Matrix,
    pub b: Matrix,
    pub splits: usize,
}

/// An operand of a product: the strides of its rows, columns and batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Matrix {
    /// The index of its buffer among the kernel's reads.
    pub read: usize,
    pub offset: usize,
    pub batch: [usize; 2],
    pub row: usize,
    pub col: usize,
}

/// A kernel and its buffers.
#[derive(Clone, Debug)]
pub(crate) struct KernelNode {
    pub kernel: Kernel,
    pub reads: Vec<BufferId>,
    pub writes: SmallVec<[BufferId; 2]>,
    /// The item that labels the kernel in logs and errors.
    pub item: usize,
    /// Whether it may share the dispatch of the previous kernel.
    pub shares_dispatch: bool,
}

/// Kernels, and the items that need no kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelGraph {
    /// Sorted by their newest items, consumers before producers; in execution order if `is_ordered`.
    pub kernels: Vec<KernelNode>,
    pub is_ordered: bool,
    /// Items that are views of others: the source and the view of each of their outputs.
    pub aliases: FxHashMap<usize, SmallVec<[(Output, View); 1]>>,
    /// Items without elements, which no kernel writes.
    pub empty: FxHashSet<usize>,
    /// Bytes of each scratch buffer.
    pub scratch: Vec<usize>,
}

impl KernelGraph {
    /// Allocates memory between two kernels.
    pub fn new_scratch(&mut self, bytes: usize) -> BufferId {
        self.scratch.push(bytes);
        BufferId::Scratch(self.scratch.len() - 1)
    }

    /// The items that have their own memory after the kernels ran.
    pub fn written(&self) -> FxHashSet<usize> {
        let writes = self.kernels.iter().flat_map(|node| &node.writes);
        let items = writes.filter_map(|buffer| match buffer {
            BufferId::Item(output) => Some(output.item),
            BufferId::Scratch(_) => None,
        });
        items.chain(self.empty.iter().copied()).collect()
    }
}

impl KernelNode {
    pub fn new(
        kernel: Kernel,
        reads: Vec<BufferId>,
        writes: impl IntoIterator<Item = BufferId>,
        item: usize,
    ) -> KernelNode {
        KernelNode { kernel, reads, writes: writes.into_iter().collect(), item, shares_dispatch: false }
    }

    /// Whether the kernel reads anything that another writes.
    pub fn reads_from(&self, other: &KernelNode) -> bool {
        self.reads.iter().any(|read| other.writes.contains(read))
    }
}

impl ReductionKernel {
    /// A reduction in one stage, with one invocation per output.
    pub fn new(
        reduce_ops: SmallVec<[Reduce; 2]>,
        program: Program,
        dims: impl IntoIterator<Item = usize>,
        epilogue: Option<Program>,
    ) -> ReductionKernel {
        ReductionKernel {
            reduce_ops,
            program,
            dims: dims.into_iter().collect(),
            splits: 1,
            lanes: 1,
            epilogue,
        }
    }

    /// The first reduced dim of the collapsed space.
    pub fn inner(&self) -> usize {
        self.program.space.rank() - self.dims.len()
    }

    /// The results that are elementwise outputs, and those that are reduced.
    pub fn results(&self) -> (&[Reg], &[Reg]) {
        self.program.results.split_at(self.program.results.len() - self.reduce_ops.len())
    }

    /// Elements per part: a multiple of four, so that vectors are not split, and not a power of two, so that parts do not
    /// conflict in the cache.
    pub fn part(&self) -> usize {
        let length: usize = self.program.space[self.inner()..].iter().product();
        let part = length.div_ceil(self.splits).next_multiple_of(4);
        if self.splits > 1 && part.is_multiple_of(1024) { part + 16 } else { part }
    }
}

/// Two batch sizes, and each operand's strides over them.
type BatchStrides = ([usize; 2], [[usize; 2]; 2]);

impl MatMul {
    /// Collapses the batch dims of a product to two, if two strides can express them for both operands.
    pub fn batch_strides(sizes: &[usize], views: [&View; 2]) -> Option<BatchStrides> {
        let mut merged: SmallVec<[(usize, [usize; 2]); 4]> = SmallVec::new();
        for (dim, &size) in sizes.iter().enumerate().filter(|(_, size)| **size != 1) {
            let strides = views.map(|view| view.strides[dim] as usize);
            match merged.last_mut() {
                Some((all, outer)) if (0..2).all(|i| outer[i] == strides[i] * size) => {
                    *all *= size;
                    *outer = strides;
                }
                _ => merged.push((size, strides)),
            }
        }
        while merged.len() < 2 {
            merged.insert(0, (1, [0, 0]));
        }
        let [(outer, a), (inner, b)] = merged[..] else { return None };
        Some(([outer, inner], [[a[0], b[0]], [a[1], b[1]]]))
    }

    /// Steps of K per part: a multiple of 16, the slice of K that a tiled kernel loads at a time.
    pub fn part(&self) -> usize {
        self.k.div_ceil(self.splits).next_multiple_of(16)
    }
}

impl Matrix {
    pub fn transposed(self) -> Matrix {
        Matrix { row: self.col, col: self.row, ..self }
    }
}

impl Kernel {
    /// Moves the reduced dims to the end, and merges dims where all views allow it.
    pub fn collapse(&mut self) {
        match self {
            Kernel::Elementwise(program) => {
                program.collapse(usize::MAX);
            }
            Kernel::Reduce(ReductionKernel { program, dims, .. }) => {
                let outer: SmallVec<[usize; 4]> =
                    (0..program.space.rank()).filter(|dim| !dims.contains(dim)).collect();
                program.permute(&[&outer[..], dims].concat());
                let inner = program.collapse(outer.len());
                *dims = (inner..program.space.rank()).collect();
            }
            Kernel::MatMul(..) | Kernel::Fused(_) => {}
        }
        if let Some(epilogue) = self.epilogue_mut() {
            epilogue.collapse(usize::MAX);
        }
    }

    /// The program that computes the outputs from the accumulators.
    pub fn epilogue(&self) -> Option<&Program> {
        match self {
            Kernel::Reduce(ReductionKernel { epilogue, .. }) | Kernel::MatMul(_, epilogue) => {
                epilogue.as_ref()
            }
            Kernel::Elementwise(_) | Kernel::Fused(_) => None,
        }
    }

    pub fn epilogue_mut(&mut self) -> Option<&mut Program> {
        match self {
            Kernel::Reduce(ReductionKernel { epilogue, .. }) | Kernel::MatMul(_, epilogue) => {
                epilogue.as_mut()
            }
            Kernel::Elementwise(_) | Kernel::Fused(_) => None,
        }
    }

    /// The program over the whole iteration space, and how many of its results are elementwise outputs.
    pub fn elementwise_outputs(&self) -> Option<(&Program, usize)> {
        match self {
            Kernel::Elementwise(program) => Some((program, program.results.len())),
            Kernel::Reduce(reduction) => Some((&reduction.program, reduction.results().0.len())),
            Kernel::MatMul(..) | Kernel::Fused(_) => None,
        }
    }

    /// Its programs, in execution order.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        let first = self.elementwise_outputs().map(|(program, _)| program);
        first.into_iter().chain(self.epilogue())
    }

    /// Whether the kernel reads a buffer only at the index that it writes, so that a result may overwrite the buffer.
    pub fn reads_same_index(&self, read: usize) -> bool {
        match self {
            Kernel::Elementwise(program) => program.reads_same_index(read),
            // The elementwise outputs are written before the epilogue runs.
            Kernel::Reduce(ReductionKernel { program, epilogue, .. }) if program.layout.is_some() => {
                let loads = |epilogue: &Program| epilogue.loads.iter().any(|load| load.read == read);
                program.reads_same_index(read) && !epilogue.as_ref().is_some_and(loads)
            }
            Kernel::Reduce(ReductionKernel { program, epilogue: Some(epilogue), .. }) => {
                program.loads.iter().all(|load| load.read != read) && epilogue.reads_same_index(read)
            }
            Kernel::MatMul(MatMul { a, b, .. }, Some(epilogue)) => {
                a.read != read && b.read != read && epilogue.reads_same_index(read)
            }
            Kernel::Reduce(_) | Kernel::MatMul(..) | Kernel::Fused(_) => false,
        }
    }
}
