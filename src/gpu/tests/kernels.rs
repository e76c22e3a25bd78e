//! Three small kernels, and helpers to run them.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::gpu::{Access, Dispatch, Gpu, GpuBuffer, Options, Pipeline, Shader};

pub fn gpu() -> Arc<Gpu> {
    Gpu::new(Options::default()).expect("an adapter")
}

/// Computes `result[i] = source[i] * scale + shift`, with the floats `scale` and `shift` from the uniform block.
pub fn affine() -> Shader {
    Shader {
        label: "affine".into(),
        source: "
            struct Params { count: u32, scale: f32, shift: f32 }
            @group(0) @binding(0) var<uniform> params: Params;
            @group(0) @binding(1) var<storage, read> source: array<f32>;
            @group(0) @binding(2) var<storage, read_write> result: array<f32>;
            override group: u32 = 1;
            @compute @workgroup_size(group)
            fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                if id.x < params.count { result[id.x] = source[id.x] * params.scale + params.shift; }
            }"
        .into(),
        constants: vec![("group".into(), 64.0)],
        bindings: vec![Access::Read, Access::ReadWrite],
        faults: false,
        trusted: true,
    }
}

/// Computes `sum[i] = a[i] + b[i]`.
pub fn add() -> Shader {
    Shader {
        label: "add".into(),
        source: "
            struct Params { count: u32 }
            @group(0) @binding(0) var<uniform> params: Params;
            @group(0) @binding(1) var<storage, read> a: array<f32>;
            @group(0) @binding(2) var<storage, read> b: array<f32>;
            @group(0) @binding(3) var<storage, read_write> sum: array<f32>;
            @compute @workgroup_size(64)
            fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                if id.x < params.count { sum[id.x] = a[id.x] + b[id.x]; }
            }"
        .into(),
        constants: vec![],
        bindings: vec![Access::Read, Access::Read, Access::ReadWrite],
        faults: false,
        trusted: true,
    }
}

/// Computes `result[i] = source[index]`, or reports a fault.
pub fn gather() -> Shader {
    Shader {
        label: "gather".into(),
        source: "
            struct Params { count: u32, index: u32, site: u32 }
            @group(0) @binding(0) var<uniform> params: Params;
            @group(0) @binding(1) var<storage, read> source: array<f32>;
            @group(0) @binding(2) var<storage, read_write> result: array<f32>;
            @group(0) @binding(3) var<storage, read_write> fault: atomic<u32>;
            @compute @workgroup_size(64)
            fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                if id.x >= params.count { return; }
                if params.index >= params.count { atomicMin(&fault, params.site); return; }
                result[id.x] = source[params.index];
            }"
        .into(),
        constants: vec![],
        bindings: vec![Access::Read, Access::ReadWrite],
        faults: true,
        trusted: true,
    }
}

pub fn pipeline(gpu: &Gpu, shader: Shader) -> Arc<Pipeline> {
    gpu.pipelines(&[shader]).expect("a pipeline").remove(0)
}

/// Returns a dispatch over up to 64 elements, with uniform block number `block` of the run.
pub fn dispatch(gpu: &Gpu, pipeline: &Arc<Pipeline>, buffers: &[u32], block: u32) -> Dispatch {
    Dispatch {
        pipeline: Arc::clone(pipeline),
        buffers: buffers.into(),
        uniform: block * gpu.limits().uniform_alignment,
        uniform_bytes: 16,
        workgroups: [1, 1, 1],
        work: 64,
    }
}

/// Lays out the uniforms of a run: one block per dispatch.
pub fn blocks(gpu: &Gpu, blocks: &[[u32; 3]]) -> Vec<u32> {
    let words = gpu.limits().uniform_alignment as usize / 4;
    let mut all = vec![0; words * blocks.len()];
    for (place, block) in all.chunks_mut(words).zip(blocks) {
        place[..3].copy_from_slice(block);
    }
    all
}

pub fn upload(gpu: &Gpu, values: &[f32]) -> GpuBuffer {
    gpu.upload(bytemuck::cast_slice(values)).expect("an upload")
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(bytes)
}

pub fn download(gpu: &Gpu, buffer: &GpuBuffer, count: usize) -> Vec<f32> {
    floats(&gpu.read_blocking(buffer, 4 * count as u64).expect("a read"))
}

/// Polls a future once, and drops it.
pub fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
