//! Assigns a memory slot to each buffer: a fresh slot, a slot whose last reader has run, or the slot of an operand that
//! the kernel overwrites (donation).
//!
//! In: kernels in execution order. Out: the plan. Outputs of the run get fresh or donated slots, temporaries share
//! slots. A kernel may overwrite an operand that no later kernel needs if it reads each of its elements only at the
//! index that it writes.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::pending::PendingGraph;
use crate::core::limits::Limits;
use crate::graph::View;
use crate::ir::{BufferId, Kernel, KernelGraph, KernelNode, Output, Placement, Plan, PlanSlot, Step};

/// Builds the plan. `pending` is the graph before the passes, `graph` is the simplified graph. The edges of `pending`
/// determine how long values live.
pub(super) fn memory(
    pending: &PendingGraph,
    graph: &PendingGraph,
    kernels: KernelGraph,
    donatable: &[bool],
    limits: &Limits,
) -> Plan {
    let written = kernels.written();
    let aliases = &kernels.aliases;
    let has_value = |item: usize| written.contains(&item) || aliases.contains_key(&item);
    let is_deferred = |i: usize| {
        let item = &graph.items[i];
        item.is_pending() && item.is_held && !item.is_output && !has_value(i)
    };
    // The sources of deferred items must not be overwritten (`alive`), but an item does not get a value only because it
    // is such a source (`keeps_value`).
    let alive = pending.alive(has_value);
    let keeps_value = pending.alive(|i| has_value(i) || is_deferred(i));
    let results = results(graph, &kernels, &written, &keeps_value);
    let deferred = (0..graph.items.len()).filter(|&i| is_deferred(i)).collect();
    let outputs = results.iter().flat_map(|result| &result.outs);
    let mut memory = MemoryPlanner {
        graph,
        scratch: &kernels.scratch,
        lasting: outputs.map(|(source, _)| BufferId::Item(*source)).collect(),
        constants: FxHashSet::default(),
        last_read: FxHashMap::default(),
        slot_of: FxHashMap::default(),
        idle: Vec::new(),
        bindings: limits.storage_buffers as usize,
        plan: Plan { deferred, ..Plan::default() },
    };
    let mut batches: Vec<Vec<KernelNode>> = Vec::new();
    for node in kernels.kernels {
        match batches.last_mut().filter(|_| node.shares_dispatch) {
            Some(batch) => batch.push(node),
            None => batches.push(vec![node]),
        }
    }
    for (i, batch) in batches.iter().enumerate() {
        memory.last_read.extend(batch.iter().flat_map(|node| &node.reads).map(|&buffer| (buffer, i)));
    }
    for (i, mut batch) in batches.into_iter().enumerate() {
        match batch.pop_if(|node| memory.is_constant(node)) {
            Some(node) => memory.constant(node),
            None => memory.batch(i, batch, |item| donatable[item] && !alive[item]),
        }
    }
    for Outliving { item, outs } in results {
        let outs =
            outs.into_iter().map(|(source, view)| (memory.slot(BufferId::Item(source)), view)).collect();
        memory.plan.results.push(Placement { item, outs });
    }
    memory.plan
}

/// An item that has values after the run, and for each of its outputs the output whose memory it uses and the view of
/// that memory.
struct Outliving {
    item: usize,
    outs: SmallVec<[(Output, View); 1]>,
}

fn results(
    graph: &PendingGraph,
    kernels: &KernelGraph,
    written: &FxHashSet<usize>,
    keeps_value: &[bool],
) -> Vec<Outliving> {
    let in_memory =
        |source: &Output| !graph.items[source.item].is_pending() || written.contains(&source.item);
    let pending = (0..graph.items.len()).filter(|&item| graph.items[item].is_pending() && keeps_value[item]);
    let outs = |item: usize| -> Option<SmallVec<[(Output, View); 1]>> {
        let it = &graph.items[item];
        let whole = |output: Output| (output, graph.layout(output));
        match kernels.aliases.get(&item) {
            Some(outs) => Some(outs.clone()),
            None if written.contains(&item) => {
                Some((0..it.node.outs.len() as u8).map(|out| whole(Output { item, out })).collect())
            }
            // The sources of this alias are in memory.
            None if it.is_alias && it.sources.iter().all(in_memory) => {
                Some(it.sources.iter().map(|&source| whole(source)).collect())
            }
            None => None,
        }
    };
    pending.filter_map(|item| Some(Outliving { item, outs: outs(item)? })).collect()
}

