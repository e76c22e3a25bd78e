//! Plans: kernels in execution order, with a memory slot for each buffer.

use smallvec::SmallVec;

use super::{Kernel, Output};
use crate::graph::View;

/// A plan. It does not contain buffers, a device or the user's scalars, so it is cached and runs for every graph with
/// the same key.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    pub slots: Vec<PlanSlot>,
    /// The items that have values after the run.
    pub results: Vec<Placement>,
    /// Items that the user has a handle to but that get no value in the run. They are computed when the user reads
    /// them.
    pub deferred: Vec<usize>,
    /// The kernels without operands. They run only once for all runs of the plan, and their slots are kept with it.
    pub constants: Option<Box<Plan>>,
}

/// A kernel and the slots that it reads and writes.
#[derive(Debug)]
pub(crate) struct Step {
    pub kernel: Kernel,
    /// The slots that the kernel reads. `Load::read` is an index into this list.
    pub reads: SmallVec<[usize; 8]>,
    /// The slots that the kernel writes.
    pub writes: SmallVec<[usize; 2]>,
    /// The item of each slot that the kernel writes.
    pub items: SmallVec<[usize; 2]>,
    /// The item that labels the kernel in logs and errors.
    pub item: usize,
    /// Whether the step shares the dispatch of the previous step.
    pub shares_dispatch: bool,
}

/// The memory of one buffer of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlanSlot {
    /// The storage of an input's value.
    Input(Output),
    /// Memory allocated from the pool.
    Fresh { bytes: usize },
    /// A slot of the plan `constants`.
    Constant(usize),
}

/// The memory of an item's outputs: the slot and the view of each output.
#[derive(Debug)]
pub(crate) struct Placement {
    pub item: usize,
    pub outs: SmallVec<[(usize, View); 1]>,
}

impl Plan {
    /// Returns the steps of each dispatch.
    pub fn dispatches(&self) -> impl Iterator<Item = &[Step]> {
        self.steps.chunk_by(|_, next| next.shares_dispatch)
    }

    /// Returns the total size in bytes of all slots that a run allocates.
    pub fn fresh_bytes(&self) -> u64 {
        let bytes = |slot: &PlanSlot| if let PlanSlot::Fresh { bytes } = slot { *bytes as u64 } else { 0 };
        self.slots.iter().map(bytes).sum()
    }

    /// Returns the total size of the plan's constants in bytes.
    pub fn constant_bytes(&self) -> u64 {
        self.constants.as_ref().map_or(0, |plan| plan.fresh_bytes())
    }
}
