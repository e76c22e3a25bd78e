//! A plan: kernels in order, and the slot of memory that each of their buffers is.

use smallvec::SmallVec;

use super::{Kernel, Output};
use crate::graph::View;

/// What a run does. No buffers, no device, no user's numbers: it is cached and runs for every graph of the same key.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    pub slots: Vec<PlanSlot>,
    /// The items that have values afterwards.
    pub results: Vec<Placement>,
    /// Items that a user holds and that get no value: whoever reads one computes it.
    pub deferred: Vec<usize>,
    /// Kernels without operands: they run once, when the plan is made, and their slots are kept with it.
    pub constants: Option<Box<Plan>>,
}

/// One kernel.
#[derive(Debug)]
pub(crate) struct Step {
    pub kernel: Kernel,
    /// Slots that the kernel reads, as the kernel's loads number them.
    pub reads: SmallVec<[usize; 8]>,
    /// Slots that it writes.
    pub writes: SmallVec<[usize; 2]>,
    /// The item of each slot that it writes.
    pub items: SmallVec<[usize; 2]>,
    /// The item that labels the kernel in logs and errors.
    pub item: usize,
    /// Whether it shares the dispatch of the step before it.
    pub shares_dispatch: bool,
}

/// One buffer of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlanSlot {
    /// The storage of a value that exists already.
    Input(Output),
    /// Taken from the pool.
    Fresh { bytes: usize },
    /// A slot of the plan's constants.
    Constant(usize),
}

/// Where the outputs of an item lie: the slot of each, and the view of it.
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

    /// Bytes of all slots that a run takes from the pool.
    pub fn fresh_bytes(&self) -> u64 {
        let bytes = |slot: &PlanSlot| if let PlanSlot::Fresh { bytes } = slot { *bytes as u64 } else { 0 };
        self.slots.iter().map(bytes).sum()
    }

    /// Bytes that are kept with the plan.
    pub fn constant_bytes(&self) -> u64 {
        self.constants.as_ref().map_or(0, |plan| plan.fresh_bytes())
    }
}
