//! Training steps and kernels of known size: what a step costs, and what of it is the host's.
//!
//! `cargo bench --bench workloads [-- W1-512 W2 W3 W5]`. Every workload warms up first, then runs regions that end with
//! the result read back, in turn with the others, and reports the median of the regions. `benches/README.md` keeps the
//! record.

use std::time::{Duration, Instant};

use wgrad::nn::{Linear, Module, ReLU, Sequential, Visitor};
use wgrad::optim::{Adam, Optimizer, SGD};
use wgrad::{Conv, Device, Pool2d, Tensor, Var};

const REGIONS: usize = 7;

struct Workload {
    name: &'static str,
    unit: &'static str,
    /// Steps in a region.
    steps: usize,
    /// From seconds a step to the unit.
    value: fn(f64) -> f64,
    /// Runs so many steps and waits; the time of the host's part.
    run: Box<dyn FnMut(usize) -> Duration>,
}

fn main() -> Result<(), wgrad::Error> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let device = Device::gpu()?;
    println!("{device}");
    let mut workloads: Vec<Workload> = vec![
        matmul("W1-256", 256, |s| 2.0 * 256f64.powi(3) / s / 1e9, &device),
        matmul("W1-512", 512, |s| 2.0 * 512f64.powi(3) / s / 1e9, &device),
        matmul("W1-1024", 1024, |s| 2.0 * 1024f64.powi(3) / s / 1e9, &device),
        mlp("W2", &[784, 512, 256, 10], 128, 20, &device, |params| {
            Box::new(SGD::new(params, 0.01).momentum(0.9))
        }),
        mlp("W3", &[64, 128, 10], 32, 100, &device, |params| Box::new(Adam::new(params, 1e-3))),
        training("W5", Cnn::new(&device), &[64, 1, 28, 28], 10, &device, |params| {
            Box::new(SGD::new(params, 0.01))
        }),
    ];
    workloads.retain(|workload| wanted.is_empty() || wanted.iter().any(|name| name == workload.name));
    for workload in &mut workloads {
        let (start, kernels) = (Instant::now(), device.counters().kernels);
        (workload.run)(1);
        let kernels = device.counters().kernels - kernels;
        println!("{:8} first step {:.3} s, {kernels} kernels", workload.name, start.elapsed().as_secs_f64());
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
            "{:8} {:10.2} {}, {:9.1} us a step, {:7.1} us of it on the host",
            workload.name,
            (workload.value)(step),
            workload.unit,
            1e6 * step,
            1e6 * host / workload.steps as f64,
        );
    }
    Ok(())
}

/// `n` times the same product of two square matrices.
fn matmul(name: &'static str, n: usize, value: fn(f64) -> f64, device: &Device) -> Workload {
    let (a, b) = (Tensor::randn([n, n], device), Tensor::randn([n, n], device));
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
    Workload { name, unit: "GFLOP/s", steps: ((1 << 28) / (n * n * n)).max(1), value, run: Box::new(run) }
}

/// Training steps of a ReLU network on one batch.
fn mlp(
    name: &'static str,
    sizes: &[usize],
    batch: usize,
    steps: usize,
    device: &Device,
    optimizer: impl FnOnce(Vec<Var>) -> Box<dyn Optimizer>,
) -> Workload {
    let mut model = Sequential::new();
    for (i, pair) in sizes.windows(2).enumerate() {
        model = if i > 0 { model.add(ReLU) } else { model };
        model = model.add(Linear::new(pair[0], pair[1], device));
    }
    training(name, model, &[batch, sizes[0]], steps, device, optimizer)
}

/// Two convolutions with ReLU and pools, and a linear layer.
struct Cnn {
    convs: [(Var, Var); 2],
    linear: Linear,
}

impl Cnn {
    fn new(device: &Device) -> Cnn {
        let conv = |inputs: usize, outputs: usize| {
            let weight = Tensor::randn([outputs, inputs, 3, 3], device) * (1.0 / (9 * inputs) as f64).sqrt();
            (Var::parameter(weight), Var::parameter(Tensor::zeros([outputs], device)))
        };
        Cnn { convs: [conv(1, 16), conv(16, 32)], linear: Linear::new(1568, 10, device) }
    }
}

impl Module for Cnn {
    fn forward(&self, x: &Tensor) -> Tensor {
        let conv = Conv { padding: [1, 1], ..Conv::default() };
        let features = self.convs.iter().fold(x.clone(), |x, (weight, bias)| {
            let maps = x.conv2d(&weight.tensor(), Some(&bias.tensor()), conv);
            maps.relu().max_pool2d(Pool2d::new([2, 2]))
        });
        self.linear.forward(&features.flatten(1, -1))
    }

    fn visit(&self, visitor: &mut Visitor) {
        for (name, (weight, bias)) in ["conv0", "conv1"].into_iter().zip(&self.convs) {
            visitor.var(&format!("{name}.weight"), weight);
            visitor.var(&format!("{name}.bias"), bias);
        }
        visitor.module("linear", &self.linear);
    }
}

/// Training steps of a model with 10 classes on one batch.
fn training(
    name: &'static str,
    model: impl Module + 'static,
    input: &[usize],
    steps: usize,
    device: &Device,
    optimizer: impl FnOnce(Vec<Var>) -> Box<dyn Optimizer>,
) -> Workload {
    let x = Tensor::randn(input, device);
    let labels: Vec<i32> = (0..input[0] as i32).map(|i| i % 10).collect();
    let labels = Tensor::new(labels, [input[0]], device);
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
    Workload { name, unit: "steps/s", steps, value: |s| 1.0 / s, run: Box::new(run) }
}
