//! Differentiation in reverse: the graph is walked once, newest node first, and made longer by each node's rule.
//!
//! In: a tensor to differentiate. Out: gradients, which are ordinary graph: they can be differentiated again. Rules
//! say what one node does; this driver alone orders, accumulates and stores.

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

/// The gradients of `output` for each of `inputs`, as values: the inputs' own `grad` is untouched, and the graph is
/// retained. With `create_graph` the gradients can be differentiated again. `None`: the output does not depend on
/// that input.
///
/// ```
/// use wgrad::{Device, Tensor, autograd};
/// let x = Tensor::scalar(3.0, &Device::cpu()).requires_grad();
/// let first = autograd::grad(&x.pow(3.0), &[&x], true)[0].clone().unwrap();
/// let second = autograd::grad(&first, &[&x], false)[0].clone().unwrap();
/// assert_eq!((first.item().unwrap(), second.item().unwrap()), (27.0, 18.0));
/// ```
#[track_caller]
pub fn grad(output: &Tensor, inputs: &[&Tensor], create_graph: bool) -> Vec<Option<Tensor>> {
    grad_with(output, &seed("grad", output), inputs, create_graph)
}

/// [`grad`] of an output of any shape, from the gradient that flows into it.
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

/// The gradients of several outputs together for each of `inputs`, where the walk ends: what lies behind an input is
/// not differentiated. In the current mode.
pub(crate) fn partial_gradients(
    outputs: &[&Tensor],
    seeds: &[Option<Tensor>],
    inputs: &[&Tensor],
) -> Vec<Option<Tensor>> {
    Pass::new("grad", outputs, inputs).gradients(seeds, inputs)
}

/// Adds to the `grad` of every leaf behind `outputs`, from the gradient that flows into each, in one pass.
#[track_caller]
pub fn backward(outputs: &[&Tensor], gradients: &[&Tensor], retain_graph: bool) {
    if outputs.len() != gradients.len() {
        refuse!("backward", "{} outputs, but {} gradients", outputs.len(), gradients.len());
    }
    for (output, gradient) in outputs.iter().zip(gradients) {
        check_seed("backward", output, gradient);
        if !output.needs_grad() {
            refuse!("backward", "{} depends on nothing that requires a gradient", output.spec());
        }
    }
    let seeds: Vec<Option<Tensor>> = gradients.iter().map(|&gradient| Some(gradient.clone())).collect();
    let pass = Pass::new("backward", outputs, &[]);
    no_grad(|| pass.run(&seeds, store));
    if !retain_graph {
        pass.nodes.iter().filter(|node| node.tracks).for_each(|node| node.release());
    }
    // A loss is read sooner or later, and is computed on the way to the gradients.
    for output in outputs {
        output.device().register(Pending::Output(Arc::downgrade(output.node())));
    }
}

impl Tensor {
    /// Marks a leaf whose gradient is wanted: `backward` adds to its [`grad`](Tensor::grad).
    #[track_caller]
    pub fn requires_grad(self) -> Tensor {
        if !self.dtype().is_float() {
            refuse!("requires_grad", "only floats have gradients, not {}", self.spec());
        }
        if !self.node().tracks {
            self.node().set_leaf(); // an intermediate result has a gradient anyway
        }
        self
    }

    /// The gradient that backward passes have added up here: on leaves, and where [`retain_grad`](Tensor::retain_grad)
    /// asked for it.
    pub fn grad(&self) -> Option<Tensor> {
        self.node().state().grad.clone().map(Tensor)
    }

    /// Forgets the gradient.
    pub fn zero_grad(&self) {
        let forgotten = self.node().state().grad.take();
        drop(forgotten);
    }

    /// Keeps the gradient of this intermediate result too, at the next backward pass.
    pub fn retain_grad(&self) {
        self.node().state().retain_grad = true;
    }

