//! Kernels run in order with their own uniforms, and a repeated step allocates nothing.

use super::kernels::*;
use crate::gpu::{Gpu, Options};

#[test]
fn a_dispatch_reads_what_the_previous_one_wrote() {
    let gpu = gpu();
    let kernels = gpu.pipelines(&[add(), affine(), add()]).unwrap();
    assert_eq!(gpu.stats().pipelines, 2, "the same shader is compiled once");
    let a = upload(&gpu, &[1.0, 2.0, 3.0]);
    let b = upload(&gpu, &[10.0, 20.0, 30.0]);
    let (sum, twice) = (gpu.allocate(12).unwrap(), gpu.allocate(12).unwrap());
    let steps = [dispatch(&gpu, &kernels[0], &[0, 1, 2], 0), dispatch(&gpu, &kernels[2], &[2, 2, 3], 0)];
    let uniforms = blocks(&gpu, &[[3, 0, 0]]);
    gpu.run(&steps, &[&a, &b, &sum, &twice], &uniforms).unwrap();
    assert_eq!(download(&gpu, &twice, 3), [22.0, 44.0, 66.0]);
    assert_eq!(download(&gpu, &sum, 3), [11.0, 22.0, 33.0]);
}

/// Computes `x <- x / 2 + 1` with temporary buffers that are dropped in a different order than they are allocated.
fn halve(gpu: &Gpu, x: &crate::gpu::GpuBuffer) -> crate::gpu::GpuBuffer {
    let affine = pipeline(gpu, affine());
    let add = pipeline(gpu, add());
    let quarter = gpu.allocate(256).unwrap();
    let half = gpu.allocate(256).unwrap();
    let next = gpu.allocate(256).unwrap();
    let steps = [
        dispatch(gpu, &affine, &[0, 1], 0),
        dispatch(gpu, &add, &[1, 1, 2], 1),
        dispatch(gpu, &affine, &[2, 3], 2),
    ];
    let uniforms =
        blocks(gpu, &[[64, 0.25_f32.to_bits(), 0], [64, 0, 0], [64, 1.0_f32.to_bits(), 1.0_f32.to_bits()]]);
    gpu.run(&steps, &[x, &quarter, &half, &next], &uniforms).unwrap();
    drop(quarter);
    drop(half);
    next
}

#[test]
fn ten_thousand_steps_allocate_nothing() {
    let gpu = gpu();
    let mut x = upload(&gpu, &[100.0; 64]);
    for _ in 0..4 {
        x = halve(&gpu, &x);
    }
    let warm = gpu.stats();
    for _ in 0..10_000 {
        x = halve(&gpu, &x);
    }
    let after = gpu.stats();
    assert_eq!(download(&gpu, &x, 64), [2.0; 64]);
    assert_eq!(after.buffers_created, warm.buffers_created);
    assert_eq!(after.bind_groups_created, warm.bind_groups_created);
    assert_eq!(after.pipelines, warm.pipelines);
    assert_eq!(after.buffer_bytes_live, 256);
    assert_eq!(after.dispatches - warm.dispatches, 30_000);
    assert_eq!(after.submissions - warm.submissions, 10_000);
}

#[test]
fn runs_in_flight_keep_their_own_uniforms() {
    let gpu = gpu();
    let affine = pipeline(&gpu, affine());
    let x = upload(&gpu, &[1.0; 64]);
    let results: Vec<_> = (0..50).map(|_| gpu.allocate(256).unwrap()).collect();
    for (i, result) in results.iter().enumerate() {
        let uniforms = blocks(&gpu, &[[64, (i as f32).to_bits(), 0]]);
        let step = dispatch(&gpu, &affine, &[0, 1], 0);
        gpu.run(&[step], &[&x, result], &uniforms).unwrap();
    }
    let wanted: Vec<_> = results.iter().map(|result| (result, 256)).collect();
    let read = gpu.read_many_blocking(&wanted).unwrap();
    for (i, bytes) in read.iter().enumerate() {
        assert_eq!(floats(bytes), [i as f32; 64]);
    }
}

