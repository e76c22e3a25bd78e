//! Reverse-mode differentiation: traverses the graph once, latest node first, and extends the graph with the gradient
//! rule of each node.
//!
//! Input: a tensor to differentiate. Output: gradients, which are ordinary graph nodes and can be differentiated again.
//! A rule handles one node; only this module orders, accumulates and stores gradients.

mod check;
pub(crate) mod check_fused;
mod checkpoint;
mod elementwise;
pub mod functional;
pub(crate) mod rules;

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::core::grad_mode::{no_grad, with_grad};
use crate::core::shape::{Spec, refuse};
use crate::graph::Pending;
use crate::graph::{Move, Node, Op};
use crate::tensor::Tensor;
use crate::tensor::fused::as_fused;

pub use check::{CheckError, gradcheck};
pub use checkpoint::checkpoint;

/// Computes the gradients of `output` with respect to `inputs` and returns them. It does not change the `grad` of the
/// inputs, and it retains the graph. With `create_graph` the gradients can be differentiated again. An entry is `None`
/// if the output does not depend on that input.
///
/// ```
/// use wgrad::{Device, Tensor, autograd};
/// let x = Tensor::scalar(3.0, &Device::cpu()).requires_grad();
/// let first = autograd::grad(&x.pow(3.0), &[&x], true)[0].clone().unwrap();
/// let second = autograd::grad(&first, &[&x], false)[0].clone().unwrap();
/// assert_eq!((first.item().unwrap(), second.item().unwrap()), (27.0, 18.0));
/// ```
///
/// # Panics
///
/// Panics if `output` does not have exactly one element, or if an earlier backward pass freed its graph.
#[track_caller]
pub fn grad(output: &Tensor, inputs: &[&Tensor], create_graph: bool) -> Vec<Option<Tensor>> {
    grad_with(output, &seed("grad", output), inputs, create_graph)
}

/// Computes [`grad`] for an output of any shape. `seed` is the gradient with respect to the output.
///
/// # Panics
///
/// Panics if `seed` does not have the shape, dtype and device of `output`, or if an earlier backward pass freed the
/// graph.
#[track_caller]
pub fn grad_with(
    output: &Tensor,
    seed: &Tensor,
    inputs: &[&Tensor],
    create_graph: bool,
) -> Vec<Option<Tensor>> {
    check_seed("grad", output, seed);
    let pass = Pass::new("grad", &[output], &[]);
    with_grad(create_graph, || pass.gradients(&[Some(seed.clone())], inputs))
}

/// Computes the gradients of several outputs together with respect to `inputs`. The traversal stops at the inputs. It
/// records a graph if the current grad mode is enabled.
pub(crate) fn partial_gradients(
    outputs: &[&Tensor],
    seeds: &[Option<Tensor>],
    inputs: &[&Tensor],
) -> Vec<Option<Tensor>> {
    Pass::new("grad", outputs, inputs).gradients(seeds, inputs)
}

/// Runs one backward pass from several outputs, given the gradient with respect to each, and accumulates into the
/// `grad` of every leaf that they depend on.
///
/// # Panics
///
/// Panics if the numbers of outputs and gradients differ, if a gradient does not have the shape, dtype and device of
/// its output, if an output requires no gradient, or if an earlier backward pass freed the graph.
#[track_caller]
pub fn backward(outputs: &[&Tensor], gradients: &[&Tensor], retain_graph: bool) {
    if outputs.len() != gradients.len() {
        refuse!("backward", "{} outputs, but {} gradients", outputs.len(), gradients.len());
    }
    for (output, gradient) in outputs.iter().zip(gradients) {
        check_seed("backward", output, gradient);
        if !output.needs_grad() {
            refuse!("backward", "{} does not depend on a tensor that requires a gradient", output.spec());
        }
    }
    let seeds: Vec<Option<Tensor>> = gradients.iter().map(|&gradient| Some(gradient.clone())).collect();
    let pass = Pass::new("backward", outputs, &[]);
    no_grad(|| pass.run(&seeds, store));
    if !retain_graph {
        pass.nodes.iter().filter(|node| node.tracks).for_each(|node| node.release());
    }
    // A loss is usually read later. Computing the loss in the same run as the gradients costs little.
    for output in outputs {
        output.device().register(Pending::Output(Arc::downgrade(output.node())));
    }
}

