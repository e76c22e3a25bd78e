//! Fused operations against the same in primitives: forward and backward, in turn, medians.
//!
//! `cargo bench --bench fused [-- softmax]`. The ratio is primitives to fused. `benches/README.md` keeps the record.

use std::time::Instant;

use wgrad::{Device, Tensor, Var, autograd};

const REGIONS: usize = 9;

struct Case {
    name: &'static str,
    fused: fn(&[Tensor]) -> Tensor,
    primitives: fn(&[Tensor]) -> Tensor,
    /// The inputs' shapes, for each size.
    sizes: &'static [&'static [&'static [usize]]],
}

const CASES: &[Case] = &[
    Case {
        name: "softmax",
        fused: |xs| xs[0].softmax(-1),
        primitives: |xs| softmax(&xs[0]),
        sizes: &[&[&[32, 10]], &[&[2048, 64]], &[&[4096, 1000]]],
    },
    Case {
        name: "layer_norm",
        fused: |xs| xs[0].layer_norm(xs[1].shape(), Some(&xs[1]), Some(&xs[2]), 1e-5),
        primitives: |xs| standardized(&xs[0]) * &xs[1] + &xs[2],
        sizes: &[
            &[&[32, 64], &[64], &[64]],
            &[&[512, 128], &[128], &[128]],
            &[&[8192, 1024], &[1024], &[1024]],
        ],
    },
    Case {
        name: "rms_norm",
        fused: |xs| xs[0].rms_norm(xs[1].shape(), Some(&xs[1]), 1e-5),
        primitives: |xs| &xs[0] * (xs[0].square().mean_dim(-1, true) + 1e-5).rsqrt() * &xs[1],
        sizes: &[&[&[512, 128], &[128]], &[&[4096, 1024], &[1024]]],
    },
    Case {
        name: "attention",
        fused: |xs| xs[0].scaled_dot_product_attention(&xs[1], &xs[2], None, true, None),
        primitives: |xs| attention(&xs[0], &xs[1], &xs[2]),
        sizes: &[
            &[&[8, 4, 64, 32], &[8, 4, 64, 32], &[8, 4, 64, 32]],
            &[&[1, 8, 256, 64], &[1, 8, 256, 64], &[1, 8, 256, 64]],
        ],
    },
];

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

fn main() -> Result<(), wgrad::Error> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let device = Device::gpu()?;
    println!("{device}");
    for case in CASES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == case.name) {
            for shapes in case.sizes {
                compare(case, shapes, &device)?;
            }
        }
    }
    Ok(())
}

fn compare(case: &Case, shapes: &[&[usize]], device: &Device) -> Result<(), wgrad::Error> {
    let inputs: Vec<Tensor> =
        shapes.iter().map(|&shape| Tensor::randn(shape, device).requires_grad()).collect();
    let gradients: Vec<Var> = inputs.iter().map(|x| Var::buffer(x.zeros_like())).collect();
    let seed = Tensor::randn((case.fused)(&inputs).shape(), device);
    let steps = ((1 << 22) / inputs.iter().map(Tensor::numel).sum::<usize>()).clamp(1, 50);
    // Seconds and kernels of a step.
    let region = |f: fn(&[Tensor]) -> Tensor| {
        let (start, kernels) = (Instant::now(), device.counters().kernels);
        for _ in 0..steps {
            let found = autograd::grad_with(&f(&inputs), &seed, &inputs.iter().collect::<Vec<_>>(), false);
            for (var, gradient) in gradients.iter().zip(found) {
                var.set(gradient.expect("it depends on every input"));
            }
            gradients[0].tensor().realize()?;
        }
        gradients[0].tensor().flatten(0, -1).narrow(0, 0, 1).item()?;
        let kernels = (device.counters().kernels - kernels) / steps;
        Ok::<_, wgrad::Error>((start.elapsed().as_secs_f64() / steps as f64, kernels))
    };
    let (mut times, mut kernels) = ([Vec::new(), Vec::new()], [0; 2]);
    for i in 0..=REGIONS {
        for (which, f) in [case.fused, case.primitives].into_iter().enumerate() {
            let (time, count) = region(f)?;
            kernels[which] = count;
            if i > 0 {
                times[which].push(time); // the first region warms up
            }
        }
    }
    let [fused, primitives] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[REGIONS / 2] * 1e6
    });
    let [few, many] = kernels;
    println!(
        "{:10} {shapes:?}: {fused:.0} us in {few} kernels, in primitives {primitives:.0} us in {many}: {:.2} times",
        case.name,
        primitives / fused
    );
    Ok(())
}
