//! Collapses the dims of each kernel, and splits long loops into two stages. If the loop of a reduction or matrix
//! product exceeds the adapter's limit, or would leave most of the device idle, a first kernel writes partial results
//! and a second kernel combines them.
//!
//! In: merged kernels. Out: kernels with collapsed iteration spaces and with their numbers of splits and lanes.

use smallvec::SmallVec;

use super::split_policy::{k_splits, reduction_splits};
use crate::core::dtype::DType;
use crate::core::limits::Limits;
use crate::graph::{Move, Reduce, View};
use crate::ir::{BufferId, Kernel, KernelGraph, KernelNode, Program, ReductionKernel};

pub(super) fn split_reductions(mut graph: KernelGraph, limits: &Limits) -> KernelGraph {
    for node in std::mem::take(&mut graph.kernels) {
        let [second, first] = split_product(node, limits, &mut graph);
        for node in second.into_iter().chain(first) {
            let stages = split_reduction(node, limits, &mut graph);
            graph.kernels.extend(stages);
        }
    }
    graph
}

/// Splits the K loop of a matrix product if that is necessary or faster. Returns the sum of the partial products (if K
/// is split), then the product.
fn split_product(mut node: KernelNode, limits: &Limits, graph: &mut KernelGraph) -> [Option<KernelNode>; 2] {
    let Kernel::MatMul(product, epilogue) = &mut node.kernel else { return [None, Some(node)] };
    let outputs = product.batch[0] * product.batch[1] * product.m * product.n;
    let splits = k_splits(limits, outputs, product.k);
    if splits == 1 {
        return [None, Some(node)];
    }
    product.splits = splits;
    let partial = graph.new_scratch(outputs * splits * DType::F32.bytes());
    let mut epilogue = epilogue.take();
    let mut reads = vec![partial];
    epilogue.iter_mut().for_each(|epilogue| epilogue.rebind(&node.reads, &mut reads));
    let program = Program::copies(partial_results(splits, outputs), &[DType::F32]);
    let sum = ReductionKernel::new(SmallVec::from_elem(Reduce::Sum, 1), program, [1], epilogue);
    let sum = KernelNode::new(Kernel::Reduce(sum), reads, node.writes, node.item);
    node.writes = SmallVec::from_elem(partial, 1);
    // The product's kernel has no epilogue now, so it does not read the epilogue's operands.
    if let Kernel::MatMul(product, _) = &node.kernel {
        node.reads.truncate(1 + product.a.read.max(product.b.read));
    }
    [Some(sum), Some(node)]
}

/// Returns a view with the dims `[outputs, splits]` of partial results with the memory layout `[splits, outputs]`, so
/// that invocations of adjacent outputs write to adjacent memory.
fn partial_results(splits: usize, outputs: usize) -> View {
    let transpose = Move::Permute(SmallVec::from_slice(&[1, 0]));
    View::contiguous(&[splits, outputs].into()).apply(&transpose).expect("strides express a transpose")
}

/// Collapses a kernel and, if it is a long reduction, splits it. Returns the kernels, later stages first.
fn split_reduction(
    mut node: KernelNode,
    limits: &Limits,
    graph: &mut KernelGraph,
) -> SmallVec<[KernelNode; 2]> {
    node.kernel.collapse();
    let Kernel::Reduce(reduction) = &mut node.kernel else { return SmallVec::from_iter([node]) };
    let (inner, program) = (reduction.inner(), &reduction.program);
    let outputs: usize = program.space[..inner].iter().product();
    let length: usize = program.space[inner..].iter().product();
    let rows = program.rows_are_contiguous(inner);
    let (splits, lanes) = reduction_splits(limits, outputs, length, program.largest_operand(), rows);
    (reduction.splits, reduction.lanes) = (splits, lanes);
    if splits == 1 {
        return SmallVec::from_iter([node]);
    }
    let [second, first] = stages(node, partial_results(splits, outputs), &[1], graph);
    let mut both = split_reduction(second, limits, graph);
    both.push(first);
    both
}

/// Splits a reduction into two kernels: the first writes partial results with the layout `partial`, the second reduces
/// the partial results over `dims`. Returns the second, then the first.
pub(super) fn stages(
    mut node: KernelNode,
    partial: View,
    dims: &[usize],
    graph: &mut KernelGraph,
) -> [KernelNode; 2] {
    let Kernel::Reduce(reduction) = &mut node.kernel else { unreachable!("a reduction") };
    let (outputs, reduced) = reduction.results();
    let (outputs, program) = (outputs.len(), &reduction.program);
    let dtypes: SmallVec<[DType; 2]> = reduced.iter().map(|&result| program.dtype(result)).collect();
    let between: Vec<BufferId> =
        dtypes.iter().map(|dtype| graph.new_scratch(partial.shape.numel() * dtype.bytes())).collect();
    let (mut first_reads, mut reads, mut epilogue) = (Vec::new(), between.clone(), reduction.epilogue.take());
    epilogue.iter_mut().for_each(|epilogue| epilogue.rebind(&node.reads, &mut reads));
    reduction.program.rebind(&node.reads, &mut first_reads);
    let program = Program::copies(partial, &dtypes);
    let second = ReductionKernel::new(reduction.reduce_ops.clone(), program, dims.iter().copied(), epilogue);
    let second = KernelNode::new(Kernel::Reduce(second), reads, node.writes.drain(outputs..), node.item);
    node.reads = first_reads;
    node.writes.extend(between);
    [second, node]
}