impl Tensor {
    /// Marks a leaf that requires a gradient: `backward` accumulates into its [`grad`](Tensor::grad).
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32.
    #[track_caller]
    pub fn requires_grad(self) -> Tensor {
        if !self.dtype().is_float() {
            refuse!("requires_grad", "only f32 tensors have gradients, got {}", self.spec());
        }
        if !self.node().tracks {
            self.node().set_leaf(); // an intermediate result is already differentiated
        }
        self
    }

    /// Returns the gradient accumulated by backward passes. Leaves have a gradient, and so do intermediate results
    /// after [`retain_grad`](Tensor::retain_grad).
    pub fn grad(&self) -> Option<Tensor> {
        self.node().state().grad.clone().map(Tensor)
    }

    /// Clears the gradient.
    pub fn zero_grad(&self) {
        let forgotten = self.node().state().grad.take();
        drop(forgotten);
    }

    /// Retains the gradient of this intermediate result in later backward passes.
    pub fn retain_grad(&self) {
        self.node().state().retain_grad = true;
    }

    /// Computes the gradients of this scalar and accumulates them into the `grad` of every leaf that it depends on. The
    /// graph is freed: a second pass through it panics.
    ///
    /// # Panics
    ///
    /// Panics if the tensor does not have exactly one element, if it requires no gradient, or if an earlier backward
    /// pass freed the graph.
    #[track_caller]
    pub fn backward(&self) {
        backward(&[self], &[&seed("backward", self)], false);
    }

    /// Performs [`backward`](Tensor::backward), but retains the graph for another pass.
    ///
    /// # Panics
    ///
    /// Panics if the tensor does not have exactly one element, if it requires no gradient, or if an earlier backward
    /// pass freed the graph.
    #[track_caller]
    pub fn backward_retain_graph(&self) {
        backward(&[self], &[&seed("backward", self)], true);
    }
}

/// Accumulates `gradient` into the gradient of a leaf, or of an intermediate result with `retain_grad`.
fn store(tensor: &Tensor, gradient: &Tensor) {
    if tensor.node().is_leaf() || tensor.node().state().retain_grad {
        let sum = match tensor.grad() {
            Some(old) => old + gradient,
            None => gradient.clone(),
        };
        let replaced = tensor.node().state().grad.replace(sum.0);
        drop(replaced);
    }
}

/// Returns the gradient of a scalar with respect to itself: 1.
#[track_caller]
fn seed(op: &str, output: &Tensor) -> Tensor {
    if output.numel() != 1 {
        refuse!(
            op,
            "expects one element, got {}: reduce it, or pass the gradient with respect to it",
            output.spec()
        );
    }
    no_grad(|| output.ones_like())
}

#[track_caller]
fn check_seed(op: &str, output: &Tensor, seed: &Tensor) {
    if seed.spec() != output.spec() || seed.device() != output.device() {
        refuse!(op, "the gradient {} does not fit the output {}", seed.spec(), output.spec());
    }
}

/// The id of a node, and the index of one of its outputs.
type GradientKey = (u64, u8);

fn key(tensor: &Tensor) -> GradientKey {
    (tensor.node().id, tensor.out())
}

/// One traversal from the outputs to the leaves.
struct Pass {
    outputs: Vec<Tensor>,
    /// The nodes that need a gradient and on which an output depends, latest node first (ids increase with creation).
    nodes: Vec<Arc<Node>>,
    /// Nodes at which the traversal stops.
    ends: FxHashSet<u64>,
}

impl Pass {
    /// Collects the nodes to traverse. Panics before building any node if a node's graph was freed.
    #[track_caller]
    fn new(op: &str, outputs: &[&Tensor], ends: &[&Tensor]) -> Pass {
        let ends: FxHashSet<u64> = ends.iter().map(|end| end.node().id).collect();
        let mut stack: Vec<Arc<Node>> = outputs.iter().map(|output| output.node().clone()).collect();
        let (mut nodes, mut seen) = (Vec::new(), FxHashSet::default());
        while let Some(node) = stack.pop() {
            if !node.needs_grad() || !seen.insert(node.id) {
                continue;
            }
            // A leaf that is not computed yet has sources too, but the traversal stops at the leaf.
            if node.tracks && !ends.contains(&node.id) {
                if node.is_released() {
                    refuse!(
                        op,
                        "the graph of {} (built at {}) was freed by an earlier backward pass; that pass must \
                         retain it: backward_retain_graph",
                        node.op.name(),
                        node.at
                    );
                }
                stack.extend(node.sources().iter().map(|edge| edge.node.clone()));
            }
            nodes.push(node);
        }
        nodes.sort_unstable_by_key(|node| std::cmp::Reverse(node.id));
        Pass { outputs: outputs.iter().map(|&output| output.clone()).collect(), nodes, ends }
    }

