//! Merges two kernels over the same iteration space if one reads the other's output at the same index, or if they share
//! an operand. An elementwise kernel merges with another elementwise kernel, or with a reduction, which then also
//! writes the elementwise results at each index of its space. Two reductions that share an operand merge partly if one
//! reduces only some of the other's dims: the merged kernel computes partial results of the other reduction, and a
//! second kernel reduces these. Dead stores are removed afterwards.
//!
//! In: kernels whose programs have the dims of their items. Out: fewer kernels of the same form.

use std::cmp::Reverse;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::pending::PendingGraph;
use super::regions::MAX_REGION_ITEMS;
use super::split_reductions::stages;
use crate::core::limits::Limits;
use crate::core::shape::Shape;
use crate::graph::View;
use crate::ir::vectorize::{MIN_VECTORIZED_SPACE, vec4_dim};
use crate::ir::{
    BufferId, Inst, Kernel, KernelGraph, KernelNode, Load, Output, Program, ReductionKernel, Reg,
};

/// Minimum number of elements per partial result. With fewer elements, writing the partial results costs too much
/// compared with reading the operands again.
const MIN_PARTIAL_SUM_LEN: usize = 32;

pub(super) fn merge(graph: &PendingGraph, mut kernels: KernelGraph, limits: &Limits) -> KernelGraph {
    let mut set = KernelSet::new(graph, std::mem::take(&mut kernels.kernels), limits);
    // Merges each kernel with the kernel that shares the most loads with it, until no pair can be merged.
    for at in 0..set.kernels.len() {
        while let Some((other, merged)) = set.partner(at) {
            set.replace(other, None);
            set.replace(at, Some(merged));
        }
    }
    for i in 0..set.kernels.len() {
        if let Some((j, rest, merged)) = set.partial_results_of(i, &mut kernels) {
            set.replace(i, Some(rest));
            set.replace(j, Some(merged));
        }
    }
    kernels.kernels = set.kernels.into_iter().flatten().collect();
    remove_dead_stores(graph, &mut kernels);
    kernels
}

/// Removes elementwise outputs that no kernel reads from memory and that are not outputs of the run.
fn remove_dead_stores(graph: &PendingGraph, kernels: &mut KernelGraph) {
    let read = kernels.kernels.iter().flat_map(|node| node.reads.iter().copied());
    let aliased = kernels.aliases.values().flatten().map(|(source, _)| BufferId::Item(*source));
    let needed: FxHashSet<BufferId> = read.chain(aliased).collect();
    for KernelNode { kernel, writes, .. } in &mut kernels.kernels {
        let outputs = kernel.elementwise_outputs().map_or(0, |(_, outputs)| outputs);
        for n in (0..outputs).rev() {
            let BufferId::Item(Output { item, .. }) = writes[n] else { continue };
            if needed.contains(&writes[n]) || graph.items[item].is_output {
                continue;
            }
            if let Kernel::Elementwise(program) | Kernel::Reduce(ReductionKernel { program, .. }) = kernel {
                program.results.remove(n);
            }
            writes.remove(n);
        }
        if let Kernel::Reduce(reduction) = kernel {
            let outputs = reduction.results().0.len();
            reduction.program.layout.take_if(|_| outputs == 0);
        }
    }
}

/// The kernels during merging. A kernel that was merged into another is `None`.
struct KernelSet<'a> {
    graph: &'a PendingGraph,
    kernels: Vec<Option<KernelNode>>,
    writer: FxHashMap<BufferId, usize>,
    /// The kernels over each iteration space, in ascending order. Only kernels over the same space are merged.
    by_space: FxHashMap<Shape, Vec<usize>>,
    limits: &'a Limits,
}

impl<'a> KernelSet<'a> {
    fn new(graph: &'a PendingGraph, kernels: Vec<KernelNode>, limits: &'a Limits) -> Self {
        let mut by_space: FxHashMap<Shape, Vec<usize>> = FxHashMap::default();
        for (i, node) in kernels.iter().enumerate() {
            if let Some((program, _)) = node.kernel.elementwise_outputs() {
                by_space.entry(program.space.clone()).or_default().push(i);
            }
        }
        let kernels: Vec<Option<KernelNode>> = kernels.into_iter().map(Some).collect();
        let mut set = KernelSet { graph, kernels, writer: FxHashMap::default(), by_space, limits };
        // If several dispatches write a buffer, `writer` refers to the last dispatch, which is listed first.
        (0..set.kernels.len()).rev().for_each(|i| set.note_writes(i));
        set
    }

