//! Lowers each region to a kernel: emits the instructions of every item, once per path to the item.
//!
//! In: regions. Out: kernels whose programs have the dims of their items. Lowering cannot fail, because `regions` has
//! checked that strides express every path.

use rustc_hash::{FxBuildHasher, FxHashMap};
use smallvec::SmallVec;

use super::access::{Boundary, Computed, PathId, Paths, coordinate, gathered, scatter_paths};
use super::pending::PendingGraph;
use super::regions::{Body, EpilogueRegion, Region, Regions};
use crate::core::dtype::DType;
use crate::core::limits::Limits;
use crate::graph::{Binary, Buffer, Move, Op, Reduce, View, validate};
use crate::ir::{
    BufferId, Inst, Kernel, KernelGraph, KernelNode, Load, MatMul, Matrix, Output, Program, ReductionKernel,
    Reg, index_of,
};

pub(super) fn lower(graph: &PendingGraph, regions: Regions, limits: &Limits) -> KernelGraph {
    let Regions { list, aliases, empty, materialized, scratch } = regions;
    let mut lowering = Lowering {
        graph,
        limits,
        materialized,
        kernels: KernelGraph {
            kernels: Vec::with_capacity(list.len()),
            is_ordered: false,
            aliases,
            empty,
            scratch,
        },
    };
    list.into_iter().for_each(|region| lowering.region(region));
    lowering.kernels
}

struct Lowering<'a> {
    graph: &'a PendingGraph,
    limits: &'a Limits,
    materialized: Vec<bool>,
    kernels: KernelGraph,
}

/// Returns the buffer of an item with a single output.
fn buffer(item: usize) -> BufferId {
    BufferId::Item(Output { item, out: 0 })
}

