//! The kernels of every fused operation against its decomposition, at the sizes of its samples: outputs, gradients,
//! second order on the adapter as it is; outputs (the gradients' kernels among them) at WebGPU's default limits, and with
//! the kernels that real GPUs get.

use wgrad::{AdapterKind, Device, Generator, GpuOptions, Tensor};

use super::common::gpu;
use crate::autograd::check_fused::check_shared;
use crate::ops::{Draw, samples};

fn draw(input: &Draw, seed: u64, device: &Device) -> Tensor {
    let mut generator = Generator::new(seed);
    match input {
        Draw::Floats(shape, range) => {
            let drawn = generator.uniform(shape.numel()).into_iter();
            let data: Vec<f32> = drawn.map(|x| range.start + x * (range.end - range.start)).collect();
            Tensor::new(data, shape, device)
        }
        Draw::Bools(shape) => {
            let data: Vec<bool> = generator.uniform(shape.numel()).iter().map(|&x| x < 0.67).collect();
            Tensor::new(data, shape, device)
        }
        Draw::Below(shape, n) => {
            let drawn = generator.uniform(shape.numel()).into_iter();
            let data: Vec<i32> = drawn.map(|x| (f64::from(x) * *n as f64) as i32).collect();
            Tensor::new(data, shape, device)
        }
    }
}

fn every_operation_on(device: &Device, differentiated: bool) {
    for sample in samples() {
        // What is a gradient itself is differentiated with its operation.
        let differentiated = differentiated && !sample.op.name().ends_with("_backward");
        let inputs: Vec<Tensor> =
            sample.inputs.iter().zip(1..).map(|(input, seed)| draw(input, seed, device)).collect();
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let shapes: Vec<String> = inputs.iter().map(|x| x.to_string()).collect();
        if let Err(mismatch) = check_shared(&sample.op, &inputs, sample.tolerance, differentiated) {
            panic!("of {} on {device}: {}", shapes.join(", "), mismatch.0);
        }
    }
}

#[test]
fn every_operation_is_its_decomposition() {
    every_operation_on(&gpu(), true);
}

#[test]
fn every_operation_is_its_decomposition_at_the_default_limits() {
    every_operation_on(
        &Device::gpu_with(&GpuOptions { restricted: true, ..GpuOptions::default() }).unwrap(),
        false,
    );
}

#[test]
fn every_operation_is_its_decomposition_with_the_kernels_for_gpus() {
    let kind = Some(AdapterKind::Discrete);
    every_operation_on(&Device::gpu_with(&GpuOptions { kind, ..GpuOptions::default() }).unwrap(), false);
}

/// Else the tests above would compare a decomposition with itself.
#[test]
fn every_operation_has_kernels_for_its_samples() {
    let mut limits = wgrad::Limits::webgpu();
    for kind in [AdapterKind::Software, AdapterKind::Integrated, AdapterKind::Discrete] {
        limits.kind = kind;
        for sample in samples() {
            let launches = super::shaders::launches(&sample, &limits);
            assert!(launches.is_some(), "{} on an adapter that is {kind:?}", sample.op.name());
        }
    }
}