    /// Computes the accumulated gradient of each of `inputs`.
    fn gradients(&self, seeds: &[Option<Tensor>], inputs: &[&Tensor]) -> Vec<Option<Tensor>> {
        let mut wanted: FxHashMap<GradientKey, Vec<usize>> = FxHashMap::default();
        for (i, input) in inputs.iter().enumerate() {
            wanted.entry(key(input)).or_default().push(i);
        }
        let mut found = vec![None; inputs.len()];
        self.run(seeds, |tensor, gradient| {
            for &i in wanted.get(&key(tensor)).into_iter().flatten() {
                found[i] = Some(gradient.clone());
            }
        });
        found
    }

    /// Calls `visit` with each traversed tensor and its accumulated gradient.
    fn run(&self, seeds: &[Option<Tensor>], mut visit: impl FnMut(&Tensor, &Tensor)) {
        let mut gradients: FxHashMap<GradientKey, Tensor> = FxHashMap::default();
        for (output, seed) in self.outputs.iter().zip(seeds) {
            if let Some(seed) = seed {
                accumulate(&mut gradients, key(output), seed.clone());
            }
        }
        for node in &self.nodes {
            // The traversal is in reverse order: all consumers have been visited, so the gradient is complete.
            let outs: Vec<Option<Tensor>> =
                (0..node.outs.len() as u8).map(|out| gradients.remove(&(node.id, out))).collect();
            for (out, gradient) in outs.iter().enumerate() {
                if let Some(gradient) = gradient {
                    visit(&Tensor::from_node(node.clone(), out as u8), gradient);
                }
            }
            if !node.tracks || self.ends.contains(&node.id) || outs.iter().all(Option::is_none) {
                continue;
            }
            let sources: Vec<Tensor> =
                node.sources().iter().map(|edge| Tensor::from_node(edge.node.clone(), edge.out)).collect();
            let found = rules::gradients(node, &sources, &outs);
            drop(outs);
            for (source, gradient) in sources.iter().zip(found) {
                let Some(gradient) = gradient.filter(|_| source.needs_grad()) else { continue };
                check_rule(node, source.spec(), gradient.spec());
                accumulate(&mut gradients, key(source), gradient);
            }
        }
    }
}

/// Adds a gradient to the accumulated gradient. All additions of gradients use this function.
fn accumulate(gradients: &mut FxHashMap<GradientKey, Tensor>, key: GradientKey, mut gradient: Tensor) {
    let sum = match gradients.remove(&key) {
        Some(sum) => fused_sum(&sum, &mut gradient).unwrap_or_else(|| sum + gradient),
        None => gradient,
    };
    gradients.insert(key, sum);
}

/// Returns the sum computed by the operation that produced `gradient`, if the operation supports an addend and
/// `gradient` has no other consumer.
fn fused_sum(sum: &Tensor, gradient: &mut Tensor) -> Option<Tensor> {
    let mut node = &mut gradient.0.node;
    if let Op::Move(Move::Reshape(_)) = node.op {
        node = &mut node.sole_sources()?[0].node;
    }
    let Op::Fused(op) = &node.op else { return None };
    let (op, shape) = (as_fused(op).with_addend()?, node.outs[0].shape.clone());
    let edges = node.sole_sources()?.iter();
    let mut inputs: Vec<Tensor> = edges.map(|edge| Tensor::from_node(edge.node.clone(), edge.out)).collect();
    inputs.push(sum.reshape(&shape));
    Some(Tensor::fused_shared(op, &inputs.iter().collect::<Vec<_>>()).remove(0).reshape(sum.shape()))
}

/// Checks the shape of a gradient returned by a rule. A mismatch is a bug in the rule, not an error of the user.
fn check_rule(node: &Node, source: &Spec, gradient: &Spec) {
    assert_eq!(source, gradient, "the gradient rule of {} returns {gradient} for {source}", node.op.name());
}