impl Lowering<'_> {
    fn region(&mut self, region: Region) {
        let item = region.item();
        match region {
            Region::Elementwise { body, writes } => {
                let (program, reads) = self.body(&body, &[]);
                self.push(Kernel::Elementwise(program), reads, writes.into_iter().map(buffer), item);
            }
            Region::Reduce { accumulators, prologue, epilogue } => {
                self.reduction(&accumulators, &prologue, epilogue.as_ref());
            }
            Region::MatMul { item, operands, epilogue } => self.matmul(item, &operands, epilogue.as_ref()),
            Region::Fused { item, inputs } => self.fused(item, &inputs),
            Region::Copy { source, view, to } => {
                let program = Program::copies(view, &[self.graph.spec(source).dtype]);
                self.push(Kernel::Elementwise(program), vec![BufferId::Item(source)], [to], item);
            }
        }
    }

    fn push(
        &mut self,
        kernel: Kernel,
        reads: Vec<BufferId>,
        writes: impl IntoIterator<Item = BufferId>,
        item: usize,
    ) {
        self.kernels.kernels.push(KernelNode::new(kernel, reads, writes, item));
    }

    fn body(&self, body: &Body, accumulators: &[usize]) -> (Program, Vec<BufferId>) {
        let mut emitter = Emitter::new(self.graph, &body.computed, accumulators);
        emitter.program.space = body.space.clone();
        emitter.program.results = body.results.iter().map(|&result| emitter.emit(result, 0)).collect();
        (emitter.program, emitter.reads)
    }

    /// Returns the program of the epilogue and the outputs of the kernel. With an epilogue, the outputs are its results
    /// and every accumulator that is not consumed by it, is read by another kernel, or is an output of the run. Without
    /// an epilogue, they are the accumulators.
    fn epilogue(
        &self,
        epilogue: Option<&EpilogueRegion>,
        accumulators: &[usize],
        kernel_reads: &mut Vec<BufferId>,
    ) -> (Option<Program>, Vec<BufferId>) {
        let Some(epilogue) = epilogue else {
            return (None, accumulators.iter().copied().map(buffer).collect());
        };
        let (mut program, reads) = self.body(&epilogue.body, &accumulators[..epilogue.consumed]);
        program.rebind(&reads, kernel_reads);
        let mut writes: Vec<BufferId> = epilogue.writes.iter().copied().map(buffer).collect();
        for (n, &item) in accumulators.iter().enumerate() {
            let needed = self.materialized[item] || self.graph.items[item].is_output;
            if needed || n >= epilogue.consumed {
                program.store_accumulator(n, self.graph.items[item].spec(0).dtype);
                writes.push(buffer(item));
            }
        }
        (Some(program), writes)
    }

    fn reduction(&mut self, accumulators: &[usize], prologue: &Body, epilogue: Option<&EpilogueRegion>) {
        let first = accumulators[0];
        let ((program, mut reads), reduce_ops, dims) = match self.graph.items[first].op() {
            Op::ScatterAdd(dim, _) => {
                let code = self.scatter(first, *dim, &prologue.computed);
                let position = SmallVec::from_elem(prologue.space.rank() - 1, 1);
                (code, SmallVec::from_elem(Reduce::Sum, 1), position)
            }
            Op::Reduce(_, dims) => {
                let reduce_ops = accumulators.iter().map(|&item| match self.graph.items[item].op() {
                    Op::Reduce(reduce_op, _) => *reduce_op,
                    op => unreachable!("a reduction region contains {}", op.name()),
                });
                (self.body(prologue, &[]), reduce_ops.collect(), dims.clone())
            }
            op => unreachable!("{} is not a reduction", op.name()),
        };
        let (epilogue, writes) = self.epilogue(epilogue, accumulators, &mut reads);
        self.push(
            Kernel::Reduce(ReductionKernel::new(reduce_ops, program, dims, epilogue)),
            reads,
            writes,
            first,
        );
    }

    /// Lowers a scatter to a sum over all positions whose index selects the output's element. This needs no atomics and
    /// adds in a fixed order.
    fn scatter(&self, item: usize, dim: usize, computed: &Computed) -> (Program, Vec<BufferId>) {
        let (paths, [index_path, src_path], space) = scatter_paths(self.graph, item, dim);
        let [index, src] = self.graph.items[item].sources[..] else { unreachable!("index and src") };
        let [index_dtype, dtype] = [index, src].map(|source| self.graph.spec(source).dtype);
        let mut emitter = Emitter { paths, ..Emitter::new(self.graph, computed, &[]) };
        let size = space[dim];
        let element = emitter.push(Inst::Index(coordinate(&space, dim)));
        emitter.program.space = space;
        let index = emitter.emit(index, index_path);
        emitter.push(Inst::Check { item, index, size });
        let index =
            if index_dtype == DType::I32 { index } else { emitter.push(Inst::Cast(index, DType::I32)) };
        let src = emitter.emit(src, src_path);
        let hit = emitter.push(Inst::Binary(Binary::Eq, index, element, DType::I32));
        let zero = emitter.push(Inst::Const(0.0, dtype));
        let result = emitter.push(Inst::Where(hit, src, zero));
        emitter.program.results = SmallVec::from_elem(result, 1);
        (emitter.program, emitter.reads)
    }

    /// Lowers a matrix product. If the epilogue is transposed, computes the transposed product from the transposed
    /// operands in reverse order.
    fn matmul(&mut self, item: usize, operands: &[(BufferId, View); 2], epilogue: Option<&EpilogueRegion>) {
        let out = &self.graph.items[item].spec(0).shape;
        let rank = out.rank();
        let [(a, view_a), (b, view_b)] = operands;
        let (batch, strides) = MatMul::batch_strides(&out[..rank - 2], [view_a, view_b])
            .expect("regions copies operands without strides");
        let mut reads = vec![*a];
        let mut matrix = |buffer: BufferId, view: &View, batch: [usize; 2]| Matrix {
            read: index_of(&mut reads, buffer),
            offset: view.offset as usize,
            batch,
            row: view.strides[rank - 2] as usize,
            col: view.strides[rank - 1] as usize,
        };
        let (mut a, mut b) = (matrix(*a, view_a, strides[0]), matrix(*b, view_b, strides[1]));
        let (mut m, mut n, k) = (out[rank - 2], out[rank - 1], view_a.shape[rank - 1]);
        if epilogue.is_some_and(|epilogue| epilogue.body.access.transposed) {
            (a, b, m, n) = (b.transposed(), a.transposed(), n, m);
        }
        let (epilogue, writes) = self.epilogue(epilogue, &[item], &mut reads);
        let product = MatMul { batch, m, n, k, a, b, splits: 1 };
        self.push(Kernel::MatMul(product, epilogue), reads, writes, item);
    }

    /// Lowers a fused operation to its dispatches, which are listed last to first.
    fn fused(&mut self, item: usize, inputs: &[BufferId]) {
        let it = &self.graph.items[item];
        let Op::Fused(op) = it.op() else { unreachable!("a fused operation") };
        let specs: Vec<_> = it.specs(self.graph).into_iter().chain(it.node.outs.iter().cloned()).collect();
        let launches =
            op.launch(&specs, self.limits).expect("pending decomposes operations without a kernel");
        validate(op.name(), &launches, inputs.len(), specs.len() - inputs.len());
        let mut scratch: FxHashMap<usize, usize> = FxHashMap::default();
        let mut kernels = Vec::new();
        for launch in launches {
            let (mut reads, mut writes, mut rewritten) = (Vec::new(), Vec::new(), Vec::new());
            for buffer in &launch.buffers {
                match *buffer {
                    Buffer::Input(i) => reads.push(inputs[i]),
                    Buffer::Output(i) => writes.push(BufferId::Item(Output { item, out: i as u8 })),
                    Buffer::Scratch { index, bytes } => {
                        let known = scratch.get(&index).copied();
                        rewritten.extend(known.map(BufferId::Scratch));
                        let all = &mut self.kernels.scratch;
                        let at = known.unwrap_or_else(|| {
                            all.push(0);
                            all.len() - 1
                        });
                        scratch.insert(index, at);
                        all[at] = all[at].max(bytes);
                        writes.push(BufferId::Scratch(at));
                    }
                    Buffer::Fault => {}
                }
            }
            reads.append(&mut rewritten); // keeps their memory allocated until this dispatch
            kernels.push(KernelNode::new(Kernel::Fused(Box::new(launch)), reads, writes, item));
        }
        self.kernels.kernels.extend(kernels.into_iter().rev());
    }
}

