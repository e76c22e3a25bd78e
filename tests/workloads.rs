//! Ring 3: dispatches a training step of each workload of the benchmarks, counted on a device that computes nothing.

#[path = "../benches/workloads/cases.rs"]
#[allow(dead_code)] // the benchmarks use the rest
mod cases;

use wgrad::{AdapterKind, Device, Limits};

/// Dispatches of one unit once all is warm. The loss is held, as a loop that prints it now and then does.
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
    // The aim is 130 for W4.
    let bounds = [("W2", 14), ("W3", 10), ("W4", 155), ("W5", 26), ("W6", 4), ("W7", 3), ("W8", 5)];
    let mut over = Vec::new();
    for (name, bound) in bounds {
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
