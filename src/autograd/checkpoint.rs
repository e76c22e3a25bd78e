//! Activation checkpointing: what a function computed on the way is not kept for the backward pass but computed again.
//!
//! In: a function of tensors. Out: one node, a fused operation whose decomposition is what the function built, as plain
//! data. It has no kernel, so forward runs the decomposition; its gradient differentiates it, built anew.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::partial_gradients;
use crate::core::grad_mode::{enable_grad, is_grad_enabled};
use crate::core::shape::{ShapeError, Spec};
use crate::graph::{Edge, Node, Op, with_recomputation};
use crate::tensor::fused::{Fused, Io};
use crate::tensor::{Const, Tensor};

/// `f(inputs)`, of which only the inputs are kept until the backward pass, not what `f` computed on the way: that is
/// computed again when its gradient is there. Memory for time (Chen et al., 2016, *Training deep nets with sublinear memory
/// cost*; PyTorch's `torch.utils.checkpoint`).
///
/// `f` runs once, here, so what it draws at random and the statistics that it moves are drawn and moved once; the second
/// computation sees the same random numbers. Parameters that `f` uses need not be among the inputs. Gradients are those of
/// `f(inputs)`, and can be differentiated again.
///
/// ```
/// use wgrad::{Device, Tensor, autograd};
/// let x = Tensor::new([1.0, 2.0], [2], &Device::cpu()).requires_grad();
/// let y = autograd::checkpoint(|x| x[0].exp().sin().square(), &[&x]);
/// y.sum().backward();
/// # let want = x.grad().unwrap().to_vec::<f64>().unwrap();
/// # x.zero_grad();
/// # x.exp().sin().square().sum().backward();
/// # assert_eq!(x.grad().unwrap().to_vec::<f64>().unwrap(), want);
/// ```
#[track_caller]
pub fn checkpoint(f: impl FnOnce(&[&Tensor]) -> Tensor, inputs: &[&Tensor]) -> Tensor {
    if !is_grad_enabled() {
        return f(inputs);
    }
    // On nodes of their own, which also mark where `f` began: ids grow with creation.
    let own: Vec<Tensor> = inputs.iter().map(|x| x.alias()).collect();
    let output = f(&own.iter().collect::<Vec<_>>());
    if !output.needs_grad() {
        return output;
    }
    let (recorded, captured) = Recorded::new(&own, &output);
    drop(output);
    let operands: Vec<&Tensor> = inputs.iter().copied().chain(&captured).collect();
    Tensor::fused(recorded, &operands).remove(0)
}

/// What a function built, as plain data.
struct Recorded {
    /// How many of the operands are the function's inputs; what it captured follows.
    inputs: usize,
    /// In an order in which sources come first.
    steps: Vec<RecordedNode>,
    output: From,
    spec: Spec,
}

struct RecordedNode {
    op: Op,
    sources: SmallVec<[From; 3]>,
    outs: SmallVec<[Spec; 1]>,
    /// Gradients flowed through it: it was not built in `no_grad`, nor detached.
    tracks: bool,
    at: &'static Location<'static>,
}

#[derive(Clone, Copy)]
enum From {
    Operand(usize),
    Step(usize, u8),
}

