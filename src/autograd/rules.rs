//! The gradient rules of the primitives that are not elementwise. The rules of elementwise operations are in the table
//! of operations.
//!
//! A rule is a pure function: sources, outputs and incoming gradients -> one gradient per source, built from ordinary
//! operations. A rule neither accumulates gradients nor reverses broadcasting: broadcasting is an explicit `expand`,
//! whose gradient is a sum.

use std::sync::Arc;

use smallvec::SmallVec;

use super::elementwise::{binary_rules, unary_rule};
use crate::core::grad_mode::enable_grad;
use crate::core::shape::Shape;
use crate::graph::{Move, Node, Op, Reduce};
use crate::tensor::fused::{Fused, Io, as_fused};
use crate::tensor::{Const, Tensor};

/// Returns one gradient per source; `None` if the source is not differentiable (an index, a mask, a condition).
pub(crate) fn gradients(
    node: &Arc<Node>,
    sources: &[Tensor],
    grads: &[Option<Tensor>],
) -> Vec<Option<Tensor>> {
    let output = || Tensor::from_node(node.clone(), 0);
    if let Op::Fused(op) = &node.op {
        let outputs: Vec<Tensor> =
            (0..node.outs.len()).map(|out| Tensor::from_node(node.clone(), out as u8)).collect();
        return fused(as_fused(op), sources, &outputs, grads);
    }
    let g = grads[0].as_ref().expect("a node with one output is walked only if it has a gradient");
    let wanted = |i: usize| sources[i].needs_grad();
    match &node.op {
        Op::Input(_) | Op::Const(_) | Op::Scalar(_) | Op::Iota(_) | Op::Random { .. } => Vec::new(),
        Op::Unary(op) => vec![Some(unary_rule(*op)(&sources[0], &output(), g))],
        Op::Binary(op) => {
            let rules = binary_rules(*op);
            let rule = |i: usize| wanted(i).then(|| rules[i](&sources[0], &sources[1], &output(), g));
            vec![rule(0), rule(1)]
        }
        Op::Where => {
            let condition = &sources[0];
            vec![
                None,
                wanted(1).then(|| condition.where_(g, Const(0.0))),
                wanted(2).then(|| condition.where_(Const(0.0), g)),
            ]
        }
        Op::Cast(_) => {
            let dtype = sources[0].dtype();
            vec![dtype.is_float().then(|| g.to_dtype(dtype))]
        }
        Op::Move(movement) => vec![Some(moved(movement, sources[0].shape(), g))],
        Op::Reduce(Reduce::Sum, _) => vec![Some(g.broadcast_to(sources[0].shape()))],
        Op::Reduce(Reduce::Max, dims) => {
            let x = &sources[0];
            let ties = x.eq(output());
            let dims: Vec<usize> = dims.to_vec();
            let count = ties.where_(Const(1.0), Const(0.0)).sum_dim(dims, true);
            vec![Some(ties.where_((g / count).broadcast_to(x.shape()), Const(0.0)))]
        }
        Op::MatMul => {
            let (a, b) = (&sources[0], &sources[1]);
            vec![wanted(0).then(|| g.matmul(&b.t())), wanted(1).then(|| a.t().matmul(g))]
        }
        Op::Gather(dim) => {
            let (x, index) = (&sources[0], &sources[1]);
            vec![Some(x.zeros_like().scatter_add(*dim as i64, index, g)), None]
        }
        Op::ScatterAdd(dim, _) => vec![None, Some(g.gather(*dim as i64, &sources[0]))],
        Op::Fused(_) => unreachable!("handled above"),
    }
}

/// Computes the gradient of a movement operation, which is the inverse movement operation.
fn moved(movement: &Move, source: &Shape, g: &Tensor) -> Tensor {
    match movement {
        Move::Reshape(_) => g.moved(Move::Reshape(source.clone())),
        Move::Permute(dims) => {
            let mut back: SmallVec<[usize; 4]> = SmallVec::from_elem(0, dims.len());
            for (i, &dim) in dims.iter().enumerate() {
                back[dim] = i;
            }
            g.moved(Move::Permute(back))
        }
        Move::Expand(shape) => {
            let stretched: Vec<usize> = (0..shape.rank()).filter(|&dim| shape[dim] != source[dim]).collect();
            g.sum_dim(stretched, true)
        }
        Move::Slice(ranges) => g.moved(Move::Pad(
            ranges
                .iter()
                .zip(source.iter())
                .map(|(&(start, len), &size)| (start, size - start - len))
                .collect(),
        )),
        Move::Pad(pads) => g.moved(Move::Slice(
            pads.iter().zip(source.iter()).map(|(&(before, _), &size)| (before, size)).collect(),
        )),
        Move::Flip(dims) => g.moved(Move::Flip(dims.clone())),
        // Handles each element of the windows separately: dilates the element's gradients by the step, and shifts them
        // to the positions from which the element was read.
        Move::Windows(windows) => {
            let length = source[windows.dim];
            let places = (0..windows.size).map(|place| {
                let dilated = g.select(-1, place as i64).dilate(windows.dim, windows.step);
                dilated.pad_or_crop(windows.dim, place * windows.dilation, length)
            });
            places.reduce(|a, b| a + b).expect("a window has at least one element")
        }
    }
}

/// Applies the operation's gradient rule, or differentiates its decomposition.
fn fused(
    op: &dyn Fused,
    inputs: &[Tensor],
    outputs: &[Tensor],
    grads: &[Option<Tensor>],
) -> Vec<Option<Tensor>> {
    if let Some(gradients) = op.backward(&Io { inputs, outputs }, grads) {
        return gradients;
    }
    // The inputs are aliased, so that the traversal stops at the aliases, and a tensor that is used twice has two
    // partial derivatives.
    let (fresh_inputs, decomposed) = enable_grad(|| {
        let fresh: Vec<Tensor> = inputs.iter().map(Tensor::alias).collect();
        let decomposed = op.decomposition(&fresh);
        (fresh, decomposed)
    });
    let (outputs, seeds): (Vec<&Tensor>, Vec<Option<Tensor>>) =
        decomposed.iter().zip(grads.iter().cloned()).filter(|(x, _)| x.needs_grad()).unzip();
    super::partial_gradients(&outputs, &seeds, &fresh_inputs.iter().collect::<Vec<_>>())
}
