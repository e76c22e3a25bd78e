//! Activation checkpointing: intermediate values of a function are recomputed in the backward pass instead of being
//! kept in memory.
//!
//! Input: a function of tensors. Output: one fused node whose decomposition is the recorded graph of the function. The
//! node has no kernel, so the forward pass runs the decomposition. The backward pass rebuilds the decomposition and
//! differentiates it.

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

/// Computes `f(inputs)` and keeps only the inputs for the backward pass. The intermediate values of `f` are recomputed
/// when its gradient is computed. This trades time for memory (Chen et al., 2016, *Training deep nets with sublinear
/// memory cost*; PyTorch's `torch.utils.checkpoint`).
///
/// `f` is called once, so random numbers are drawn once and running statistics are updated once. The recomputation uses
/// the same random numbers. Parameters that `f` uses need not be among the inputs. The gradients equal those of
/// `f(inputs)` and can be differentiated again.
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
///
/// # Panics
///
/// Panics if `f` panics, or if the inputs and the tensors that `f` captures are on different devices.
#[track_caller]
pub fn checkpoint(f: impl FnOnce(&[&Tensor]) -> Tensor, inputs: &[&Tensor]) -> Tensor {
    if !is_grad_enabled() {
        return f(inputs);
    }
    // Aliases of the inputs. Node ids increase with creation, so nodes of `f` have larger ids than the aliases.
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

/// The recorded graph of a function.
struct Recorded {
    /// The number of operands that are inputs of the function. The remaining operands are captured tensors.
    inputs: usize,
    /// The recorded nodes in topological order.
    steps: Vec<RecordedNode>,
    output: From,
    spec: Spec,
}

struct RecordedNode {
    op: Op,
    sources: SmallVec<[From; 3]>,
    outs: SmallVec<[Spec; 1]>,
    /// Whether gradients propagate through the step: true unless it was built under `no_grad` or detached.
    tracks: bool,
    at: &'static Location<'static>,
}

#[derive(Clone, Copy)]
enum From {
    Operand(usize),
    Step(usize, u8),
}

impl Recorded {
    /// Records the nodes between the inputs and the output, and returns the captured tensors.
    fn new(inputs: &[Tensor], output: &Tensor) -> (Recorded, Vec<Tensor>) {
        let start = inputs.iter().map(|x| x.node().id).min();
        // Nodes that are not rebuilt: older nodes, leaves that require a gradient, and data.
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

    /// Rebuilds the graph with other operands.
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
                node.at = step.at; // the caller's line
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
            // Operations whose operands are all captured tensors are equal to operations of the forward pass. The
            // number of the recomputation prevents merging them in the plan.
            static NEXT: AtomicU64 = AtomicU64::new(1);
            let output = with_recomputation(NEXT.fetch_add(1, Ordering::Relaxed), || self.build(&own));
            (own, output)
        });
        let mut found =
            partial_gradients(&[&output], &[Some(gradient.clone())], &own.iter().collect::<Vec<_>>());
        // The backward pass continues only after this recomputation is finished, so that the next recomputation can
        // reuse the memory.
        let (inputs, captured) = found.split_at_mut(self.inputs);
        inputs
            .iter_mut()
            .flatten()
            .for_each(|gradient| *gradient = after(gradient, captured.iter().flatten()));
        Some(found)
    }
}

/// Returns the value of `x`, computed after the values of `others`. The dependency delays the recomputation until the
/// gradient of its result exists, and prevents merging the recomputation with equal operations of the forward pass.
fn after<'a>(x: &Tensor, others: impl IntoIterator<Item = &'a Tensor>) -> Tensor {
    // The condition is always false, even for NaN, but the scheduler cannot simplify it.
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