/// 2,000 blocks of uniforms exceed the initial uniform buffer, and 2,000 dispatches exceed one submission.
#[test]
fn a_long_run_grows_the_uniforms_and_is_split() {
    let gpu = gpu();
    let affine = pipeline(&gpu, affine());
    let ends = [upload(&gpu, &[0.0; 64]), gpu.allocate(256).unwrap()];
    let run = |count: u32| {
        let step = |i| dispatch(&gpu, &affine, &[i % 2, (i + 1) % 2], i);
        let steps: Vec<_> = (0..count).map(step).collect();
        let block = |i| [64, 1.0_f32.to_bits(), (i as f32).to_bits()];
        let uniforms = blocks(&gpu, &(0..count).map(block).collect::<Vec<_>>());
        gpu.run(&steps, &[&ends[0], &ends[1]], &uniforms).unwrap();
    };
    run(2);
    let before = gpu.stats().submissions;
    run(2_000);
    assert_eq!(gpu.stats().submissions - before, 2_000_u64.div_ceil(128));
    run(2);
    // The result is 1 + (0 + 1 + .. + 1999) + 1; all sums are exact in f32.
    assert_eq!(download(&gpu, &ends[0], 1), [2.0 + 1_999_000.0]);
}

#[test]
fn a_submission_is_bounded_by_its_work() {
    let gpu = gpu();
    let affine = pipeline(&gpu, affine());
    let ends = [upload(&gpu, &[0.0; 64]), gpu.allocate(256).unwrap()];
    let mut step = dispatch(&gpu, &affine, &[0, 1], 0);
    step.work = u64::MAX / 2;
    let uniforms = blocks(&gpu, &[[64, 0, 0]]);
    let before = gpu.stats().submissions;
    let steps = [step.clone(), step.clone(), step];
    gpu.run(&steps, &[&ends[0], &ends[1]], &uniforms).unwrap();
    assert_eq!(gpu.stats().submissions - before, 3);
}

#[test]
fn four_threads_share_a_device() {
    let gpu = gpu();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let gpu = &gpu;
            scope.spawn(move || {
                let affine = pipeline(gpu, affine());
                let mut x = upload(gpu, &[0.0; 64]);
                for i in 0..200_u32 {
                    let y = gpu.allocate(256).unwrap();
                    let shift = (thread * 1_000 + i) as f32;
                    let uniforms = blocks(gpu, &[[64, 1.0_f32.to_bits(), shift.to_bits()]]);
                    let step = dispatch(gpu, &affine, &[0, 1], 0);
                    gpu.run(&[step], &[&x, &y], &uniforms).unwrap();
                    x = y;
                    if i % 5 == 4 {
                        let sum = (0..=i).map(|i| (thread * 1_000 + i) as f32).sum::<f32>();
                        assert_eq!(download(gpu, &x, 64), [sum; 64]);
                    }
                }
            });
        }
    });
}

#[test]
fn everything_runs_under_the_limits_of_webgpu() {
    let gpu = Gpu::new(Options { restricted: true, checked: true, ..Options::default() }).unwrap();
    let mut limits = crate::core::limits::Limits::webgpu();
    limits.kind = gpu.limits().kind;
    limits.loop_iterations = gpu.limits().loop_iterations;
    assert_eq!(gpu.limits(), &limits);
    let x = upload(&gpu, &[100.0; 64]);
    assert_eq!(download(&gpu, &halve(&gpu, &x), 64), [51.0; 64]);
}

#[test]
fn a_dispatch_without_workgroups_is_skipped() {
    let gpu = gpu();
    let affine = pipeline(&gpu, affine());
    let (x, y) = (gpu.upload(&[]).unwrap(), gpu.allocate(0).unwrap());
    let mut nothing = dispatch(&gpu, &affine, &[0, 1], 0);
    nothing.workgroups = [0, 1, 1];
    gpu.run(&[nothing], &[&x, &y], &blocks(&gpu, &[[0; 3]])).unwrap();
    gpu.run(&[], &[], &[]).unwrap();
    assert!(gpu.read_blocking(&y, 0).unwrap().is_empty());
}