    /// Replaces a kernel by another kernel, or by `None`, and updates `by_space` and `writer`.
    fn replace(&mut self, i: usize, node: Option<KernelNode>) {
        let space = |node: &Option<KernelNode>| {
            node.as_ref().and_then(|node| Some(node.kernel.elementwise_outputs()?.0.space.clone()))
        };
        let (old, new) = (space(&self.kernels[i]), space(&node));
        if old != new {
            old.and_then(|old| self.by_space.get_mut(&old))
                .into_iter()
                .for_each(|list| list.retain(|&j| j != i));
            if let Some(new) = new {
                let list = self.by_space.entry(new).or_default();
                list.insert(list.partition_point(|&j| j < i), i);
            }
        }
        self.kernels[i] = node;
        self.note_writes(i);
    }

    fn note_writes(&mut self, i: usize) {
        let writes = self.kernels[i].iter().flat_map(|node| &node.writes);
        self.writer.extend(writes.map(|&buffer| (buffer, i)));
    }

    /// Returns a kernel that kernel `i` can be merged with, and the merged kernel.
    fn partner(&self, i: usize) -> Option<(usize, KernelNode)> {
        let node = self.kernels[i].as_ref()?;
        let elementwise = |node: &KernelNode| matches!(node.kernel, Kernel::Elementwise(_));
        let fits = |other: &KernelNode| elementwise(node) || elementwise(other);
        self.sharing(i, fits)
            .into_iter()
            .find_map(|(j, other)| Some((j, self.merged((i, node), (j, other))?)))
    }

    /// Returns the kernels for which `fits` is true and that share loads with kernel `i`, in descending order of the
    /// number of shared loads.
    fn sharing(&self, i: usize, fits: impl Fn(&KernelNode) -> bool) -> Vec<(usize, &KernelNode)> {
        let Some(node) = &self.kernels[i] else { return Vec::new() };
        let Some((program, _)) = node.kernel.elementwise_outputs() else { return Vec::new() };
        let others = self.by_space.get(&program.space).into_iter().flatten().filter(|&&j| j != i);
        let others = others.filter_map(|&j| Some((j, self.kernels[j].as_ref()?)));
        let shares = others.map(|(j, other)| (shared_elements(node, other), j, other));
        let mut shares: Vec<_> = shares.filter(|(shared, _, other)| *shared > 0 && fits(other)).collect();
        shares.sort_by_key(|&(shared, ..)| Reverse(shared));
        shares.into_iter().map(|(_, j, other)| (j, other)).collect()
    }

    /// If kernel `i` is a reduction: finds a reduction `j` of the same operands over fewer of these dims. Returns `j`, a kernel that
    /// reduces the partial results of `i`, and `j` merged with the computation of these partial results.
    fn partial_results_of(
        &self,
        i: usize,
        graph: &mut KernelGraph,
    ) -> Option<(usize, KernelNode, KernelNode)> {
        let node = self.kernels[i].as_ref()?;
        let Kernel::Reduce(ReductionKernel { dims, program: Program { space, .. }, .. }) = &node.kernel
        else {
            return None;
        };
        let fits = |other: &KernelNode| match &other.kernel {
            Kernel::Reduce(ReductionKernel { dims: fewer, .. }) => {
                let length: usize = fewer.iter().map(|&dim| space[dim]).product();
                fewer.len() < dims.len()
                    && fewer.iter().all(|dim| dims.contains(dim))
                    && length >= MIN_PARTIAL_SUM_LEN
            }
            _ => false,
        };
        if space.numel() < MIN_VECTORIZED_SPACE {
            return None;
        }
        self.sharing(i, fits).into_iter().find_map(|(j, other)| {
            let Kernel::Reduce(ReductionKernel { dims: fewer, .. }) = &other.kernel else { return None };
            let kept: Vec<usize> = (0..space.rank()).filter(|dim| !fewer.contains(dim)).collect();
            let partial = View::contiguous(&kept.iter().map(|&dim| space[dim]).collect());
            let left: Vec<usize> = (0..kept.len()).filter(|&n| dims.contains(&kept[n])).collect();
            let known = graph.scratch.len();
            let [rest, mut first] = stages(node.clone(), partial, &left, graph);
            if let Kernel::Reduce(reduction) = &mut first.kernel {
                (reduction.dims, first.item) = (fewer.clone(), other.item);
            }
            // If the other kernel reads the final result, merging would create a cycle.
            let waits = other.reads_from(&rest);
            let merged = if waits { None } else { self.merged((i, &first), (j, other)) };
            if merged.is_none() {
                graph.scratch.truncate(known);
            }
            Some((j, rest, merged?))
        })
    }

