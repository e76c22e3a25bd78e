//! Kernels, and kernel graphs: kernels with the buffers that they read and write.

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

/// A buffer, named by the value stored in it. The pass `memory` assigns a slot to it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BufferId {
    Item(Output),
    /// Scratch memory that one kernel writes and another reads.
    Scratch(usize),
}

#[derive(Clone, Debug)]
pub(crate) enum Kernel {
    /// Runs a program at every index of its iteration space.
    Elementwise(Program),
    Reduce(ReductionKernel),
    /// A matrix product and its epilogue, which computes the outputs from each element of the product.
    MatMul(MatMul, Option<Program>),
    /// A dispatch of a fused operation.
    Fused(Box<Launch>),
}

/// A reduction, or one stage of it. The program's last results are reduced over `dims`, one per entry of `reduce_ops`.
/// The results before these are elementwise outputs, which the kernel writes at every index of the space. The buffers
/// of the elementwise outputs are first in the kernel's list of writes.
#[derive(Clone, Debug)]
pub(crate) struct ReductionKernel {
    /// The operation with which each accumulator combines elements.
    pub reduce_ops: SmallVec<[Reduce; 2]>,
    pub program: Program,
    /// The reduced dims of the program's space. In a collapsed space they are the last dims.
    pub dims: SmallVec<[usize; 4]>,
    /// The number of splits of the elements of each output. The partial results have the layout `[splits, outputs]`.
    pub splits: usize,
    /// Invocations per partial result.
    pub lanes: u32,
    /// The program that computes the outputs from the accumulators. Without an epilogue the accumulators are the
    /// outputs.
    pub epilogue: Option<Program>,
}

/// A batched matrix product `C[z] = A[z] B[z]` with any strides. If `splits` is greater than 1, K is split and the
/// partial products are stored consecutively.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MatMul {
    /// The sizes of the two batch dims, the outer dim first.
    pub batch: [usize; 2],
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Matrix,
    pub b: Matrix,
    pub splits: usize,
}

/// An operand of a matrix product: its buffer, its offset, and the strides of its batches, rows and columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Matrix {
    /// The index of the operand's buffer among the kernel's reads.
    pub read: usize,
    pub offset: usize,
    pub batch: [usize; 2],
    pub row: usize,
    pub col: usize,
}

/// A kernel and the buffers that it reads and writes.
#[derive(Clone, Debug)]
pub(crate) struct KernelNode {
    pub kernel: Kernel,
    pub reads: Vec<BufferId>,
    pub writes: SmallVec<[BufferId; 2]>,
    /// The item that labels the kernel in logs and errors.
    pub item: usize,
    /// Whether the kernel may share the dispatch of the previous kernel.
    pub shares_dispatch: bool,
}

/// Kernels, and the items that need no kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelGraph {
    /// In execution order if `is_ordered`, otherwise sorted with consumers before producers.
    pub kernels: Vec<KernelNode>,
    pub is_ordered: bool,
    /// Items that are views of other items' memory, with the source and the view of each of their outputs.
    pub aliases: FxHashMap<usize, SmallVec<[(Output, View); 1]>>,
    /// Items that have no elements. No kernel writes them.
    pub empty: FxHashSet<usize>,
    /// The size of each scratch buffer in bytes.
    pub scratch: Vec<usize>,
}

impl KernelGraph {
    /// Adds a scratch buffer.
    pub fn new_scratch(&mut self, bytes: usize) -> BufferId {
        self.scratch.push(bytes);
        BufferId::Scratch(self.scratch.len() - 1)
    }

    /// Returns the items that have their own memory after the kernels have run.
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

    /// Whether the kernel reads a buffer that another kernel writes.
    pub fn reads_from(&self, other: &KernelNode) -> bool {
        self.reads.iter().any(|read| other.writes.contains(read))
    }
}

impl ReductionKernel {
    /// Creates a single-stage reduction with one invocation per output.
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

    /// Returns the first reduced dim of a collapsed space.
    pub fn inner(&self) -> usize {
        self.program.space.rank() - self.dims.len()
    }

    /// Returns the program's results that are elementwise outputs, and the results that are reduced.
    pub fn results(&self) -> (&[Reg], &[Reg]) {
        self.program.results.split_at(self.program.results.len() - self.reduce_ops.len())
    }

    /// Returns the number of elements per split. It is a multiple of 4, so that vectors are not divided. If there are
    /// several splits it is not a multiple of 1024, so that they do not conflict in the cache.
    pub fn part(&self) -> usize {
        let length: usize = self.program.space[self.inner()..].iter().product();
        let part = length.div_ceil(self.splits).next_multiple_of(4);
        if self.splits > 1 && part.is_multiple_of(1024) { part + 16 } else { part }
    }
}

/// The sizes of two batch dims, and the strides of each operand over them.
type BatchStrides = ([usize; 2], [[usize; 2]; 2]);

impl MatMul {
    /// Collapses the batch dims of a matrix product to two. Returns `None` if two strides per operand cannot express
    /// them.
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

    /// Returns the number of steps of K per split. It is a multiple of 16, the number of steps that a tiled kernel
    /// loads at a time.
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
    /// Collapses the iteration space: moves the reduced dims to the end, and merges adjacent dims if all views allow
    /// it.
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

    /// Returns the epilogue: the program that computes the outputs from the accumulators.
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

    /// Returns the program over the whole iteration space, and the number of its results that are elementwise outputs.
    pub fn elementwise_outputs(&self) -> Option<(&Program, usize)> {
        match self {
            Kernel::Elementwise(program) => Some((program, program.results.len())),
            Kernel::Reduce(reduction) => Some((&reduction.program, reduction.results().0.len())),
            Kernel::MatMul(..) | Kernel::Fused(_) => None,
        }
    }

    /// Returns the kernel's programs in execution order.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        let first = self.elementwise_outputs().map(|(program, _)| program);
        first.into_iter().chain(self.epilogue())
    }

    /// Whether the kernel reads a buffer only at the index that it writes, so that one of its results may overwrite the
    /// buffer.
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
