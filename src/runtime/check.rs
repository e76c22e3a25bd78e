//! `WGRAD_CHECK`: compares the results of each kernel with an interpreter's results for the same operands.
//!
//! In: the dispatches of a plan, one by one, and the GPU's buffers before and after each. Out: an error that names the
//! first incorrect element. The CPU interprets the kernel of the plan; for a fused operation, whose kernels are WGSL,
//! it interprets the decomposition into primitives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::backend::PlanExecutor;
use crate::core::array::Array;
use crate::core::dtype::DType;
use crate::core::error::Error;
use crate::core::limits::Limits;
use crate::core::shape::Spec;
use crate::cpu::bounded::Bounded;
use crate::cpu::{array, kernel};
use crate::graph::{Buffer, Device, Edge, Node, Op, Storage, View};
use crate::ir::{Kernel, Placement, Plan, PlanSlot, Program, Step};
use crate::schedule::{self, Fusion, PendingGraph};

/// Factor on the error bound for fused operations, because their kernels round differently from their decompositions.
const FUSED_ERROR_RATIO: f64 = 4.0;

/// The number of compared elements, and the number of these whose error bound is too loose to show an error (for
/// example, next to a discontinuity).
#[derive(Default)]
pub(super) struct Tally {
    pub compared: AtomicUsize,
    pub passed_over: AtomicUsize,
}

pub(super) struct Check<'a> {
    executor: &'a dyn PlanExecutor,
    plan: &'a Plan,
    graph: &'a PendingGraph,
    storages: &'a [Arc<dyn Storage>],
    tally: &'a Tally,
    /// The operands of each kernel of the current dispatch.
    operands: Vec<Vec<Vec<Bounded>>>,
    /// The inputs of fused operations that still have kernels to run: indexed by item, then by input.
    fused: FxHashMap<usize, FxHashMap<usize, Vec<u8>>>,
}

impl<'a> Check<'a> {
    pub fn new(
        executor: &'a dyn PlanExecutor,
        plan: &'a Plan,
        graph: &'a PendingGraph,
        storages: &'a [Arc<dyn Storage>],
        tally: &'a Tally,
    ) -> Self {
        Check { executor, plan, graph, storages, tally, operands: Vec::new(), fused: FxHashMap::default() }
    }

    /// Copies the operands of a dispatch before it runs, because its kernels may overwrite them.
    pub fn before(&mut self, steps: &[Step]) -> Result<(), Error> {
        self.operands.clear();
        steps.iter().try_for_each(|step| self.save_operands(step))
    }

    fn save_operands(&mut self, step: &Step) -> Result<(), Error> {
        let operands = self.peek(&step.reads)?;
        let Kernel::Fused(launch) = &step.kernel else {
            let decoded = operands
                .iter()
                .enumerate()
                .map(|(read, bytes)| decode(bytes, read_dtype(&step.kernel, read)));
            self.operands.push(decoded.collect());
            return Ok(());
        };
        let inputs = launch.buffers.iter().filter_map(|buffer| match buffer {
            Buffer::Input(i) => Some(*i),
            _ => None,
        });
        let known = self.fused.entry(step.item).or_default();
        for (input, bytes) in inputs.zip(operands) {
            known.entry(input).or_insert(bytes);
        }
        Ok(())
    }

    /// Compares the results of a dispatch with the interpreter's results.
    pub fn after(&mut self, steps: &[Step]) -> Result<(), Error> {
        if let [step] = steps
            && let Kernel::Fused(_) = step.kernel
        {
            let last = self.plan.steps.iter().rfind(|other| other.item == step.item);
            return if last.is_some_and(|last| std::ptr::eq(last, step)) {
                self.compare_fused(step)
            } else {
                Ok(())
            };
        }
        for (step, operands) in steps.iter().zip(&self.operands) {
            let operands: Vec<&[Bounded]> = operands.iter().map(Vec::as_slice).collect();
            let wanted = kernel::run(&step.kernel, &operands, self.graph);
            for ((n, wanted), got) in wanted.iter().enumerate().zip(self.peek(&step.writes)?) {
                let dtype = result_dtype(&step.kernel, n);
                self.compare(step.items[n], &step.kernel, &decode(&got, dtype), wanted, dtype)?;
            }
        }
        Ok(())
    }