    /// Merges two kernels. Returns `None` if one reads results of the other at other indices, or depends on the other
    /// through a third kernel.
    fn merged(&self, (i, a): (usize, &KernelNode), (j, b): (usize, &KernelNode)) -> Option<KernelNode> {
        let (first, second) = if a.reads_from(b) { (b, a) } else { (a, b) };
        // Recomputed nodes do not merge with kernels of the forward pass only because they share an operand: they would
        // run too early, and their values would have to stay in memory.
        let recomputation = |node: &KernelNode| self.graph.items[node.item].node.recomputation;
        let same_pass = recomputation(a) == recomputation(b) || second.reads_from(first);
        let fits = same_pass
            && reads_at_same_index(second, first)
            && !self.depends_on(i, j)
            && !self.depends_on(j, i);
        fits.then(|| merged(first, second, self.limits))?
    }

    /// Whether a kernel depends on another through a third kernel.
    fn depends_on(&self, later: usize, earlier: usize) -> bool {
        let mut seen = FxHashSet::default();
        let mut stack: Vec<usize> = self.sources(later).filter(|&i| i != earlier).collect();
        while let Some(i) = stack.pop() {
            if i == earlier {
                return true;
            }
            if seen.insert(i) {
                stack.extend(self.sources(i));
            }
        }
        false
    }

    /// Returns the kernels that must run before this one.
    fn sources(&self, i: usize) -> impl Iterator<Item = usize> {
        let node = self.kernels[i].as_ref().expect("a kernel whose results are read exists");
        // The dispatches of a fused operation run one after another; later dispatches are listed first.
        let before = self.kernels.get(i + 1).and_then(Option::as_ref).filter(|other| other.item == node.item);
        let read = node.reads.iter().filter_map(|buffer| self.writer.get(buffer).copied());
        read.chain(before.map(|_| i + 1)).filter(move |&j| j != i)
    }
}

/// Whether a kernel reads another kernel's results only at the index at which they are written.
fn reads_at_same_index(node: &KernelNode, other: &KernelNode) -> bool {
    let (Some((program, _)), Some((_, outputs))) =
        (node.kernel.elementwise_outputs(), other.kernel.elementwise_outputs())
    else {
        return false;
    };
    let written = |read: usize| other.writes.contains(&node.reads[read]);
    let at_same_index =
        |load: &Load| other.writes[..outputs].contains(&node.reads[load.read]) && load.view.is_contiguous();
    let gathers =
        |inst: &Inst| matches!(inst, Inst::Gather { load, .. } if written(program.loads[*load].read));
    let epilogue = node.kernel.epilogue();
    program.loads.iter().filter(|load| written(load.read)).all(at_same_index)
        && !program.code.iter().any(gathers)
        && !epilogue.is_some_and(|epilogue| epilogue.loads.iter().any(|load| written(load.read)))
}

/// Returns the number of loads per index that two kernels share: both read the element, or one writes it and the other
/// reads it.
fn shared_elements(node: &KernelNode, other: &KernelNode) -> usize {
    let (Some((ours, _)), Some((theirs, _))) =
        (node.kernel.elementwise_outputs(), other.kernel.elementwise_outputs())
    else {
        return 0;
    };
    if ours.space != theirs.space || ours.is_constant() || theirs.is_constant() {
        return 0;
    }
    let written = |reader: &KernelNode, load: &Load, writer: &KernelNode| {
        writer.writes.contains(&reader.reads[load.read])
    };
    let in_common = |load: &&Load| {
        let read = |other_load: &Load| {
            other.reads[other_load.read] == node.reads[load.read] && other_load.view == load.view
        };
        written(node, load, other) || theirs.loads.iter().any(read)
    };
    ours.loads.iter().filter(in_common).count()
        + theirs.loads.iter().filter(|load| written(other, load, node)).count()
}

