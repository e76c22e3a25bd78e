//! Single kernels against their variants, on one adapter: `cargo bench --bench kernels`.
//!
//! The adapter passes for another kind, or does without subgroups, and so gets that kind's kernels. The control is a
//! kernel that every device has in common: if it moves, the machine did.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgrad::{AdapterKind, Device, GpuOptions, Tensor};

fn devices() -> [(&'static str, Device); 4] {
    let open = |options: GpuOptions| Device::gpu_with(&options).expect("there is an adapter");
    let of = |kind| open(GpuOptions { kind: Some(kind), ..GpuOptions::default() });
    [
        ("software", of(AdapterKind::Software)),
        ("software without subgroups", open(GpuOptions { restricted: true, ..GpuOptions::default() })),
        ("integrated", of(AdapterKind::Integrated)),
        ("discrete", of(AdapterKind::Discrete)),
    ]
}

fn drawn(shape: [usize; 2], device: &Device) -> Tensor {
    Tensor::randn(shape, device).realize().expect("the device works").clone()
}

fn run(result: &Tensor) {
    black_box(result.realize().expect("the device works").narrow(0, 0, 1).narrow(1, 0, 1).item())
        .expect("the device works");
}

fn products(criterion: &mut Criterion) {
    for [m, n, k] in [[256, 256, 256], [128, 512, 784], [1, 1024, 1024]] {
        let mut group = criterion.benchmark_group(format!("matmul {m} x {n} x {k}"));
        group.sample_size(20).throughput(Throughput::Elements(2 * (m * n * k) as u64));
        for (name, device) in devices() {
            let (a, b, turned) = (drawn([m, k], &device), drawn([k, n], &device), drawn([n, k], &device));
            group.bench_function(format!("{name}, NN"), |bencher| bencher.iter(|| run(&a.matmul(&b))));
            group.bench_function(format!("{name}, NT"), |bencher| {
                bencher.iter(|| run(&a.matmul(&turned.t())))
            });
            group.bench_function(format!("{name}, control"), |bencher| bencher.iter(|| run(&(&a * 2.0))));
        }
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