/// Emits the instructions of one program.
struct Emitter<'a> {
    graph: &'a PendingGraph,
    computed: &'a Computed,
    accumulators: &'a [usize],
    paths: Paths,
    registers: FxHashMap<(Output, PathId), Reg>,
    program: Program,
    reads: Vec<BufferId>,
}

impl<'a> Emitter<'a> {
    fn new(graph: &'a PendingGraph, computed: &'a Computed, accumulators: &'a [usize]) -> Self {
        Emitter {
            graph,
            computed,
            accumulators,
            paths: Paths::default(),
            registers: FxHashMap::with_capacity_and_hasher(2 * computed.items.len(), FxBuildHasher),
            program: Program::default(),
            reads: Vec::new(),
        }
    }

    fn push(&mut self, inst: Inst) -> Reg {
        self.program.code.push(inst);
        self.program.code.len() - 1
    }

    /// Appends an instruction unless an equal one exists. Returns its register.
    fn push_once(&mut self, inst: Inst) -> Reg {
        self.program.code.iter().position(|known| known.is_same(&inst)).unwrap_or_else(|| self.push(inst))
    }

    fn view(&self, layout: View, path: PathId) -> View {
        match self.paths.view(layout, path) {
            Ok(view) => view,
            Err(Boundary(item)) => {
                unreachable!("regions did not check the strides of {}", self.graph.items[item].op().name())
            }
        }
    }