/// Appends the second kernel's program to the first. If both kernels are reductions, they reduce the same dims. Returns
/// `None` if the merged kernel would exceed a limit of the adapter or of the shader compiler, or would be slower.
fn merged(first: &KernelNode, second: &KernelNode, limits: &Limits) -> Option<KernelNode> {
    let (one, one_outputs) = first.kernel.elementwise_outputs()?;
    let (other, other_outputs) = second.kernel.elementwise_outputs()?;
    let (mut program, mut reads) = (one.clone(), first.reads.clone());
    let available = |buffer: BufferId| {
        let output = first.writes[..one_outputs].iter().position(|&written| written == buffer)?;
        Some(one.results[output])
    };
    let registers = program.append(other, &mut reads, &second.reads, available);
    let others: SmallVec<[Reg; 2]> = other.results.iter().map(|&result| registers[result]).collect();
    // A reduction comes before an elementwise kernel, and a reduction with an epilogue before one without.
    let mut parts = [(first, one_outputs, &one.results[..]), (second, other_outputs, &others[..])];
    parts.sort_by_key(|(node, ..)| {
        (!matches!(node.kernel, Kernel::Reduce(_)), node.kernel.epilogue().is_none())
    });
    let mut results: SmallVec<[Reg; 2]> = SmallVec::new();
    let mut writes: SmallVec<[BufferId; 2]> = SmallVec::new();
    for (node, outputs, registers) in parts {
        results.extend_from_slice(&registers[..outputs]);
        writes.extend_from_slice(&node.writes[..outputs]);
    }
    let elementwise_outputs = results.len();
    let mut whole: Option<ReductionKernel> = None;
    for (node, outputs, registers) in parts {
        let Kernel::Reduce(part) = &node.kernel else { continue };
        results.extend_from_slice(&registers[outputs..]);
        writes.extend_from_slice(&node.writes[outputs..]);
        match &mut whole {
            None => {
                let whole = whole.insert(part.clone());
                whole.epilogue.iter_mut().for_each(|epilogue| epilogue.rebind(&node.reads, &mut reads));
            }
            Some(whole) => {
                for (n, &result) in (whole.reduce_ops.len()..).zip(&registers[outputs..]) {
                    let dtype = program.dtype(result);
                    whole.epilogue.iter_mut().for_each(|epilogue| epilogue.store_accumulator(n, dtype));
                }
                whole.reduce_ops.extend_from_slice(&part.reduce_ops);
            }
        }
    }
    program.results = results;
    let code = program.code.len();
    let mut buffers = reads.len() + writes.len() + 1; // 1 for the fault flag buffer
    let kernel = match whole {
        None => Kernel::Elementwise(program),
        Some(mut reduction) => {
            program.layout = (elementwise_outputs > 0).then(|| Box::new(View::contiguous(&program.space)));
            reduction.program = program;
            // If the reduction is split, the second stage reads one buffer per accumulator.
            let accumulators = reduction.reduce_ops.len();
            buffers = buffers.max(accumulators + writes.len() - elementwise_outputs + 1);
            buffers += if reduction.epilogue.is_some() { accumulators } else { 0 };
            Kernel::Reduce(reduction)
        }
    };
    let fits = buffers <= limits.storage_buffers as usize && code <= MAX_REGION_ITEMS;
    let fast = fits && is_as_fast(&kernel, [&first.kernel, &second.kernel], one.space.numel());
    fast.then(|| KernelNode::new(kernel, reads, writes, parts[0].0.item))
}

/// Whether the merged kernel is vectorized if one of the two kernels is (over a large iteration space), and reduces
/// contiguous rows if and only if their reductions do.
fn is_as_fast(kernel: &Kernel, parts: [&Kernel; 2], indices: usize) -> bool {
    let collapsed = |kernel: &Kernel| {
        let mut kernel = kernel.clone();
        kernel.collapse();
        kernel
    };
    let over_rows = |kernel: &Kernel| match kernel {
        Kernel::Reduce(reduction) => Some(reduction.program.rows_are_contiguous(reduction.inner())),
        _ => None,
    };
    let (kernel, parts) = (collapsed(kernel), parts.map(collapsed));
    let slower = indices >= MIN_VECTORIZED_SPACE
        && vec4_dim(&kernel).is_none()
        && parts.iter().any(|part| vec4_dim(part).is_some());
    !slower && parts.iter().filter_map(over_rows).all(|rows| over_rows(&kernel) == Some(rows))
}
