//! Plans: kernels in execution order, with a slot of memory for each buffer.

use smallvec::SmallVec;

use super::{Kernel, Output};
use crate::graph::View;

/// A plan. It has no buffers, device or user's scalars, so it is cached and runs for every graph with the same key.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    pub slots: Vec<PlanSlot>,
    /// The items that have values after the run.
    pub results: Vec<Placement>,
    /// Held items that get no value: they are computed when they are read.
    pub deferred: Vec<usize>,
    /// Kernels without operands. They run once, when the plan is created, and their slots are kept with it.
    pub constants: Option<Box<Plan>>,
}

/// A kernel and its slots.
#[derive(Debug)]
pub(crate) struct Step {
    pub kernel: Kernel,
    /// The slots that the kernel reads, in the order of its loads' numbers.
    pub reads: SmallVec<[usize; 8]>,
    /// The slots that it writes.
    pub writes: SmallVec<[usize; 2]>,
    /// The item of each slot that it writes.
    pub items: SmallVec<[usize; 2]>,
    /// The item that labels the kernel in logs and errors.
    pub item: usize,
    /// Whether it shares the dispatch of the previous step.
    pub shares_dispatch: bool,
}

/// The memory of one buffer of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlanSlot {
    /// The storage of an input's value.
    Input(Output),
    /// Allocated from the pool.
    Fresh { bytes: usize },
    /// A slot of the plan's constants.
    Constant(usize),
}

/// The memory of an item's outputs: the slot of each, and its view.
#[derive(Debug)]
pub(crate) struct Placement {
    pub item: usize,
    pub outs: SmallVec<[(usize, View); 1]>,
}

impl Plan {
    /// The steps of each dispatch.
    pub fn dispatches(&self) -> impl Iterator<Item = &[Step]> {
        self.steps.chunk_by(|_, next| next.shares_dispatch)
    }

    /// Bytes of all slots that a run allocates.
    pub fn fresh_bytes(&self) -> u64 {
        let bytes = |slot: &PlanSlot| if let PlanSlot::Fresh { bytes } = slot { *bytes as u64 } else { 0 };
        self.slots.iter().map(bytes).sum()
    }

    /// Bytes of the plan's constants.
    pub fn constant_bytes(&self) -> u64 {
        self.constants.as_ref().map_or(0, |plan| plan.fresh_bytes())
    }
}
