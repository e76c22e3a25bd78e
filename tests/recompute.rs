//! Recomputation of activations, accumulation of gradients, and watching values without a read.

mod common;

use common::{F32, F64, Host, gpu};
use wgrad::metrics::{Accuracy, FiniteCheck, Mean, Throughput};
use wgrad::optim::{AdamW, Optimizer, SGD};
use wgrad::{AdapterKind, Device, Error, GpuOptions, Limits, Tensor, Var, autograd, no_grad};

const WIDTH: usize = 16;

fn null() -> Device {
    Device::null(Limits { kind: AdapterKind::Discrete, storage_buffers: 32, ..Limits::webgpu() })
}

/// A block with all special cases: captured parameters, dropout, a detached part, a fused operation.
fn block(x: &Tensor, first: &Var, second: &Var) -> Tensor {
    let hidden = x.layer_norm([WIDTH], None, None, 1e-5).matmul(&first.tensor()).gelu();
    let hidden = hidden.dropout(0.2, true) * hidden.detach().sigmoid();
    x + hidden.matmul(&second.tensor()).softmax(-1)
}

struct Blocks {
    x: Tensor,
    weights: Vec<(Var, Var)>,
}

impl Blocks {
    fn new(count: usize, rows: usize, device: &Device) -> Blocks {
        let draw = |seed| Host::draw(seed, &[WIDTH, WIDTH], -0.5..0.5).tensor(device);
        let weight = |i| Var::parameter(draw(i as u64));
        Blocks {
            x: Host::draw(99, &[rows, WIDTH], -1.0..1.0).tensor(device).requires_grad(),
            weights: (0..count).map(|i| (weight(2 * i), weight(2 * i + 1))).collect(),
        }
    }

    fn loss(&self, again: bool) -> Tensor {
        wgrad::manual_seed(4);
        let mut x = self.x.clone();
        for (first, second) in &self.weights {
            x = match again {
                true => autograd::checkpoint(|x| block(x[0], first, second), &[&x]),
                false => block(&x, first, second),
            };
        }
        x.square().mean()
    }

    /// The loss, and every gradient.
    fn gradients(&self, again: bool) -> Vec<Host> {
        let loss = self.loss(again);
        loss.backward();
        let weights = self.weights.iter().flat_map(|(first, second)| [first, second]);
        let mut all = vec![loss, self.x.grad().unwrap()];
        all.extend(weights.clone().map(|w| w.grad().unwrap()));
        self.x.zero_grad();
        weights.for_each(Var::zero_grad);
        all.iter().map(Host::read).collect()
    }
}

#[test]
fn gradients_equal_those_without_recomputation() {
    for (device, tolerance) in [(Device::cpu(), F64), (gpu(), F32)] {
        let blocks = Blocks::new(3, 5, &device);
        let (plain, again) = (blocks.gradients(false), blocks.gradients(true));
        assert!(plain.iter().all(|x| x.data.iter().any(|x| x.abs() > 1e-4)), "nothing vanishes");
        for (i, (again, plain)) in again.iter().zip(&plain).enumerate() {
            again.assert_close(&format!("value {i} on {device}"), plain, tolerance);
        }
    }
}

/// Recomputed values can be differentiated again: compared with the run without recomputation.
#[test]
fn second_order_equals_that_without_recomputation() {
    let x = Host::draw(1, &[4], 0.5..1.5).tensor(&Device::cpu()).requires_grad();
    let w = Host::draw(2, &[4], 0.5..1.5).tensor(&Device::cpu()).requires_grad();
    let second = |again: bool| {
        let f = |x: &Tensor| (x * &w).exp().sin();
        let y = if again { autograd::checkpoint(|x| f(x[0]), &[&x]) } else { f(&x) };
        let first = autograd::grad(&y.sum(), &[&x, &w], true);
        let sum = first.into_iter().flatten().map(|g| g.square().sum()).reduce(|a, b| a + b).unwrap();
        autograd::grad(&sum, &[&x, &w], false).iter().flatten().map(Host::read).collect::<Vec<_>>()
    };
    let (plain, again) = (second(false), second(true));
    assert_eq!(plain.len(), 2);
    for (again, plain) in again.iter().zip(&plain) {
        again.assert_close("second order", plain, F64);
    }
}

/// Eight blocks keep their inputs instead of all that is computed in them.
#[test]
fn the_peak_of_memory_is_lower() {
    let peak = |again: bool| {
        let device = null();
        let blocks = Blocks::new(8, 4096, &device);
        let params = blocks.weights.iter().flat_map(|(first, second)| [first.clone(), second.clone()]);
        let mut optimizer = SGD::new(params.collect(), 0.1);
        blocks.loss(again).backward();
        blocks.x.zero_grad();
        optimizer.step();
        let counters = device.counters();
        (counters.bytes_peak, counters.kernels)
    };
    let (plain, again) = (peak(false), peak(true));
    println!("plain {plain:?}, recomputed {again:?} (bytes, kernels)");
    assert!(again.0 * 2 < plain.0, "{again:?} against {plain:?}");
}

