//! A device that computes nothing: it runs plans by counting their kernels and bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Counters, Memory};
use crate::core::limits::Limits;
use crate::ir::{Plan, Slot};

pub(crate) struct Null {
    pub limits: Limits,
    bytes: Arc<Bytes>,
    kernels: AtomicUsize,
}

#[derive(Default)]
struct Bytes {
    live: AtomicUsize,
    peak: AtomicUsize,
}

/// Memory that is only a number.
#[derive(Default)]
pub(crate) struct NullBuffer {
    bytes: usize,
    all: Arc<Bytes>,
}

impl Null {
    pub fn new(limits: Limits) -> Null {
        Null { limits, bytes: Arc::default(), kernels: AtomicUsize::new(0) }
    }

    pub fn allocate(&self, bytes: usize) -> NullBuffer {
        let live = self.bytes.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes.peak.fetch_max(live, Ordering::Relaxed);
        NullBuffer { bytes, all: self.bytes.clone() }
    }

    /// A buffer for each fresh slot of the plan; its kernels are counted.
    pub fn run(&self, plan: &Plan) -> Vec<NullBuffer> {
        self.kernels.fetch_add(plan.dispatches().count(), Ordering::Relaxed);
        let fresh = plan.slots.iter().filter_map(|slot| match slot {
            Slot::Fresh { bytes } => Some(self.allocate(*bytes)),
            Slot::Input(_) | Slot::Constant(_) => None,
        });
        fresh.collect()
    }

    /// It has no pool.
    pub fn memory(&self, predicted: u64) -> Memory {
        let [in_use, peak] =
            [&self.bytes.live, &self.bytes.peak].map(|bytes| bytes.load(Ordering::Relaxed) as u64);
        Memory { predicted, peak, in_use, ..Memory::default() }
    }

    pub fn counters(&self, planned: Counters) -> Counters {
        Counters {
            kernels: self.kernels.load(Ordering::Relaxed),
            bytes_live: self.bytes.live.load(Ordering::Relaxed) as u64,
            bytes_peak: self.bytes.peak.load(Ordering::Relaxed) as u64,
            ..planned
        }
    }
}

impl NullBuffer {
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for NullBuffer {
    fn drop(&mut self) {
        self.all.live.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
