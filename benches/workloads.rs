//! Training steps and kernels of known size: what a step costs, and what of it is the host's.
//!
//! `cargo bench --bench workloads [-- W1-512 W2 W3]`. Every workload warms up first, then runs regions that end with
//! the result read back, in turn with the others, and reports the median of the regions. `benches/README.md` keeps the
//! record.

use std::time::{Duration, Instant};

use wgrad::nn::{Linear, Module, ReLU, Sequential};
use wgrad::optim::{Adam, Optimizer, SGD};
use wgrad::{Device, Tensor};

const REGIONS: usize = 7;

struct Workload {
    name: &'static str,
    unit: &'static str,
    /// Steps in a region.
    steps: usize,
    /// From seconds a step to the unit.
    value: Box<dyn Fn(f64) -> f64>,
    /// Runs so many steps and waits; the time of the host's part.
    run: Box<dyn FnMut(usize) -> Duration>,
}

fn main() -> Result<(), wgrad::Error> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let device = Device::gpu()?;
    println!("{device}");
    let mut workloads: Vec<Workload> = vec![
        matmul("W1-256", [256; 3], &device),
        matmul("W1-512", [512; 3], &device),
        matmul("W1-512-NT", [512; 3], &device),
        matmul("W1-512-TN", [512; 3], &device),
        matmul("W1-1024", [1024; 3], &device),
        matmul("W1-1024-NT", [1024; 3], &device),
        matmul("W1-1024-TN", [1024; 3], &device),
        // The largest layer of W2: forward, and the gradients of its weight and of its input.
        matmul("W2-layer-NT", [128, 512, 784], &device),
        matmul("W2-layer-TN", [784, 512, 128], &device),
        matmul("W2-layer", [128, 784, 512], &device),
        // The same of W4.
        matmul("W4-layer-NT", [512, 512, 128], &device),
        matmul("W4-layer-TN", [128, 512, 512], &device),
        matmul("W4-layer", [512, 128, 512], &device),
        mlp("W2", &[784, 512, 256, 10], 128, 20, &device, |params| {
            Box::new(SGD::new(params, 0.01).momentum(0.9))
        }),
        mlp("W3", &[64, 128, 10], 32, 100, &device, |params| Box::new(Adam::new(params, 1e-3))),
    ];
    workloads.retain(|workload| wanted.is_empty() || wanted.iter().any(|name| name == workload.name));
    for workload in &mut workloads {
        let (start, kernels) = (Instant::now(), device.counters().kernels);
        (workload.run)(1);
        let kernels = device.counters().kernels - kernels;
        println!("{:11} first step {:.3} s, {kernels} kernels", workload.name, start.elapsed().as_secs_f64());
        (workload.run)(workload.steps);
    }
    let mut times = vec![Vec::new(); workloads.len()];
    for _ in 0..REGIONS {
        for (workload, times) in workloads.iter_mut().zip(&mut times) {
            let start = Instant::now();
            let host = (workload.run)(workload.steps);
            times.push((start.elapsed().as_secs_f64(), host.as_secs_f64()));
        }
    }
    for (workload, times) in workloads.iter().zip(&mut times) {
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (all, host) = times[REGIONS / 2];
        let step = all / workload.steps as f64;
        println!(
            "{:11} {:10.2} {}, {:9.1} us a step, {:7.1} us of it on the host",
            workload.name,
            (workload.value)(step),
            workload.unit,
            1e6 * step,
            1e6 * host / workload.steps as f64,
        );
    }
    Ok(())
}

/// The same product of `[m, k]` and `[k, n]` again and again. A name that ends in NT or TN has an operand that lies
/// transposed in memory.
fn matmul(name: &'static str, [m, n, k]: [usize; 3], device: &Device) -> Workload {
    let matrix = |rows: usize, cols: usize, turned: bool| {
        let shape = if turned { [cols, rows] } else { [rows, cols] };
        let laid = Tensor::randn(shape, device).realize().expect("the device works").clone();
        if turned { laid.t() } else { laid }
    };
    let (a, b) = (matrix(m, k, name.ends_with("-TN")), matrix(k, n, name.ends_with("-NT")));
    let run = move |steps: usize| {
        let start = Instant::now();
        let products: Vec<Tensor> = (0..steps).map(|_| a.matmul(&b)).collect();
        for product in &products {
            product.realize().expect("the device works");
        }
        let host = start.elapsed();
        products[steps - 1].narrow(0, 0, 1).narrow(1, 0, 1).item().expect("the device works");
        host
    };
    let operations = 2.0 * (m * n * k) as f64;
    let value = Box::new(move |seconds| operations / seconds / 1e9);
    Workload { name, unit: "GFLOP/s", steps: ((1 << 28) / (m * n * k)).max(1), value, run: Box::new(run) }
}

/// Training steps of a ReLU network on one batch.
fn mlp(
    name: &'static str,
    sizes: &[usize],
    batch: usize,
    steps: usize,
    device: &Device,
    optimizer: impl FnOnce(Vec<wgrad::Var>) -> Box<dyn Optimizer>,
) -> Workload {
    let mut model = Sequential::new();
    for (i, pair) in sizes.windows(2).enumerate() {
        model = if i > 0 { model.add(ReLU) } else { model };
        model = model.add(Linear::new(pair[0], pair[1], device));
    }
    let x = Tensor::randn([batch, sizes[0]], device);
    let classes = sizes[sizes.len() - 1] as i32;
    let labels = Tensor::new((0..batch as i32).map(|i| i % classes).collect::<Vec<_>>(), [batch], device);
    let mut optimizer = optimizer(model.params());
    let run = move |steps: usize| {
        let start = Instant::now();
        let mut last = None;
        for _ in 0..steps {
            let loss = model.forward(&x).cross_entropy(&labels);
            loss.backward();
            optimizer.step();
            last = Some(loss);
        }
        let host = start.elapsed();
        last.expect("at least one step").item().expect("the device works");
        host
    };
    Workload { name, unit: "steps/s", steps, value: Box::new(|s| 1.0 / s), run: Box::new(run) }
}