    /// Returns the register with the value of an item at the end of a path, after emitting the instructions that
    /// compute it.
    fn emit(&mut self, source: Output, path: PathId) -> Reg {
        if let Some(&register) = self.registers.get(&(source, path)) {
            return register;
        }
        let dtype = self.graph.spec(source).dtype;
        let register = if self.computed.items.contains(&source.item) {
            self.compute(source.item, path)
        } else if let Some(n) = self.accumulators.iter().position(|&item| item == source.item) {
            self.push_once(Inst::Accumulator(n, dtype))
        } else {
            let view = self.view(self.graph.layout(source), path);
            let load = self.load(source, view);
            // Two paths may result in the same view, which is loaded only once.
            self.push_once(Inst::Load(load))
        };
        self.registers.insert((source, path), register);
        register
    }

    fn load(&mut self, source: Output, view: View) -> usize {
        let dtype = self.graph.spec(source).dtype;
        let read = index_of(&mut self.reads, BufferId::Item(source));
        index_of(&mut self.program.loads, Load { read, dtype, view })
    }

    fn compute(&mut self, item: usize, path: PathId) -> Reg {
        let graph = self.graph;
        let it = &graph.items[item];
        let (spec, sources) = (it.spec(0), &it.sources);
        let inst = match it.op() {
            Op::Const(x) => Inst::Const(*x, spec.dtype),
            Op::Scalar(_) => Inst::Scalar(item, spec.dtype),
            Op::Iota(dim) => Inst::Index(self.view(coordinate(&spec.shape, *dim), path)),
            Op::Random { .. } => Inst::Random(item, self.view(View::contiguous(&spec.shape), path)),
            Op::Unary(op) => Inst::Unary(*op, self.emit(sources[0], path), spec.dtype),
            Op::Binary(op) => {
                let operands = graph.spec(sources[0]).dtype;
                Inst::Binary(*op, self.emit(sources[0], path), self.emit(sources[1], path), operands)
            }
            Op::Where => {
                let condition = self.emit(sources[0], path);
                Inst::Where(condition, self.emit(sources[1], path), self.emit(sources[2], path))
            }
            Op::Cast(to) => Inst::Cast(self.emit(sources[0], path), *to),
            Op::Move(movement) => return self.movement(item, movement, path),
            Op::Gather(dim) => self.gather(item, *dim, path),
            Op::Input(_) | Op::Reduce(..) | Op::MatMul | Op::ScatterAdd(..) | Op::Fused(_) => {
                unreachable!("{} must be materialized", it.op().name())
            }
        };
        self.push(inst)
    }

    /// Whether a register is already zero outside the path's valid range, so that it needs no mask instruction.
    fn is_masked(&self, register: Reg) -> bool {
        matches!(self.program.code[register], Inst::Load(_) | Inst::Mask(..))
    }

    /// Lowers a movement item to index arithmetic, and padding of a computed value to a mask instruction.
    fn movement(&mut self, item: usize, movement: &Move, path: PathId) -> Reg {
        let source = self.graph.items[item].sources[0];
        let inner = self.paths.through(self.graph, item, path);
        let register = self.emit(source, inner);
        if self.is_masked(register) || !matches!(movement, Move::Pad(_)) {
            return register;
        }
        let spec = self.graph.spec(source);
        let mask = self.view(View::contiguous(&spec.shape), inner);
        self.push(Inst::Mask(mask, register, spec.dtype))
    }

    fn gather(&mut self, item: usize, dim: usize, path: PathId) -> Inst {
        let it = &self.graph.items[item];
        let (out, dtype, index) = (&it.spec(0).shape, it.spec(0).dtype, it.sources[1]);
        if out.numel() == 0 {
            // The region reads only the padding around the gather's empty result.
            return Inst::Const(0.0, dtype);
        }
        let (base, view) = &self.computed.gathers[&item];
        let (view, size, stride) = gathered(view, out, dim);
        let view = self.view(view, path);
        let index_dtype = self.graph.spec(index).dtype;
        let mut index = self.emit(index, path);
        // Nothing is gathered in the padding, so an out-of-range index there is not a fault. The mask sets the index to
        // 0.
        if self.paths.pads(path) && !self.is_masked(index) {
            let mask = self.view(View::contiguous(out), path);
            index = self.push(Inst::Mask(mask, index, index_dtype));
        }
        let load = self.load(*base, view);
        Inst::Gather { item, load, index, size, stride }
    }
}
