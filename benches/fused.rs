//! Fused operations against the same in primitives: forward and backward, in turn, medians.
//!
//! `cargo bench --bench fused [-- softmax]`. The ratio is primitives to fused. `benches/README.md` keeps the record.

use std::time::Instant;

use wgrad::{Device, Tensor, autograd};

const REGIONS: usize = 9;

/// A function of the inputs: fused, and in primitives.
type Pair = [fn(&[Tensor]) -> Tensor; 2];

fn main() -> Result<(), wgrad::Error> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let device = Device::gpu()?;
    println!("{device}");
    let softmax: Pair = [|xs| xs[0].softmax(-1), |xs| softmax_in_primitives(&xs[0])];
    let cases: [(&str, Pair, &[&[&[usize]]]); 1] =
        [("softmax", softmax, &[&[&[32, 10]], &[&[2048, 64]], &[&[4096, 1000]]])];
    for (name, pair, sizes) in cases {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            for shapes in sizes {
                compare(name, pair, shapes, &device)?;
            }
        }
    }
    Ok(())
}

fn compare(name: &str, pair: Pair, shapes: &[&[usize]], device: &Device) -> Result<(), wgrad::Error> {
    let inputs: Vec<Tensor> =
        shapes.iter().map(|&shape| Tensor::randn(shape, device).requires_grad()).collect();
    for input in &inputs {
        input.realize()?;
    }
    let seed = Tensor::randn(pair[0](&inputs).shape(), device);
    let steps = ((1 << 24) / inputs.iter().map(Tensor::numel).sum::<usize>()).clamp(1, 50);
    let region = |f: fn(&[Tensor]) -> Tensor| {
        let (start, kernels) = (Instant::now(), device.counters().kernels);
        let mut last = None;
        for _ in 0..steps {
            let output = f(&inputs);
            let gradients = autograd::grad_with(&output, &seed, &inputs.iter().collect::<Vec<_>>(), false);
            for gradient in gradients.into_iter().flatten() {
                gradient.realize()?;
                last = Some(gradient);
            }
        }
        let last = last.expect("there is an input");
        last.flatten(0, -1).narrow(0, 0, 1).item()?;
        let kernels = (device.counters().kernels - kernels) / steps;
        Ok::<_, wgrad::Error>((start.elapsed().as_secs_f64() / steps as f64, kernels))
    };
    let mut times = [Vec::new(), Vec::new()];
    let mut kernels = [0; 2];
    for i in 0..=REGIONS {
        for (which, &f) in pair.iter().enumerate() {
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
    println!(
        "{name:10} {shapes:?}: {fused:.0} us in {} kernels, in primitives {primitives:.0} us in {}: {:.2} times",
        kernels[0],
        kernels[1],
        primitives / fused
    );
    Ok(())
}

fn softmax_in_primitives(x: &Tensor) -> Tensor {
    let exp = (x - x.amax(-1, true).detach()).exp();
    &exp / exp.sum_dim(-1, true)
}
