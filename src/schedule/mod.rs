//! From nodes to a plan: collect the cone, look the plan up by its key or make it, run it, hand the values out.
//!
//! In: roots. Out: values on nodes. A plan is plain data (`plan`); who runs it is the backend's matter, and nothing
//! here knows wgpu or loops over elements.

mod absorb;
mod check;
mod cone;
mod counters;
mod emit;
mod fours;
mod fuse;
mod key;
mod log;
mod memory;
mod null;
pub(crate) mod plan;
mod split;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

pub(crate) use cone::{Cone, Source};
pub use counters::{Counters, Memory};
pub(crate) use null::{Null, NullBuffer};

use self::check::{Check, Tally};
use self::key::Key;
use self::plan::{Plan, Slot};
use crate::clock::thread_time;
use crate::cpu;
use crate::device::{Backend, Data, Device, Storage};
use crate::error::Error;
use crate::gpu::{self, Gpu};
use crate::graph::{Node, Op, Value};
use crate::limits::Limits;
use crate::shape::Spec;

/// Plans that are kept; the one used longest ago goes first.
const MAX_PLANS: usize = 256;

/// A device's plans.
pub(crate) struct Scheduler {
    fuse: bool,
    check: Option<Arc<Tally>>,
    plans: FxHashMap<Key, Arc<Planned>>,
    /// Keys by age, oldest first.
    ages: VecDeque<Key>,
    pub counters: Counters,
    /// The most bytes that a run so far was said to hold, the constants of all plans among them.
    pub predicted: u64,
    /// Bytes of those constants.
    kept: u64,
}

/// A plan, and what the GPU made of it.
struct Planned {
    plan: Plan,
    compiled: Option<gpu::Compiled>,
    /// The storage of each of the plan's constants.
    constants: Vec<Arc<Storage>>,
    /// Bytes of its operands and its new slots.
    peak: u64,
}

impl Scheduler {
    /// With `fuse` off each node is a kernel; with `check` on each kernel is followed by the reference.
    pub fn new(fuse: bool, check: bool) -> Scheduler {
        Scheduler {
            fuse,
            check: check.then(Arc::default),
            plans: FxHashMap::default(),
            ages: VecDeque::new(),
            counters: Counters::default(),
            predicted: 0,
            kept: 0,
        }
    }

    pub fn forget_plans(&mut self) {
        self.plans.clear();
        self.ages.clear();
        self.kept = 0;
    }

    /// Gives the roots, and every pending node that a user holds on the way to them, their values.
    pub fn realize(&mut self, device: &Device, roots: Vec<Arc<Node>>) -> Result<(), Error> {
        let start = thread_time();
        let realized = self.run(device, roots);
        self.counters.host += thread_time() - start;
        if let Some(tally) = &self.check {
            self.counters.checked = tally.compared.load(Ordering::Relaxed);
            self.counters.passed_over = tally.passed_over.load(Ordering::Relaxed);
        }
        realized
    }

    fn run(&mut self, device: &Device, roots: Vec<Arc<Node>>) -> Result<(), Error> {
        let cone =
            Cone::collect(roots, |node| device.limits().is_some_and(|limits| has_kernel(node, limits)));
        if !cone.items.iter().any(|item| item.is_pending()) {
            return Ok(());
        }
        self.counters.runs += 1;
        match device.backend() {
            Backend::Cpu(rounding) => cpu::run(&cone, *rounding),
            Backend::Gpu(gpu) => {
                let check = self.check.clone();
                let planned = self.plan(&cone, gpu.limits(), |plan| {
                    let constants = match &plan.constants {
                        Some(plan) => run_gpu(
                            gpu,
                            plan,
                            &gpu::compile(gpu, plan, &cone)?,
                            &cone,
                            &[],
                            check.as_deref(),
                        )?,
                        None => Vec::new(),
                    };
                    Ok((Some(gpu::compile(gpu, plan, &cone)?), constants))
                })?;
                let compiled = planned.compiled.as_ref().expect("compiled when it was planned");
                let buffers =
                    run_gpu(gpu, &planned.plan, compiled, &cone, &planned.constants, check.as_deref())?;
                complete(&cone, &planned.plan, &buffers);
                Ok(())
            }
            Backend::Null(null) => {
                let planned = self.plan(&cone, &null.limits, |plan| {
                    let constants = plan.constants.as_ref();
                    Ok((None, constants.map_or(Ok(Vec::new()), |plan| run_null(null, plan, &cone, &[]))?))
                })?;
                let buffers = run_null(null, &planned.plan, &cone, &planned.constants)?;
                complete(&cone, &planned.plan, &buffers);
                Ok(())
            }
        }
    }