    /// Adds the gradients of this scalar to the `grad` of every leaf behind it, and gives the graph up: a second pass
    /// through it is refused.
    #[track_caller]
    pub fn backward(&self) {
        backward(&[self], &[&seed("backward", self)], false);
    }

    /// [`backward`](Tensor::backward) that keeps the graph for another pass.
    #[track_caller]
    pub fn backward_retain_graph(&self) {
        backward(&[self], &[&seed("backward", self)], true);
    }
}

/// Adds to a leaf's gradient, or to that of an intermediate result that asked to keep it.
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

/// The gradient of a scalar with respect to itself.
#[track_caller]
fn seed(op: &str, output: &Tensor) -> Tensor {
    if output.numel() != 1 {
        refuse!(op, "{} is no scalar: reduce it, or give the gradient that flows into it", output.spec());
    }
    no_grad(|| output.ones_like())
}

#[track_caller]
fn check_seed(op: &str, output: &Tensor, seed: &Tensor) {
    if seed.spec() != output.spec() || seed.device() != output.device() {
        refuse!(op, "a gradient {} does not fit the output {}", seed.spec(), output.spec());
    }
}

/// One output of one node.
type GradientKey = (u64, u8);

fn key(tensor: &Tensor) -> GradientKey {
    (tensor.node().id, tensor.out())
}

/// One walk from the outputs to the leaves.
struct Pass {
    outputs: Vec<Tensor>,
    /// Every node that an output depends on and that needs a gradient, newest first: ids grow with creation.
    nodes: Vec<Arc<Node>>,
    /// Nodes behind which the walk does not go.
    ends: FxHashSet<u64>,
}

impl Pass {
    /// Collects what is to be walked, and refuses a graph that was given up before anything is built.
    #[track_caller]
    fn new(op: &str, outputs: &[&Tensor], ends: &[&Tensor]) -> Pass {
        let ends: FxHashSet<u64> = ends.iter().map(|end| end.node().id).collect();
        let mut stack: Vec<Arc<Node>> = outputs.iter().map(|output| output.node().clone()).collect();
        let (mut nodes, mut seen) = (Vec::new(), FxHashSet::default());
        while let Some(node) = stack.pop() {
            if !node.needs_grad() || !seen.insert(node.id) {
                continue;
            }
            // A leaf that is still to be computed has sources too, but gradients end at it.
            if node.tracks && !ends.contains(&node.id) {
                if node.is_released() {
                    refuse!(
                        op,
                        "the graph behind {} (built at {}) was given up by an earlier backward pass; that pass must \
                         keep it: backward_retain_graph",
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

    /// The whole gradient of each of `inputs`.
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

    /// Calls `visit` with each tensor walked and its whole gradient.
    fn run(&self, seeds: &[Option<Tensor>], mut visit: impl FnMut(&Tensor, &Tensor)) {
        let mut gradients: FxHashMap<GradientKey, Tensor> = FxHashMap::default();
        for (output, seed) in self.outputs.iter().zip(seeds) {
            if let Some(seed) = seed {
                accumulate(&mut gradients, key(output), seed.clone());
            }
        }
        for node in &self.nodes {
            // All consumers are newer, so they have been walked, and the gradient is whole.
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

/// The one place where gradients are added up.
fn accumulate(gradients: &mut FxHashMap<GradientKey, Tensor>, key: GradientKey, mut gradient: Tensor) {
    let sum = match gradients.remove(&key) {
        Some(sum) => fused_sum(&sum, &mut gradient).unwrap_or_else(|| sum + gradient),
        None => gradient,
    };
    gradients.insert(key, sum);
}

/// The sum as the operation gives it that gives `gradient`: if it can, and if nothing else wants what it gives by itself.
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

/// A rule that gives a gradient of another shape is a defect of the rule, not of the user's.
fn check_rule(node: &Node, source: &Spec, gradient: &Spec) {
    assert_eq!(source, gradient, "the gradient rule of {} gives {gradient} for {source}", node.op.name());
}
