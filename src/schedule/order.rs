//! Orders the kernels so that each runs after the kernels that write its operands. An update of a parameter, which no
//! kernel depends on, runs as soon as its operands are written and the old value has no more readers, so that memory is
//! freed early. Small kernels of the same kind that do not depend on each other are batched: they may share a dispatch.
//!
//! In: kernels, consumers before producers. Out: the same kernels in execution order.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::vectorize::reduction_vec4_dim;
use crate::ir::{BufferId, Kernel, KernelGraph, KernelNode, Program, ReductionKernel};

/// Maximum size of the iteration space of a batched kernel. A batch keeps the operands of its kernels in memory for
/// longer, which is acceptable only if they are small.
const MAX_BATCHED_SPACE: usize = 1 << 18;

/// Maximum number of kernels per dispatch. It limits the length of the shader, which contains the code of every kernel.
const MAX_BATCH: usize = 16;

/// Orders and batches the kernels. Without `batch` every kernel has its own dispatch.
pub(super) fn order(mut graph: KernelGraph, batch: bool) -> KernelGraph {
    graph.kernels.reverse();
    let dependencies = Dependencies::new(&graph.kernels);
    let alone: Vec<Vec<usize>> = (0..graph.kernels.len()).map(|i| vec![i]).collect();
    let mut order: Vec<usize> = dependencies.sorted(&alone).concat();
    let depths = dependencies.depths_from_end(&order);
    dependencies.advance_updates(&mut order, &depths, &graph.kernels);
    let groups = match batch {
        true => dispatch_groups(&graph.kernels, &order, &depths),
        false => order.iter().map(|&i| vec![i]).collect(),
    };
    let groups = dependencies.sorted(&groups);
    let mut kernels: Vec<Option<KernelNode>> = graph.kernels.into_iter().map(Some).collect();
    let mut take = |i: usize| kernels[i].take().expect("each kernel is in one group");
    graph.kernels = Vec::with_capacity(groups.len());
    graph.is_ordered = true;
    for group in groups {
        let nodes =
            group.into_iter().enumerate().map(|(n, i)| KernelNode { shares_dispatch: n > 0, ..take(i) });
        graph.kernels.extend(nodes);
    }
    graph
}

/// The direct dependencies of each kernel.
struct Dependencies {
    sources: Vec<Vec<usize>>,
}

impl Dependencies {
    fn new(kernels: &[KernelNode]) -> Dependencies {
        let mut writer: FxHashMap<BufferId, usize> = FxHashMap::default();
        for (i, node) in kernels.iter().enumerate() {
            writer.extend(node.writes.iter().map(|&buffer| (buffer, i)));
        }
        let sources = kernels.iter().enumerate().map(|(i, node)| {
            let written = node.reads.iter().filter_map(|buffer| writer.get(buffer).copied());
            // The dispatches of a fused operation run one after another.
            let before = i.checked_sub(1).filter(|&j| kernels[j].item == node.item);
            written.chain(before).filter(|&j| j != i).collect()
        });
        Dependencies { sources: sources.collect() }
    }

    /// Sorts groups of kernels topologically, and keeps their order where dependencies allow it.
    fn sorted(&self, groups: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let mut group_of = vec![0; self.sources.len()];
        for (g, group) in groups.iter().enumerate() {
            group.iter().for_each(|&i| group_of[i] = g);
        }
        let mut sorted = Vec::new();
        let mut listed = vec![false; groups.len()];
        let mut stack: Vec<usize> = (0..groups.len()).rev().collect();
        let most = 2 * self.sources.len() + self.sources.iter().map(Vec::len).sum::<usize>();
        while let Some(&g) = stack.last() {
            assert!(stack.len() <= most, "kernels depend on each other in a cycle");
            let before = stack.len();
            if !listed[g] {
                let sources = groups[g].iter().flat_map(|&i| &self.sources[i]).map(|&j| group_of[j]);
                stack.extend(sources.filter(|&other| !listed[other] && other != g));
            }
            if stack.len() == before {
                stack.pop();
                if !std::mem::replace(&mut listed[g], true) {
                    sorted.push(groups[g].clone());
                }
            }
        }
        sorted
    }