    /// The cone's plan, made only if no cone of the same key was planned before.
    fn plan(
        &mut self,
        cone: &Cone,
        limits: &Limits,
        prepare: impl FnOnce(&Plan) -> Result<(Option<gpu::Compiled>, Vec<Arc<Storage>>), Error>,
    ) -> Result<Arc<Planned>, Error> {
        let donatable = cone.donatable();
        let key = key::key(cone, &donatable);
        if let Some(planned) = self.plans.get(&key) {
            self.predicted = self.predicted.max(planned.peak + self.kept);
            return Ok(planned.clone());
        }
        let plan = memory::plan(cone, fuse::fuse(cone, limits, self.fuse), &donatable, limits);
        let peak = peak(&plan, cone);
        if logs("plan") {
            let text = log::plan(&plan, cone, limits);
            eprintln!("wgrad: a plan\n{text}  {plan}; {peak} bytes at the most");
        }
        let (compiled, constants) = prepare(&plan)?;
        let planned = Arc::new(Planned { plan, compiled, constants, peak });
        self.counters.plans += 1;
        if self.ages.len() == MAX_PLANS
            && let Some(oldest) = self.ages.pop_front()
        {
            self.kept -= self.plans.remove(&oldest).map_or(0, |planned| planned.plan.constant_bytes());
        }
        self.kept += planned.plan.constant_bytes();
        self.predicted = self.predicted.max(peak + self.kept);
        self.ages.push_back(key.clone());
        self.plans.insert(key, planned.clone());
        Ok(planned)
    }
}

/// Whether the variable `WGRAD_LOG` names a topic: `plan` prints each plan when it is made, `wgsl` each kernel's text,
/// `kernel` a line for each kernel that has run.
pub(crate) fn logs(topic: &str) -> bool {
    static TOPICS: LazyLock<String> = LazyLock::new(|| std::env::var("WGRAD_LOG").unwrap_or_default());
    TOPICS.split(',').any(|other| other == topic)
}

/// Whether a fused operation has a kernel for these shapes on this device.
fn has_kernel(node: &Node, limits: &Limits) -> bool {
    let Op::Fused(op) = &node.op else { return false };
    let inputs = node.sources();
    let specs = inputs.iter().map(|edge| edge.node.outs[edge.out as usize].clone());
    let specs: SmallVec<[Spec; 8]> = specs.chain(node.outs.iter().cloned()).collect();
    if specs.iter().any(|spec| spec.shape.numel() == 0) {
        return false;
    }
    let launches = op.launch(&specs, limits);
    launches.is_some_and(|launches| {
        launches.iter().all(|launch| launch.buffers.len() <= limits.storage_buffers as usize)
    })
}

impl Cone {
    /// Inputs whose storage nothing but this cone refers to.
    fn donatable(&self) -> Vec<bool> {
        let unshared = |values: &Arc<[Value]>| {
            // The node's own reference and the cone's.
            Arc::strong_count(values) == 2
                && values.iter().all(|value| Arc::strong_count(&value.storage) == 1)
        };
        self.items
            .iter()
            .map(|item| !item.wanted && !item.external && item.values.as_ref().is_some_and(unshared))
            .collect()
    }
}