    /// Compares a fused operation's results with the results of its decomposition, after all kernels of the operation
    /// have run.
    fn compare_fused(&mut self, last: &Step) -> Result<(), Error> {
        let node = &self.graph.items[last.item].node;
        let Op::Fused(op) = &node.op else { unreachable!("its kernels are those of a fused operation") };
        let known = self.fused.remove(&last.item).unwrap_or_default();
        let specs = self.graph.items[last.item].specs(self.graph);
        // The inputs are on a null device, so that the decomposition does not run anything.
        let device = Device::null(self.executor.limits().clone());
        let edge = |(i, spec): (usize, &Spec)| {
            let bytes = known.get(&i).cloned().unwrap_or_else(|| vec![0; spec.bytes()]);
            let elements = decode_array(&bytes[..spec.bytes()], spec.dtype);
            Edge { node: Node::input(spec.clone(), Arc::new(elements), None, &device), out: 0 }
        };
        let inputs: Vec<Edge> = specs.iter().enumerate().map(edge).collect();
        let outputs = op.decompose(&inputs);
        let wanted = interpret(&outputs, self.executor.limits());
        let mut compared = FxHashSet::default();
        for step in self.plan.steps.iter().filter(|step| step.item == last.item) {
            let Kernel::Fused(launch) = &step.kernel else { continue };
            let written =
                launch.buffers.iter().filter(|b| matches!(b, Buffer::Output(_) | Buffer::Scratch { .. }));
            for (buffer, &slot) in written.zip(&step.writes) {
                let Buffer::Output(out) = *buffer else { continue };
                if !compared.insert(out) {
                    continue; // an earlier dispatch wrote another part of this output
                }
                let spec = &node.outs[out];
                let got = decode(&self.peek(&[slot])?[0][..spec.bytes()], spec.dtype);
                let wider = |x: &Bounded| Bounded { error: FUSED_ERROR_RATIO * x.error, ..*x };
                let wanted: Vec<Bounded> = wanted[out].iter().map(wider).collect();
                self.compare(last.item, &last.kernel, &got, &wanted, spec.dtype)?;
            }
        }
        Ok(())
    }

    fn compare(
        &self,
        item: usize,
        kernel: &Kernel,
        got: &[Bounded],
        wanted: &[Bounded],
        dtype: DType,
    ) -> Result<(), Error> {
        let sizes = wanted.iter().map(|wanted| wanted.value.abs()).filter(|size| size.is_finite());
        let largest = sizes.fold(0.0, f64::max);
        let loose = wanted.iter().filter(|wanted| wanted.is_loose(dtype, largest)).count();
        self.tally.compared.fetch_add(wanted.len(), Ordering::Relaxed);
        self.tally.passed_over.fetch_add(loose, Ordering::Relaxed);
        let pairs = got.iter().zip(wanted).enumerate();
        let Some((index, (got, wanted))) =
            pairs.into_iter().find(|(_, (got, wanted))| !wanted.allows(got.value))
        else {
            return Ok(());
        };
        let node = &self.graph.items[item].node;
        Err(Error::Check {
            op: node.op.name(),
            at: node.at,
            kernel: kernel.to_string(),
            index,
            got: got.value,
            wanted: wanted.value,
            tolerance: wanted.error,
        })
    }

    fn peek(&self, slots: &[usize]) -> Result<Vec<Vec<u8>>, Error> {
        let storages: Vec<_> = slots.iter().map(|&slot| &*self.storages[slot]).collect();
        self.executor.peek(&storages)
    }
}

