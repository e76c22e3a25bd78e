//! Single kernels against their variants: `cargo bench --bench kernels [-- matmul conv ..]` runs the groups with these
//! prefixes.
//!
//! The cases of a group are measured in turn, and the medians of their regions are compared with that of the first. The last
//! case is the control, an unrelated kernel: if its time changes between runs, the machine has changed.
//! `benches/README.md` keeps the record.

use std::time::Instant;

use wgrad::{AdapterKind, ConvOptions, Device, Error, GpuOptions, PoolOptions, Tensor, Var, autograd};

const REGIONS: usize = 7;

/// Approximate seconds of a region.
const REGION: f64 = 0.03;

type Build = Box<dyn Fn() -> Vec<Tensor>>;
type Groups = Vec<(String, Vec<Case>)>;

struct Case {
    name: String,
    /// The tensors to compute in each unit.
    build: Build,
    /// Vars for the results, so that they are computed in one plan and each unit overwrites the previous results.
    places: Vec<Var>,
    /// Units in a region.
    units: usize,
    /// Milliseconds per unit, by region.
    times: Vec<f64>,
    /// Kernels of a unit.
    kernels: usize,
}

impl Case {
    fn new(name: impl Into<String>, build: Build) -> Case {
        let places = build().iter().map(|result| Var::buffer(result.zeros_like())).collect();
        Case { name: name.into(), build, places, units: 1, times: Vec::new(), kernels: 0 }
    }

    /// Compiles, and decides how many units a region has.
    fn warm_up(&mut self) -> Result<(), Error> {
        self.region()?;
        self.region()?;
        self.units = (1e3 * REGION / self.times[1]).clamp(1.0, 50.0) as usize;
        self.times.clear();
        Ok(())
    }

    fn region(&mut self) -> Result<(), Error> {
        let first = self.places[0].tensor();
        let (start, kernels) = (Instant::now(), first.device().counters().kernels);
        for _ in 0..self.units {
            for (place, result) in self.places.iter().zip((self.build)()) {
                place.set(result);
            }
            self.places[0].tensor().realize()?;
        }
        self.kernels = (first.device().counters().kernels - kernels) / self.units;
        self.places[0].tensor().flatten(0, -1).narrow(0, 0, 1).item()?;
        self.times.push(1e3 * start.elapsed().as_secs_f64() / self.units as f64);
        Ok(())
    }

    fn median(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }
}

fn main() -> Result<(), Error> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let device = Device::gpu()?;
    println!("{device}");
    let groups = [products(&device)?, reductions(&device), convolutions(&device), fused(&device)];
    for (name, mut cases) in groups.into_iter().flatten() {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| name.starts_with(wanted)) {
            continue;
        }
        let x = drawn(&[1 << 18], &device);
        cases.push(Case::new("control", Box::new(move || vec![&x * 2.0])));
        cases.iter_mut().try_for_each(Case::warm_up)?;
        for _ in 0..REGIONS {
            cases.iter_mut().try_for_each(Case::region)?;
        }
        println!("\n{name}");
        for case in &cases {
            let times = case.median() / cases[0].median();
            println!("  {:30} {:8.3} ms {times:6.2} in {:2} kernels", case.name, case.median(), case.kernels);
        }
    }
    Ok(())
}

fn drawn(shape: &[usize], device: &Device) -> Tensor {
    Tensor::randn(shape, device)
}

/// The value of a function.
fn value(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor + 'static) -> Build {
    let inputs = inputs.to_vec();
    Box::new(move || vec![f(&inputs)])
}

/// The gradients with respect to the inputs that `wanted` selects.
fn gradients(inputs: &[Tensor], wanted: &[usize], f: impl Fn(&[Tensor]) -> Tensor + 'static) -> Build {
    let inputs: Vec<Tensor> = inputs.iter().map(|x| x.detach().requires_grad()).collect();
    let (seed, wanted) = (drawn(f(&inputs).shape(), inputs[0].device()), wanted.to_vec());
    Box::new(move || {
        let wanted: Vec<&Tensor> = wanted.iter().map(|&i| &inputs[i]).collect();
        let found = autograd::grad_with(&f(&inputs), &seed, &wanted, false);
        found.into_iter().map(|gradient| gradient.expect("it depends on every input")).collect()
    })
}

/// Each layout with the kernel that is chosen for the adapter, and with those for other kinds of adapter.
fn products(own: &Device) -> Result<Groups, Error> {
    let open = |kind, restricted| {
        Device::gpu_with(&GpuOptions { kind: Some(kind), restricted, ..GpuOptions::default() })
    };
    let devices = [
        ("", own.clone()),
        (", as software, no subgroups", open(AdapterKind::Software, true)?),
        (", as integrated", open(AdapterKind::Integrated, false)?),
        (", as discrete", open(AdapterKind::Discrete, false)?),
    ];
    let mut cases = Vec::new();
    for (kind, device) in devices {
        let matrices = [(); 2].map(|()| drawn(&[512, 512], &device));
        let mut layout = |name, f: fn(&[Tensor]) -> Tensor| {
            cases.push(Case::new(format!("{name}{kind}"), value(&matrices, f)));
        };
        layout("NN", |xs| xs[0].matmul(&xs[1]));
        layout("NT", |xs| xs[0].matmul(&xs[1].t()));
        layout("TN", |xs| xs[0].t().matmul(&xs[1]));
    }
    Ok(vec![("matmul 512 x 512 x 512".into(), cases)])
}

