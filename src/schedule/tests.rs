//! Tests of the cost of a step, computed from its kernels.

use super::{PendingGraph, has_kernel, kernels};
use crate::autograd::grad;
use crate::core::limits::Limits;
use crate::graph::Device;
use crate::ir::{Kernel, MatMul};
use crate::nn::{GRU, Module};
use crate::tensor::Tensor;

/// Returns the number of elements that the kernels of these tensors load. For a matrix product, counts both factors of
/// every multiplication.
fn loads(tensors: &[Tensor], limits: &Limits) -> usize {
    let roots = tensors.iter().map(|x| x.node().clone()).collect();
    let graph = PendingGraph::collect(roots, |node| has_kernel(node, limits));
    let of = |kernel: &Kernel| match kernel {
        Kernel::Elementwise(program) => program.space.numel() * program.loads.len(),
        Kernel::Reduce(reduction) => reduction.program.space.numel() * reduction.program.loads.len(),
        Kernel::MatMul(MatMul { batch, m, n, k, .. }, _) => 2 * batch[0] * batch[1] * m * n * k,
        Kernel::Fused(launch) => launch.work as usize,
    };
    kernels(&graph, limits).kernels.iter().map(|node| of(&node.kernel)).sum()
}

/// The model slices the steps from a sequence and concatenates their results, and its backward pass does the same. If a
/// concatenation read every step for each element, the cost would be quadratic in the number of steps.
#[test]
fn a_sequence_costs_what_its_length_does() {
    for storage_buffers in [8, 32] {
        let limits = Limits { storage_buffers, ..Limits::webgpu() };
        let device = Device::null(limits.clone());
        let gru = GRU::new(2, 2, &device);
        let loads = [20, 40, 80].map(|time| {
            let x = Tensor::zeros([1, time, 2], &device).requires_grad();
            let loss = gru.forward(&x, None).0.square().mean();
            let leaves: Vec<Tensor> = gru.params().iter().map(|param| param.tensor()).chain([x]).collect();
            let gradients = grad(&loss, &leaves.iter().collect::<Vec<_>>(), false);
            let gradients: Vec<Tensor> = gradients.into_iter().flatten().collect();
            loads(&gradients, &limits)
        });
        let [first, second] = [loads[1] - loads[0], loads[2] - loads[1]];
        assert!(2 * second < 5 * first, "{loads:?} elements for 20, 40 and 80 steps");
    }
}