/// Computes the elements of `outputs` from the values of their operands.
fn interpret(outputs: &[Edge], limits: &Limits) -> Vec<Vec<Bounded>> {
    let graph = PendingGraph::collect(outputs.iter().map(|edge| edge.node.clone()).collect(), |_| false);
    let nothing = vec![false; graph.items.len()];
    let plan = schedule::plan(&graph, &nothing, limits, Fusion::Off, |_, _| {});
    let slots = interpret_plan(&plan, &graph, &[]);
    let of = |edge: &Edge| {
        if let Some(value) = edge.node.value(edge.out) {
            return exact(array(&*value.storage));
        }
        let is_it = |placement: &&Placement| Arc::ptr_eq(&graph.items[placement.item].node, &edge.node);
        let placement = plan.results.iter().find(is_it).expect("an output has a value");
        let (slot, view) = &placement.outs[edge.out as usize];
        read_view(&slots[*slot], view)
    };
    outputs.iter().map(of).collect()
}

/// Interprets a plan, and returns the final contents of its slots.
fn interpret_plan(plan: &Plan, graph: &PendingGraph, constants: &[Vec<Bounded>]) -> Vec<Vec<Bounded>> {
    let constants = match &plan.constants {
        Some(plan) => interpret_plan(plan, graph, &[]),
        None => constants.to_vec(),
    };
    let contents = |slot: &PlanSlot| match slot {
        PlanSlot::Input(source) => {
            let values = graph.items[source.item].values.as_ref().expect("an input has its values");
            exact(array(&*values[source.out as usize].storage))
        }
        PlanSlot::Fresh { .. } => Vec::new(),
        PlanSlot::Constant(i) => constants[*i].clone(),
    };
    let mut slots: Vec<Vec<Bounded>> = plan.slots.iter().map(contents).collect();
    for step in &plan.steps {
        let reads: Vec<&[Bounded]> = step.reads.iter().map(|&slot| slots[slot].as_slice()).collect();
        let written = kernel::run(&step.kernel, &reads, graph);
        step.writes.iter().zip(written).for_each(|(&slot, elements)| slots[slot] = elements);
    }
    slots
}

/// Reads the elements of a view of a buffer.
fn read_view(elements: &[Bounded], view: &View) -> Vec<Bounded> {
    let at = |coords: &[usize]| coords.iter().zip(&view.strides).map(|(&x, s)| x as isize * s).sum::<isize>();
    view.shape.coords().map(|coords| elements[(view.offset + at(&coords)) as usize]).collect()
}

fn decode_array(bytes: &[u8], dtype: DType) -> Array {
    let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
    match dtype {
        DType::F32 => Array::Float(words.into_iter().map(|x| f32::from_bits(x).into()).collect()),
        DType::I32 => Array::Int(words.into_iter().map(|x| x as i32).collect()),
        DType::U32 => Array::Uint(words),
        DType::Bool => Array::Bool(words.into_iter().map(|x| x != 0).collect()),
    }
}

fn exact(array: &Array) -> Vec<Bounded> {
    match array {
        Array::Float(data) => data.iter().map(|&x| Bounded::exact(x)).collect(),
        Array::Int(data) => data.iter().map(|&x| Bounded::exact(x.into())).collect(),
        Array::Uint(data) => data.iter().map(|&x| Bounded::exact(x.into())).collect(),
        Array::Bool(data) => data.iter().map(|&x| Bounded::exact(f64::from(x))).collect(),
    }
}

fn decode(bytes: &[u8], dtype: DType) -> Vec<Bounded> {
    exact(&decode_array(bytes, dtype))
}

/// Returns the dtype with which a kernel loads operand `read`. Matrices are f32.
fn read_dtype(kernel: &Kernel, read: usize) -> DType {
    let mut loads = kernel.programs().flat_map(|program| &program.loads);
    loads.find(|load| load.read == read).map_or(DType::F32, |load| load.dtype)
}

/// Returns the dtype of a kernel's result number `result`. Elementwise outputs precede the epilogue's results.
fn result_dtype(kernel: &Kernel, result: usize) -> DType {
    let of = |program: &Program, result: usize| program.dtype(program.results[result]);
    match (kernel.elementwise_outputs(), kernel.epilogue()) {
        (Some((program, outputs)), Some(_)) if result < outputs => of(program, result),
        (outputs, Some(epilogue)) => of(epilogue, result - outputs.map_or(0, |(_, outputs)| outputs)),
        (Some((program, _)), None) => of(program, result),
        (None, None) => DType::F32,
    }
}