fn reductions(device: &Device) -> Groups {
    let x = [drawn(&[2048, 1024], device)];
    let cases = vec![
        Case::new("sums of rows", value(&x, |xs| xs[0].sum_dim(1, false))),
        Case::new("sums of columns", value(&x, |xs| xs[0].sum_dim(0, false))),
        Case::new("sum", value(&x, |xs| xs[0].sum())),
        Case::new("largest of rows", value(&x, |xs| xs[0].amax(1, false))),
        Case::new("largest of columns", value(&x, |xs| xs[0].amax(0, false))),
    ];
    vec![("reduce [2048, 1024]".into(), cases)]
}

/// The gradients of a convolution compared with its value: each may take 1.5 times as long.
fn convolutions(device: &Device) -> Groups {
    let plain = ConvOptions { padding: [1, 1], ..ConvOptions::default() };
    let cases = [
        ([64, 1, 28, 28], [16, 1, 3, 3], plain),
        ([64, 16, 14, 14], [32, 16, 3, 3], plain),
        ([8, 64, 28, 28], [64, 64, 3, 3], plain),
        ([8, 64, 28, 28], [128, 64, 3, 3], ConvOptions { stride: [2, 2], ..plain }),
        ([8, 64, 28, 28], [64, 64, 1, 1], ConvOptions::default()),
        ([8, 64, 28, 28], [64, 1, 3, 3], ConvOptions { groups: 64, ..plain }),
        ([8, 3, 64, 64], [32, 3, 7, 7], ConvOptions { stride: [2, 2], padding: [3, 3], ..plain }),
    ];
    let mut groups = Vec::new();
    for (input, weight, conv) in cases {
        let inputs = [input, weight].map(|shape| drawn(&shape, device));
        let f = move |xs: &[Tensor]| xs[0].conv2d(&xs[1], None, conv);
        let cases = vec![
            Case::new("forward", value(&inputs, f)),
            Case::new("gradient of the data", gradients(&inputs, &[0], f)),
            Case::new("gradient of the weight", gradients(&inputs, &[1], f)),
        ];
        groups.push((format!("conv2d {input:?} by {weight:?}, stride {:?}", conv.stride), cases));
    }
    let x = [drawn(&[64, 16, 28, 28], device)];
    let f = |xs: &[Tensor]| xs[0].max_pool2d(PoolOptions::new([2, 2]));
    let cases =
        vec![Case::new("forward", value(&x, f)), Case::new("forward and backward", gradients(&x, &[0], f))];
    groups.push(("max_pool2d [64, 16, 28, 28] by [2, 2]".into(), cases));
    groups
}

/// Forward and backward.
fn fused(device: &Device) -> Groups {
    let mut groups = Vec::new();
    let mut compare = |shapes: &[&[usize]], name: &str, fused: fn(&[Tensor]) -> Tensor, primitives| {
        let inputs: Vec<Tensor> = shapes.iter().map(|shape| drawn(shape, device)).collect();
        let all: Vec<usize> = (0..inputs.len()).collect();
        let primitives: fn(&[Tensor]) -> Tensor = primitives;
        let cases = vec![
            Case::new("fused", gradients(&inputs, &all, fused)),
            Case::new("primitives", gradients(&inputs, &all, primitives)),
        ];
        groups.push((format!("{name} {:?}", shapes[0]), cases));
    };
    for shape in [[32, 10], [2048, 64], [4096, 1000]] {
        compare(&[&shape], "softmax", |xs| xs[0].softmax(-1), |xs| softmax(&xs[0]));
    }
    for [rows, width] in [[32, 64], [512, 128], [4096, 1024]] {
        compare(
            &[&[rows, width], &[width], &[width]],
            "layer_norm",
            |xs| xs[0].layer_norm(xs[1].shape(), Some(&xs[1]), Some(&xs[2]), 1e-5),
            |xs| standardized(&xs[0]) * &xs[1] + &xs[2],
        );
    }
    for [rows, width] in [[512, 128], [4096, 1024]] {
        compare(
            &[&[rows, width], &[width]],
            "rms_norm",
            |xs| xs[0].rms_norm(xs[1].shape(), Some(&xs[1]), 1e-5),
            |xs| &xs[0] * (xs[0].square().mean_dim(-1, true) + 1e-5).rsqrt() * &xs[1],
        );
    }
    for shape in [[8, 4, 64, 32], [1, 8, 256, 64]] {
        compare(
            &[&shape, &shape, &shape],
            "attention",
            |xs| xs[0].scaled_dot_product_attention(&xs[1], &xs[2], None, true, None),
            |xs| attention(&xs[0], &xs[1], &xs[2]),
        );
    }
    groups
}

fn softmax(x: &Tensor) -> Tensor {
    let exp = (x - x.amax(-1, true).detach()).exp();
    &exp / exp.sum_dim(-1, true)
}

fn standardized(x: &Tensor) -> Tensor {
    let centred = x - x.mean_dim(-1, true);
    &centred * (centred.square().mean_dim(-1, true) + 1e-5).rsqrt()
}

/// Causal.
fn attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    let scores = q.matmul(&k.transpose(-2, -1)) * (1.0 / (q.size(-1) as f64).sqrt());
    let later = Tensor::ones(&scores.shape()[2..], q.device()).triu(1).ne(0.0);
    let weights = later.where_(-1e30, &scores).softmax(-1);
    weights.matmul(v)
}