    /// Returns for each kernel the length of the longest chain of kernels that depend on it. Kernels of equal depth do
    /// not depend on each other, not even after they are grouped into dispatches.
    fn depths_from_end(&self, order: &[usize]) -> Vec<usize> {
        let mut depths = vec![0; order.len()];
        for &i in order.iter().rev() {
            for &j in &self.sources[i] {
                depths[j] = depths[j].max(depths[i] + 1);
            }
        }
        depths
    }

    /// Moves kernels that no kernel depends on, and kernels that only those depend on, to an earlier position: directly
    /// after the last kernel that they depend on or that reads an operand that they may overwrite.
    fn advance_updates(&self, order: &mut [usize], depths: &[usize], kernels: &[KernelNode]) {
        let is_update = |i: usize| depths[i] < 2;
        let written: FxHashSet<BufferId> =
            kernels.iter().flat_map(|node| node.writes.iter().copied()).collect();
        let mut last_read: FxHashMap<BufferId, usize> = FxHashMap::default();
        for (at, &i) in order.iter().enumerate().filter(|(_, i)| !is_update(**i)) {
            last_read.extend(kernels[i].reads.iter().map(|&buffer| (buffer, at)));
        }
        let mut position = vec![0; order.len()];
        for (at, &i) in order.iter().enumerate() {
            let operands = kernels[i].reads.iter().filter(|buffer| !written.contains(buffer));
            let read = operands.filter_map(|buffer| last_read.get(buffer).copied());
            let ready = self.sources[i].iter().map(|&j| position[j]).chain(read).max();
            position[i] = if is_update(i) { ready.unwrap_or_default() } else { at };
        }
        order.sort_by_key(|&i| position[i]);
    }
}

/// Groups the kernels into dispatches. Small kernels of the same kind and depth form a group at the position of its
/// last kernel.
fn dispatch_groups(kernels: &[KernelNode], order: &[usize], depths: &[usize]) -> Vec<Vec<usize>> {
    let mut open: FxHashMap<(usize, String), usize> = FxHashMap::default();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for &i in order {
        let Some(kind) = batched_kind(&kernels[i].kernel) else {
            groups.push(vec![i]);
            continue;
        };
        let group = open.insert((depths[i], kind), groups.len());
        let mut group = group.map_or(Vec::new(), |at| match groups[at].len() {
            MAX_BATCH.. => Vec::new(),
            _ => std::mem::take(&mut groups[at]),
        });
        group.push(i);
        groups.push(group);
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// Returns a key that is equal for kernels that can share a dispatch, and `None` for a kernel that needs its own
/// dispatch.
fn batched_kind(kernel: &Kernel) -> Option<String> {
    let small = |program: &Program| program.space.numel() <= MAX_BATCHED_SPACE && !program.can_fault();
    match kernel {
        Kernel::Elementwise(program) => {
            (small(program) && !program.is_constant()).then(|| format!("{program}; {}", program.loads.len()))
        }
        Kernel::Reduce(reduction) => {
            let ReductionKernel { reduce_ops, program, lanes, epilogue, .. } = reduction;
            let small = small(program) && epilogue.as_ref().is_none_or(small);
            let rows = program.rows_are_contiguous(reduction.inner());
            let epilogue = epilogue.as_ref().map(|program| program.to_string());
            // The invocations of a reduction exchange accumulators in workgroup memory, which the kernels of a batch
            // share.
            let dtypes = program.results.iter().map(|&result| program.dtype(result)).collect::<Vec<_>>();
            let exchanged = (dtypes, reduction_vec4_dim(reduction).is_some());
            small.then(|| format!("{reduce_ops:?} {exchanged:?} {program} {lanes} {rows} {epilogue:?}"))
        }
        Kernel::MatMul(..) | Kernel::Fused(_) => None,
    }
}