/// What depends on captured tensors alone is equal in both passes. If it were one computation, its result would stay in
/// memory from the forward pass to the backward pass of its block.
#[test]
fn values_of_captured_tensors_are_recomputed() {
    type Case = (&'static str, fn(&Tensor) -> Tensor);
    let table: [Case; 2] = [("w w^T", |w| w.matmul(&w.t())), ("exp(w)", Tensor::exp)];
    for (name, of_weight) in table {
        let cost = |again: bool| {
            let device = null();
            let draw = |seed, rows| Host::draw(seed, &[rows, 256], -1.0..1.0).tensor(&device);
            let weights: Vec<Tensor> = (0..8).map(|seed| draw(seed, 256)).collect();
            let x = draw(99, 2).requires_grad();
            let loss = weights.iter().fold(x.clone(), |x, w| {
                let block = |x: &Tensor| x.matmul(&of_weight(w)).tanh();
                if again { autograd::checkpoint(|x| block(x[0]), &[&x]) } else { block(&x) }
            });
            loss.sum().backward();
            drop(loss);
            x.grad().unwrap().realize().unwrap();
            let counters = device.counters();
            (counters.bytes_peak, counters.kernels)
        };
        let (plain, again) = (cost(false), cost(true));
        println!("{name}: plain {plain:?}, recomputed {again:?} (bytes, kernels)");
        // Eight weights and eight results, against eight weights and the results of one block.
        assert!(again.0 * 4 < plain.0 * 3, "{name}: {again:?} against {plain:?}");
    }
}

#[test]
fn a_function_is_called_once_and_without_gradients_nothing_is_recorded() {
    let x = Tensor::new([1.0, 2.0], [2], &Device::cpu()).requires_grad();
    let mut calls = 0;
    let y = autograd::checkpoint(
        |x| {
            calls += 1;
            x[0].square()
        },
        &[&x],
    );
    y.sum().backward();
    assert_eq!((calls, x.grad().unwrap().to_vec::<f64>().unwrap()), (1, vec![2.0, 4.0]));
    let y = no_grad(|| autograd::checkpoint(|x| x[0].square(), &[&x]));
    assert_eq!((y.needs_grad(), y.to_vec::<f64>().unwrap()), (false, vec![1.0, 4.0]));
}

#[test]
fn accumulated_gradients_are_those_of_the_larger_batch() {
    for (device, tolerance) in [(Device::cpu(), F64), (gpu(), common::SUMS)] {
        let x = Host::draw(1, &[12, 5], -1.0..1.0).tensor(&device);
        let run = |parts: usize| {
            let w = Var::parameter(Host::draw(2, &[5, 3], -1.0..1.0).tensor(&device));
            let mut optimizer = AdamW::new(vec![w.clone()], 0.1);
            for _ in 0..3 {
                for part in x.chunk(parts, 0) {
                    let loss = part.matmul(&w.tensor()).tanh().square().mean() / parts;
                    loss.backward();
                }
                optimizer.step();
            }
            Host::read(&w.tensor())
        };
        run(4).assert_close(&format!("four parts on {device}"), &run(1), tolerance);
    }
}

#[test]
fn the_first_step_that_is_not_finite_is_named() {
    for device in [Device::cpu(), gpu()] {
        for (bad, value) in [(3, f64::NAN), (0, f64::INFINITY), (6, f64::NEG_INFINITY)] {
            let mut check = FiniteCheck::new(&["loss", "gradient norm"], &device);
            for step in 0..8 {
                let norm = Tensor::new([1.0, if step >= bad { value } else { 3e38 }], [2], &device);
                check.watch(step, &[&Tensor::scalar(1.0, &device), &norm]);
            }
            let found = check.result();
            let Err(Error::NotFinite { what, step }) = found else { panic!("{found:?} on {device}") };
            assert_eq!((&what[..], step), ("gradient norm", bad), "{device}");
        }
        let mut check = FiniteCheck::new(&["loss"], &device);
        (0..3).for_each(|step| check.watch(step, &[&Tensor::scalar(-1.0, &device)]));
        check.result().unwrap();
    }
}

/// The check is part of the step's plan: it needs no additional run and no new plan.
#[test]
fn watching_and_measuring_cost_no_run() {
    let device = Device::gpu_with(&GpuOptions::default()).unwrap();
    let w = Var::parameter(Host::draw(1, &[6, 4], -1.0..1.0).tensor(&device));
    let x = Host::draw(2, &[8, 6], -1.0..1.0).tensor(&device);
    let classes = Tensor::new(common::indices(3, 8, 4), [8], &device);
    let mut optimizer = SGD::new(vec![w.clone()], 0.1);
    let (mut check, mut mean) = (FiniteCheck::new(&["loss"], &device), Mean::new(&device));
    let (mut accuracy, mut throughput) = (Accuracy::new(&device), Throughput::start());
    let mut counted = Vec::new();
    let mut losses = Vec::new();
    for step in 0..10 {
        let logits = x.matmul(&w.tensor());
        let loss = logits.cross_entropy(&classes);
        loss.backward();
        check.watch(step, &[&loss]);
        mean.add(&loss, 8);
        accuracy.add(&logits, &classes);
        throughput.add(8);
        optimizer.step();
        losses.push(loss);
        let counters = device.counters();
        counted.push((counters.runs, counters.plans));
    }
    let steady = &counted[2..];
    assert!(steady.windows(2).all(|pair| pair[1] == (pair[0].0 + 1, pair[0].1)), "{counted:?}");
    check.result().unwrap();
    let losses: Vec<f64> = losses.iter().map(|loss| loss.item().unwrap()).collect();
    let want = losses.iter().sum::<f64>() / 10.0;
    common::close("the mean", &[mean.mean().unwrap()], &[want], 0.0, 1e-6);
    common::close("the perplexity", &[mean.perplexity().unwrap()], &[want.exp()], 0.0, 1e-5);
    let share = accuracy.accuracy().unwrap() * 80.0;
    assert!((share - share.round()).abs() < 1e-9 && (1.0..=80.0).contains(&share), "{share}");
    assert!(throughput.per_second() > 0.0);
}
