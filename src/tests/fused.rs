//! Compares the kernels of every fused operation with its decomposition on its samples. With the adapter's own limits,
//! the tests compare outputs, gradients and second-order gradients. With WebGPU's default limits, and with the kernels
//! for real GPUs, they compare outputs, including the outputs of gradient kernels.

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
        // A gradient operation is differentiated in the test of its forward operation.
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

/// Tests queries that attend to no key, with a mask of either kind, and a query that is NaN. There are more rows and
/// keys than in a tile.
#[test]
fn attention_by_the_kernels_for_gpus_of_hidden_keys_and_nans() {
    let kind = Some(AdapterKind::Discrete);
    let gpu = Device::gpu_with(&GpuOptions { kind, ..GpuOptions::default() }).unwrap();
    let (queries, keys, width) = (70, 67, 8);
    let is_seen = |i: usize| i / keys != 1 && !(i / keys + i % keys).is_multiple_of(3);
    let seen: Vec<bool> = (0..queries * keys).map(is_seen).collect();
    let added: Vec<f32> = seen.iter().map(|&seen| if seen { 0.0 } else { f32::NEG_INFINITY }).collect();
    let nan_at = 68 * width; // query 68
    let run = |device: &Device, by_number: bool, has_nan: bool| {
        let shapes = [[1, queries, width], [1, keys, width], [1, keys, width]];
        let [mut q, k, v] = [0, 1, 2].map(|i| {
            let input = Draw::Floats(shapes[i].into(), -1.0..1.0);
            draw(&input, i as u64, &Device::cpu()).to_vec::<f32>().unwrap()
        });
        if has_nan {
            q[nan_at] = f32::NAN;
        }
        let [q, k, v] = [(q, shapes[0]), (k, shapes[1]), (v, shapes[2])]
            .map(|(data, shape)| Tensor::new(data, shape, device).requires_grad());
        let mask = match by_number {
            true => Tensor::new(&added, [queries, keys], device),
            false => Tensor::new(&seen, [queries, keys], device),
        };
        let out = q.scaled_dot_product_attention(&k, &v, Some(&mask), false, None);
        out.square().sum().backward();
        [out, q.grad().unwrap(), k.grad().unwrap(), v.grad().unwrap()].map(|x| x.to_vec::<f32>().unwrap())
    };
    for (by_number, has_nan) in [(false, false), (true, false), (false, true), (true, true)] {
        let [got, want] = [&gpu, &Device::cpu()].map(|device| run(device, by_number, has_nan));
        for (x, y) in got.iter().flatten().zip(want.iter().flatten()) {
            assert!((x - y).abs() < 1e-5 || x.is_nan() && y.is_nan(), "{x} instead of {y}");
        }
        assert!(got[0][width..2 * width].iter().all(|&x| x == 0.0), "query 1 sees no key");
        assert_eq!(got[0][nan_at].is_nan(), has_nan);
    }
}

/// Without kernels, the tests above would compare a decomposition with itself.
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
