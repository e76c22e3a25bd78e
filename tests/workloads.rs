//! The number of dispatches of a training step of each workload of the benchmarks, counted on the null device.

#[path = "../benches/workloads/cases.rs"]
#[allow(dead_code)] // the benchmarks use the rest
mod cases;

use std::sync::{Mutex, PoisonError};

use wgrad::nn::{Linear, Module};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{AdapterKind, Device, GpuOptions, Limits, Tensor};

/// Dispatches of one unit of work after warm-up. The loss is held, as in a loop that prints it now and then.
fn dispatches(name: &str, kind: AdapterKind, storage_buffers: u32) -> usize {
    let device = Device::null(Limits { kind, storage_buffers, ..Limits::webgpu() });
    let mut unit = cases::unit(name, &device);
    let mut last = unit();
    for _ in 0..3 {
        last = unit();
    }
    let before = device.counters();
    let next = unit();
    let after = device.counters();
    assert_eq!(after.plans, before.plans, "{name}: a step like the last one was planned anew");
    drop((last, next));
    after.kernels - before.kernels
}

#[test]
fn dispatches_of_a_step() {
    let bounds = [("W2", 13), ("W3", 9), ("W4", 110), ("W5", 23), ("W6", 2), ("W7", 3), ("W8", 4)];
    // Clipped gradients are materialized, so their updates are not epilogues of the products.
    let clipped = [("W3-clipped", 16), ("W4-clipped", 139)];
    let mut over = Vec::new();
    for (name, bound) in bounds.into_iter().chain(clipped) {
        for kind in [AdapterKind::Discrete, AdapterKind::Software] {
            let (many, few) = (dispatches(name, kind, 32), dispatches(name, kind, 8));
            println!(
                "{name} on {kind:?}: {many} dispatches with 32 storage buffers, {few} with 8; at most {bound}"
            );
            if many > bound {
                over.push(format!("{name} on {kind:?}: {many} > {bound}"));
            }
        }
    }
    assert!(over.is_empty(), "{}", over.join("; "));
}

/// Locked by tests that use the device, so that the process's memory is that of one test.
static ALONE: Mutex<()> = Mutex::new(());

/// The counters that a step must not change after warm-up.
fn made(device: &Device) -> [usize; 4] {
    let counters = device.counters();
    [counters.buffers, counters.bind_groups, counters.pipelines, counters.plans]
}

/// Resident memory of this process in bytes, if the system reports it.
fn resident() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split_whitespace().nth(1)?.parse::<usize>().ok()? * 4096)
}

/// Steps as users run them, with fusion: with one kernel per node there are more sets of buffers than cached bind groups.
fn fused() -> Device {
    Device::gpu_with(&GpuOptions { fuse: true, ..GpuOptions::default() }).unwrap()
}

/// W3 is repeated: it creates no buffer, bind group, pipeline or plan, and takes no host memory.
#[test]
fn ten_thousand_steps_create_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let device = fused();
    let mut unit = cases::unit("W3", &device);
    let mut steps = |n: usize| (0..n).for_each(|_| drop(unit()));
    steps(20);
    let before = made(&device);
    // First the allocators' pools fill up.
    steps(1000);
    let (start, host) = (resident(), device.counters().host);
    steps(9000);
    println!("{:?} of the host's a step, the graph's building apart", (device.counters().host - host) / 9000);
    assert_eq!(made(&device), before, "buffers, bind groups, pipelines, plans");
    if let (Some(start), Some(end)) = (start, resident()) {
        assert!(end < start + (1 << 20), "{start} bytes resident, and {end} after 9,000 more steps");
    }
}

/// Batches of three sizes in turn, with every seventh loss held: memory is bounded by the held values.
#[test]
fn batches_of_several_sizes_keep_little() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let device = fused();
    let (first, last) = (Linear::new(64, 32, &device), Linear::new(32, 10, &device));
    let mut optimizer = Adam::new([first.params(), last.params()].concat(), 1e-3);
    let batches = [32, 17, 50].map(|rows| {
        let labels: Vec<i32> = (0..rows).map(|i| i % 10).collect();
        (Tensor::rand([rows as i64, 64], &device).detach(), Tensor::new(labels, [rows as i64], &device))
    });
    let mut held = Vec::new();
    let mut steps = |n: usize| {
        for step in 0..n {
            let (x, y) = &batches[step % 3];
            let loss = last.forward(&first.forward(x).relu()).cross_entropy(y);
            loss.backward();
            optimizer.step();
            if step % 7 == 0 {
                held.push(loss);
            }
        }
    };
    steps(210);
    let [buffers, groups, pipelines, plans] = made(&device);
    steps(2100);
    let [more_buffers, more_groups, more_pipelines, more_plans] = made(&device);
    assert_eq!((more_pipelines, more_plans), (pipelines, plans));
    // 300 losses more are held; nothing else is new, and a kernel that writes losses has as many bind groups.
    assert!(more_buffers <= buffers + 300, "{buffers} buffers, then {more_buffers}");
    assert!(more_groups <= groups + 2 * 300, "{groups} bind groups, then {more_groups}");
}

/// The predictions of plans bound the memory of tensors, and the pool exceeds it only by rounding to size classes.
#[test]
fn memory_stays_within_the_prediction() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let null = || Device::null(Limits { storage_buffers: 32, ..Limits::webgpu() });
    for name in ["W2", "W4", "W5"] {
        for device in [null(), Device::gpu_with(&GpuOptions::default()).unwrap()] {
            let mut unit = cases::unit(name, &device);
            (0..2).for_each(|_| drop(unit()));
            let memory = device.memory();
            println!("{name} on {device}: {memory}");
            assert!(memory.peak <= memory.predicted, "{name} on {device}: {memory:?}");
            assert!(memory.predicted <= memory.peak * 11 / 10, "and says no more than is so: {memory}");
            let classes = memory.predicted * 5 / 4 + 256 * device.counters().buffers as u64;
            assert!(memory.pooled() <= classes, "{name} on {device}: {memory}");
        }
    }
}