/// The storage of each slot; `fresh` makes those that no value has yet.
fn slots(
    cone: &Cone,
    plan: &Plan,
    constants: &[Arc<Storage>],
    mut fresh: impl FnMut(usize) -> Result<Data, Error>,
) -> Result<Vec<Arc<Storage>>, Error> {
    plan.slots
        .iter()
        .map(|slot| match slot {
            Slot::Input(source) => {
                let values = cone.items[source.item].values.as_ref().expect("an input has its values");
                Ok(values[source.out as usize].storage.clone())
            }
            Slot::Fresh { bytes } => Ok(Arc::new(Storage::new(fresh(*bytes)?))),
            Slot::Constant(i) => Ok(constants[*i].clone()),
        })
        .collect()
}

fn run_null(
    null: &Null,
    plan: &Plan,
    cone: &Cone,
    constants: &[Arc<Storage>],
) -> Result<Vec<Arc<Storage>>, Error> {
    let mut fresh = null.run(plan).into_iter();
    slots(cone, plan, constants, |_| Ok(Data::Null(fresh.next().expect("a buffer for each fresh slot"))))
}

/// Bytes that a run of the plan holds at a time, beside its constants.
fn peak(plan: &Plan, cone: &Cone) -> u64 {
    let mut operands: FxHashMap<*const Storage, u64> = FxHashMap::default();
    for slot in &plan.slots {
        if let Slot::Input(source) = slot
            && let Some(values) = &cone.items[source.item].values
        {
            let storage = &values[source.out as usize].storage;
            operands.insert(Arc::as_ptr(storage), storage.bytes());
        }
    }
    operands.values().sum::<u64>() + plan.fresh_bytes()
}

/// Everything that can fail comes before the first dispatch, so a failed run changes no value.
fn run_gpu(
    gpu: &Gpu,
    plan: &Plan,
    compiled: &gpu::Compiled,
    cone: &Cone,
    constants: &[Arc<Storage>],
    check: Option<&Tally>,
) -> Result<Vec<Arc<Storage>>, Error> {
    let storages = slots(cone, plan, constants, |bytes| Ok(Data::Gpu(gpu.allocate(bytes as u64)?)))?;
    let buffers: Vec<&gpu::Buffer> = storages
        .iter()
        .map(|storage| storage.gpu().ok_or(Error::Driver("an upload failed".into())))
        .collect::<Result<_, _>>()?;
    let uniforms = compiled.uniforms(gpu, cone);
    if check.is_some() || logs("kernel") {
        run_apart(gpu, plan, compiled, cone, &buffers, &uniforms, check)?;
    } else {
        gpu.run(&compiled.dispatches, &buffers, &uniforms)?;
    }
    Ok(storages)
}

/// One kernel after the other, each waited for and looked at.
fn run_apart(
    gpu: &Gpu,
    plan: &Plan,
    compiled: &gpu::Compiled,
    cone: &Cone,
    buffers: &[&gpu::Buffer],
    uniforms: &[u32],
    check: Option<&Tally>,
) -> Result<(), Error> {
    let mut check = check.map(|tally| Check::new(gpu, plan, cone, buffers, tally));
    for (steps, dispatch) in plan.dispatches().zip(&compiled.dispatches) {
        check.as_mut().map_or(Ok(()), |check| check.before(steps))?;
        gpu.wait()?;
        let start = Instant::now();
        gpu.run(std::slice::from_ref(dispatch), buffers, uniforms)?;
        gpu.wait()?;
        if logs("kernel") {
            let bytes = dispatch.buffers.iter().map(|&slot| buffers[slot as usize].asked()).sum();
            eprintln!("wgrad: {}", log::kernels(steps, cone, dispatch.workgroups, bytes, start.elapsed()));
        }
        check.as_mut().map_or(Ok(()), |check| check.after(steps))?;
    }
    Ok(())
}

/// Hands the values out. Nodes that no backward pass needs forget their sources, and what nothing refers to dies.
fn complete(cone: &Cone, plan: &Plan, storages: &[Arc<Storage>]) {
    for placed in &plan.results {
        let value = |(slot, view): &(usize, crate::graph::View)| Value {
            storage: storages[*slot].clone(),
            view: view.clone(),
        };
        cone.items[placed.item].node.complete(placed.outs.iter().map(value).collect());
    }
}
