//! The order of the kernels: each after those that write what it reads. What nothing waits for, an update of a parameter,
//! runs right behind the last kernel that writes its operands, or that reads what it overwrites, so that their memory is
//! free again. Small kernels of one kind that do not wait for
//! one another are batched: they may share a dispatch.
//!
//! In: kernels, consumers before producers. Out: the same kernels in the order in which they run.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::vectorize::reduction_vec4_dim;
use crate::ir::{BufferId, Kernel, KernelGraph, KernelNode, Program, ReductionKernel};

/// Indices of a small kernel: its operands may well stay in memory until others of its kind can run too.
const MAX_BATCHED_SPACE: usize = 1 << 18;

/// Kernels in one dispatch: each adds its text to the shader.
const MAX_BATCH: usize = 16;

/// Without `batch` every kernel has a dispatch of its own.
pub(super) fn order(mut graph: KernelGraph, batch: bool) -> KernelGraph {
    graph.kernels.reverse();
    let waits = Waits::new(&graph.kernels);
    let alone: Vec<Vec<usize>> = (0..graph.kernels.len()).map(|i| vec![i]).collect();
    let mut order: Vec<usize> = waits.sorted(&alone).concat();
    let depths = waits.depths_from_end(&order);
    waits.advance_updates(&mut order, &depths, &graph.kernels);
    let groups = match batch {
        true => dispatch_groups(&graph.kernels, &order, &depths),
        false => order.iter().map(|&i| vec![i]).collect(),
    };
    let groups = waits.sorted(&groups);
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

/// The kernels that each kernel waits for.
struct Waits {
    sources: Vec<Vec<usize>>,
}

impl Waits {
    fn new(kernels: &[KernelNode]) -> Waits {
        let mut writer: FxHashMap<BufferId, usize> = FxHashMap::default();
        for (i, node) in kernels.iter().enumerate() {
            writer.extend(node.writes.iter().map(|&buffer| (buffer, i)));
        }
        let sources = kernels.iter().enumerate().map(|(i, node)| {
            let written = node.reads.iter().filter_map(|buffer| writer.get(buffer).copied());
            // The dispatches of an operation run one after another.
            let before = i.checked_sub(1).filter(|&j| kernels[j].item == node.item);
            written.chain(before).filter(|&j| j != i).collect()
        });
        Waits { sources: sources.collect() }
    }

    /// The groups, each after those that it waits for, and otherwise as they come.
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
            assert!(stack.len() <= most, "two kernels wait for one another");
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

    /// The length of the longest chain of kernels that wait for each. Kernels of one depth never wait for one another,
    /// whatever groups they form.
    fn depths_from_end(&self, order: &[usize]) -> Vec<usize> {
        let mut depths = vec![0; order.len()];
        for &i in order.iter().rev() {
            for &j in &self.sources[i] {
                depths[j] = depths[j].max(depths[i] + 1);
            }
        }
        depths
    }

    /// Moves what nothing waits for, and what runs just before it, to right behind the last kernel that it waits for or
    /// that reads an operand which it may overwrite.
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

/// The kernels in order; small ones of one kind and depth stand where the last of them did.
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

/// What kernels that share a dispatch have in common, so that their texts are alike; `None` for those that never share one.
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
            // Lanes exchange accumulators in workgroup memory, which kernels of one type share.
            let dtypes = program.results.iter().map(|&result| program.dtype(result)).collect::<Vec<_>>();
            let exchanged = (dtypes, reduction_vec4_dim(reduction).is_some());
            small.then(|| format!("{reduce_ops:?} {exchanged:?} {program} {lanes} {rows} {epilogue:?}"))
        }
        Kernel::MatMul(..) | Kernel::Fused(_) => None,
    }
}
