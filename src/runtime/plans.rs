//! The cache of a device's plans, indexed by the keys of their graphs. The least recently used plan is evicted first.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::backend::CompiledPlan;
use crate::graph::Storage;
use crate::ir::Plan;
use crate::schedule::PlanKey;

/// Maximum number of cached plans: enough for the graphs of a program with several batch sizes.
const MAX_PLANS: usize = 256;

/// A compiled plan.
pub(super) struct Planned {
    pub plan: Plan,
    pub compiled: Box<CompiledPlan>,
    /// The storage of each of the plan's constants.
    pub constants: Vec<Arc<dyn Storage>>,
    /// Total size of the plan's operands and fresh slots in bytes.
    pub predicted_bytes: u64,
}

#[derive(Default)]
pub(super) struct Plans {
    /// Each plan with the value of `now` at its last use.
    plans: FxHashMap<PlanKey, (u64, Arc<Planned>)>,
    /// The number of lookups so far.
    now: u64,
    constant_bytes: u64,
}

impl Plans {
    pub fn get(&mut self, key: &PlanKey) -> Option<Arc<Planned>> {
        self.now += 1;
        let (last_use, planned) = self.plans.get_mut(key)?;
        *last_use = self.now;
        Some(planned.clone())
    }

    pub fn insert(&mut self, key: PlanKey, planned: Planned) -> Arc<Planned> {
        if self.plans.len() == MAX_PLANS {
            let oldest = self.plans.iter().min_by_key(|(_, (last_use, _))| *last_use);
            let oldest = oldest.map(|(key, _)| key.clone()).expect("the cache is full");
            let (_, removed) = self.plans.remove(&oldest).expect("the key was found above");
            self.constant_bytes -= removed.plan.constant_bytes();
        }
        self.constant_bytes += planned.plan.constant_bytes();
        let planned = Arc::new(planned);
        self.plans.insert(key, (self.now, planned.clone()));
        planned
    }

    /// Returns the size of the constants of all plans in bytes.
    pub fn constant_bytes(&self) -> u64 {
        self.constant_bytes
    }
}