/// A slot that a result of the same size and element type may overwrite. The types must be equal because a kernel binds
/// each buffer once, as an array of one type.
struct Donor {
    slot: usize,
    fit: (usize, Option<&'static str>),
}

struct MemoryPlanner<'a> {
    graph: &'a PendingGraph,
    scratch: &'a [usize],
    /// The buffers that outputs of the run use.
    lasting: FxHashSet<BufferId>,
    constants: FxHashSet<BufferId>,
    /// The last batch that reads each buffer.
    last_read: FxHashMap<BufferId, usize>,
    slot_of: FxHashMap<BufferId, usize>,
    /// Slots whose last reader has run.
    idle: Vec<usize>,
    /// The maximum number of buffers that a dispatch can bind.
    bindings: usize,
    plan: Plan,
}

/// Maximum size of a constant that is kept with the plan. Larger constants are computed in each run.
const MAX_CONSTANT_BYTES: usize = 1 << 16;

/// Returns the item of each buffer that a kernel writes. For a scratch buffer it is the item that labels the kernel.
fn items(node: &KernelNode) -> SmallVec<[usize; 2]> {
    let item = |buffer: &BufferId| if let BufferId::Item(output) = buffer { output.item } else { node.item };
    node.writes.iter().map(item).collect()
}

impl MemoryPlanner<'_> {
    /// Whether a kernel computes the same small values in every run and none of them is an output of the run.
    fn is_constant(&self, node: &KernelNode) -> bool {
        let kept = |buffer| !self.lasting.contains(buffer) && self.bytes(*buffer) <= MAX_CONSTANT_BYTES;
        matches!(&node.kernel, Kernel::Elementwise(program) if program.is_constant())
            && node.writes.iter().all(kept)
    }

    /// Moves a kernel to the plan's constants.
    fn constant(&mut self, node: KernelNode) {
        let mut writes = SmallVec::new();
        for &buffer in &node.writes {
            let bytes = self.bytes(buffer);
            let constants = self.plan.constants.get_or_insert_default();
            writes.push(constants.slots.len());
            self.plan.slots.push(PlanSlot::Constant(constants.slots.len()));
            constants.slots.push(PlanSlot::Fresh { bytes });
            self.slot_of.insert(buffer, self.plan.slots.len() - 1);
            self.constants.insert(buffer);
        }
        let (items, item) = (items(&node), node.item);
        let reads = SmallVec::new();
        let step = Step { kernel: node.kernel, reads, writes, items, item, shares_dispatch: false };
        self.plan.constants.get_or_insert_default().steps.push(step);
    }

    /// Assigns slots to a batch of kernels that may share dispatches. Each dispatch gets as many kernels as it can bind
    /// buffers for. No kernel of a batch may overwrite a buffer that another kernel of the batch reads or writes.
    fn batch(&mut self, at: usize, batch: Vec<KernelNode>, donatable: impl Fn(usize) -> bool) {
        let readers: Vec<Vec<BufferId>> = batch.iter().map(|node| node.reads.clone()).collect();
        let readers = |buffer| readers.iter().filter(|reads| reads.contains(&buffer)).count();
        let mut idle = Vec::new();
        let mut bound = usize::MAX; // buffers bound by the current dispatch; the first kernel starts a new one
        for node in batch {
            let reads: SmallVec<[usize; 8]> = node.reads.iter().map(|&buffer| self.slot(buffer)).collect();
            let mut donors = self.donors(at, &node, |buffer| readers(buffer) == 1, &donatable);
            let writes: SmallVec<[usize; 2]> =
                node.writes.iter().map(|&buffer| self.allocate(buffer, &mut donors)).collect();
            // Frees temporaries without later readers, unless this kernel overwrites them.
            for (&buffer, &slot) in node.reads.iter().zip(&reads) {
                let stays = self.lasting.contains(&buffer) || self.constants.contains(&buffer);
                let temporary = self.is_pending(buffer) && !stays;
                if temporary
                    && self.last_read[&buffer] == at
                    && !node.writes.iter().zip(&writes).any(|(&other, &to)| to == slot && other != buffer)
                    && !idle.contains(&slot)
                {
                    idle.push(slot);
                }
            }
            let bindings = reads.iter().chain(&writes).collect::<FxHashSet<_>>().len();
            bound = bound.saturating_add(bindings);
            let shares_dispatch = bound <= self.bindings;
            if !shares_dispatch {
                bound = bindings;
            }
            let (items, item) = (items(&node), node.item);
            self.plan.steps.push(Step { kernel: node.kernel, reads, writes, items, item, shares_dispatch });
        }
        self.idle.extend(idle);
    }

    /// Returns the slots of the operands that a kernel may overwrite: the kernel is their last reader and reads them
    /// only at the index that it writes.
    fn donors(
        &self,
        at: usize,
        node: &KernelNode,
        is_own: impl Fn(BufferId) -> bool,
        donatable: impl Fn(usize) -> bool,
    ) -> Vec<Donor> {
        let mut donors = Vec::new();
        for (read, &buffer) in node.reads.iter().enumerate() {
            let ours = match buffer {
                BufferId::Item(source) if !self.is_pending(buffer) => {
                    donatable(source.item) && self.fills_storage(source)
                }
                _ => true,
            };
            // Excludes buffers that outputs of the run use, and constants.
            let free = ours && !self.lasting.contains(&buffer) && !self.constants.contains(&buffer);
            if free && self.last_read[&buffer] == at && is_own(buffer) && node.kernel.reads_same_index(read) {
                let fit = (self.bytes(buffer), self.element_type(buffer));
                donors.push(Donor { slot: self.slot_of[&buffer], fit });
            }
        }
        // Prefers inputs to fresh slots, so that parameters keep their buffers from step to step.
        donors.sort_by_key(|donor| matches!(self.plan.slots[donor.slot], PlanSlot::Fresh { .. }));
        donors
    }

    /// Returns the slot of a buffer that a kernel writes. Assigns a slot if the buffer has none.
    fn allocate(&mut self, buffer: BufferId, donors: &mut Vec<Donor>) -> usize {
        if let Some(&slot) = self.slot_of.get(&buffer) {
            return slot; // an earlier dispatch of the fused operation wrote to the buffer
        }
        let bytes = self.bytes(buffer);
        let lasting = self.lasting.contains(&buffer);
        let fit = (bytes, self.element_type(buffer));
        let slot = if let Some(i) = donors.iter().position(|donor| donor.fit == fit) {
            donors.remove(i).slot
        } else if let Some(i) = self.idle_of(bytes).filter(|_| !lasting) {
            self.idle.swap_remove(i)
        } else {
            self.plan.slots.push(PlanSlot::Fresh { bytes });
            self.plan.slots.len() - 1
        };
        self.slot_of.insert(buffer, slot);
        slot
    }

    /// Returns the position of the smallest idle slot that is large enough, but at most twice as large as needed.
    fn idle_of(&self, bytes: usize) -> Option<usize> {
        let size = |slot: usize| match self.plan.slots[slot] {
            PlanSlot::Fresh { bytes } => bytes,
            PlanSlot::Input(_) | PlanSlot::Constant(_) => 0,
        };
        let fits = |slot: usize| size(slot) >= bytes && size(slot) <= 2 * bytes.max(256);
        (0..self.idle.len()).filter(|&i| fits(self.idle[i])).min_by_key(|&i| size(self.idle[i]))
    }

    /// Returns the slot of an input, or of a buffer that was written. Buffers of size 0 get a slot here because no
    /// kernel writes them.
    fn slot(&mut self, buffer: BufferId) -> usize {
        if let Some(&slot) = self.slot_of.get(&buffer) {
            return slot;
        }
        let slot = match buffer {
            BufferId::Item(source) if !self.is_pending(buffer) => PlanSlot::Input(source),
            _ => PlanSlot::Fresh { bytes: self.bytes(buffer) },
        };
        self.plan.slots.push(slot);
        self.slot_of.insert(buffer, self.plan.slots.len() - 1);
        self.plan.slots.len() - 1
    }

    fn is_pending(&self, buffer: BufferId) -> bool {
        match buffer {
            BufferId::Item(source) => self.graph.items[source.item].is_pending(),
            BufferId::Scratch(_) => true,
        }
    }

    fn bytes(&self, buffer: BufferId) -> usize {
        match buffer {
            BufferId::Item(source) => self.graph.spec(source).bytes(),
            BufferId::Scratch(i) => self.scratch[i],
        }
    }

    /// Returns the element type of a buffer in a shader. It is `None` for scratch buffers, which are overwritten only
    /// by other scratch buffers.
    fn element_type(&self, buffer: BufferId) -> Option<&'static str> {
        match buffer {
            BufferId::Item(source) => Some(self.graph.spec(source).dtype.storage()),
            BufferId::Scratch(_) => None,
        }
    }

    /// Whether the value of an input is contiguous and starts at offset 0 of its storage.
    fn fills_storage(&self, source: Output) -> bool {
        self.graph.items[source.item]
            .values
            .as_ref()
            .is_some_and(|values| values[source.out as usize].view.is_contiguous())
    }
}