impl Recorded {
    /// What lies between the inputs and the output, and the tensors from outside that it uses.
    fn new(inputs: &[Tensor], output: &Tensor) -> (Recorded, Vec<Tensor>) {
        let start = inputs.iter().map(|x| x.node().id).min();
        // What is older, what asks for a gradient itself, and data, is not built anew.
        let outside = |node: &Node| {
            start.is_none_or(|start| node.id < start)
                || node.is_leaf()
                || (node.is_computed() && node.sources().is_empty())
        };
        let mut found: FxHashMap<u64, Arc<Node>> = FxHashMap::default();
        let mut stack = vec![output.node().clone()];
        let mut ends: FxHashMap<(u64, u8), usize> =
            inputs.iter().enumerate().map(|(i, x)| ((x.node().id, x.out()), i)).collect();
        while let Some(node) = stack.pop() {
            let is_end = ends.contains_key(&(node.id, 0)) || outside(&node);
            if !is_end && !found.contains_key(&node.id) {
                stack.extend(node.sources().into_iter().map(|edge| edge.node));
                found.insert(node.id, node);
            }
        }
        let mut nodes: Vec<Arc<Node>> = found.into_values().collect();
        nodes.sort_unstable_by_key(|node| node.id);
        let numbers: FxHashMap<u64, usize> =
            nodes.iter().enumerate().map(|(number, node)| (node.id, number)).collect();
        let mut captured = Vec::new();
        let mut from = |edge: &Edge| match numbers.get(&edge.node.id) {
            Some(&number) => From::Step(number, edge.out),
            None => From::Operand(*ends.entry((edge.node.id, edge.out)).or_insert_with(|| {
                captured.push(Tensor::from_node(edge.node.clone(), edge.out));
                inputs.len() + captured.len() - 1
            })),
        };
        let steps = nodes.iter().map(|node| RecordedNode {
            op: node.op.clone(),
            sources: node.sources().iter().map(&mut from).collect(),
            outs: node.outs.clone(),
            tracks: node.tracks,
            at: node.at,
        });
        let steps = steps.collect();
        let output_from = from(&output.edge());
        let recorded =
            Recorded { inputs: inputs.len(), steps, output: output_from, spec: output.spec().clone() };
        (recorded, captured)
    }

    /// Builds it again on other operands.
    fn build(&self, operands: &[Tensor]) -> Tensor {
        let mut nodes: Vec<Arc<Node>> = Vec::with_capacity(self.steps.len());
        let edge = |nodes: &[Arc<Node>], from: &From| match *from {
            From::Operand(i) => operands[i].edge(),
            From::Step(step, out) => Edge { node: nodes[step].clone(), out },
        };
        for step in &self.steps {
            let sources: SmallVec<[Edge; 3]> = step.sources.iter().map(|from| edge(&nodes, from)).collect();
            let tracks =
                step.tracks && is_grad_enabled() && sources.iter().any(|edge| edge.node.needs_grad());
            let device = operands[0].device();
            let mut node = Node::new(step.op.clone(), sources, step.outs.clone(), device, tracks);
            if let Some(node) = Arc::get_mut(&mut node) {
                node.at = step.at; // the user's line
            }
            nodes.push(node);
        }
        let Edge { node, out } = edge(&nodes, &self.output);
        Tensor::from_node(node, out)
    }
}

impl Fused for Recorded {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn outputs(&self, _inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        Ok(vec![self.spec.clone()])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        vec![self.build(inputs)]
    }

    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        let gradient = grads[0].as_ref()?;
        let (own, output) = enable_grad(|| {
            let operands = io.inputs.iter().enumerate();
            let own: Vec<Tensor> = operands
                .map(|(i, x)| if i < self.inputs { after(x, [gradient]) } else { x.alias() })
                .collect();
            // Operations on captured tensors alone equal those of the forward pass. The number keeps them apart.
            static NEXT: AtomicU64 = AtomicU64::new(1);
            let output = with_recomputation(NEXT.fetch_add(1, Ordering::Relaxed), || self.build(&own));
            (own, output)
        });
        let mut found =
            partial_gradients(&[&output], &[Some(gradient.clone())], &own.iter().collect::<Vec<_>>());
        // Backward goes on when this is done with, so that the next one finds the memory free.
        let (inputs, captured) = found.split_at_mut(self.inputs);
        inputs
            .iter_mut()
            .flatten()
            .for_each(|gradient| *gradient = after(gradient, captured.iter().flatten()));
        Some(found)
    }
}

/// The same value, but not before the others are there. So nothing that is computed again is computed early, and none of it
/// is a subexpression in common with the forward pass.
fn after<'a>(x: &Tensor, others: impl IntoIterator<Item = &'a Tensor>) -> Tensor {
    // Never true, also of NaN: but that is for the device to find out.
    let never =
        |other: &Tensor| other.detach().reshape([-1]).narrow(0, 0, 1).abs().lt(Const(0.0)).reshape(());
    let others = others.into_iter().filter(|other| other.numel() > 0);
    match others.map(never).reduce(|a, b| a.logical_or(b)) {
        Some(never) => never.where_(Const(0.0), x),
        None => x.alias(),
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "checkpoint of {} operations", self.steps.len())
    }
}
