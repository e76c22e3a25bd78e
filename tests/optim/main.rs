//! Optimizers and schedules beyond the conformance suite: against PyTorch's values (`pytorch.py` made them), against the
//! papers' formulas in f64, and against themselves in other groups.

#[path = "../common/mod.rs"]
mod common;

use common::{Host, close, gpu};
use serde_json::Value;
use wgrad::optim::{
    Adagrad, Adam, AdamW, CosineAnnealingWarmRestarts, Ema, ExponentialLR, LinearLR, Lion, MultiStepLR, Muon,
    Optimizer, PolynomialLR, RMSprop, ReduceLROnPlateau, SGD, Schedule, SequentialLR, StepLR,
    clip_grad_value,
};
use wgrad::{Device, GpuOptions, Tensor, Var, autograd};

fn fixtures() -> Value {
    serde_json::from_str(include_str!("pytorch.json")).unwrap()
}

fn numbers(json: &Value) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// The CPU in f64 and the GPU, each with the tolerance of its arithmetic.
fn devices() -> [(Device, f64); 2] {
    [(Device::cpu(), 1e-11), (gpu(), 1e-5)]
}

fn param(values: &[f64], device: &Device) -> Var {
    Var::parameter(Tensor::new(values, [values.len()], device))
}

/// Gives a parameter its gradient: what backward does that starts at the parameter itself.
fn give(param: &Var, gradient: &[f64]) {
    let tensor = param.tensor();
    let gradient = Tensor::new(gradient, tensor.shape().to_vec(), tensor.device());
    autograd::backward(&[&tensor], &[&gradient], false);
}

fn read(param: &Var) -> Vec<f64> {
    param.tensor().to_vec().unwrap()
}

#[test]
fn muon_is_that_of_pytorch() {
    for case in fixtures()["muon"].as_array().unwrap() {
        let option = |name: &str, default: f64| case["options"][name].as_f64().unwrap_or(default);
        let shape: Vec<usize> = numbers(&case["shape"]).iter().map(|&x| x as usize).collect();
        for (device, tolerance) in devices() {
            let start = Tensor::new(numbers(&case["param"]), &shape[..], &device);
            let param = Var::parameter(start);
            let mut optimizer = Muon::new(vec![param.clone()], option("lr", 1e-3))
                .momentum(option("momentum", 0.95))
                .nesterov(case["options"]["nesterov"].as_bool().unwrap_or(true))
                .iterations(option("ns_steps", 5.0) as usize)
                .weight_decay(option("weight_decay", 0.1));
            let steps = case["grads"].as_array().unwrap().iter().zip(case["params"].as_array().unwrap());
            for (step, (gradient, want)) in steps.enumerate() {
                give(&param, &numbers(gradient));
                optimizer.step();
                close(
                    &format!("step {step} on {device}"),
                    &read(&param),
                    &numbers(want),
                    tolerance,
                    tolerance,
                );
            }
        }
    }
}

/// Algorithm 2 of the paper, line by line.
#[test]
fn lion_is_that_of_the_paper() {
    let (lr, decay, (first, second)) = (0.01, 0.3, (0.8, 0.95));
    let gradients = [[1.0, -2.0, 0.0], [-3.0, 0.5, 0.0], [0.25, 0.5, -1.0], [0.5, -9.0, 2.0]];
    for (device, tolerance) in devices() {
        let mut want = [1.0, 2.0, -3.0];
        let mut momentum = [0.0; 3];
        let param = param(&want, &device);
        let mut optimizer = Lion::new(vec![param.clone()], lr).betas(first, second).weight_decay(decay);
        for gradient in gradients {
            for i in 0..3 {
                let c: f64 = first * momentum[i] + (1.0 - first) * gradient[i];
                let sign = if c == 0.0 { 0.0 } else { c.signum() };
                want[i] -= lr * (sign + decay * want[i]);
                momentum[i] = second * momentum[i] + (1.0 - second) * gradient[i];
            }
            give(&param, &gradient);
            optimizer.step();
            close("lion", &read(&param), &want, tolerance, tolerance);
        }
    }
}

#[test]
fn the_mean_of_weights_follows_them() {
    for (device, tolerance) in devices() {
        let param = param(&[1.0, -1.0], &device);
        let mut ema = Ema::new(vec![param.clone()], 0.9);
        let mut want = [1.0, -1.0];
        for step in 1..6 {
            let next = [f64::from(step) * 2.0, f64::from(step) - 7.0];
            param.set(Tensor::new(next, [2], &device));
            ema.update();
            want = [0, 1].map(|i| 0.9 * want[i] + 0.1 * next[i]);
            ema.swap();
            close("the mean", &read(&param), &want, tolerance, tolerance);
            ema.swap();
            assert_eq!(read(&param), next, "the last weights are back");
        }
    }
}

#[test]
fn clipping_by_value() {
    for (device, _) in devices() {
        let (clipped, without) = (param(&[0.0; 4], &device), param(&[0.0], &device));
        give(&clipped, &[-3.0, -0.5, 0.25, 7.0]);
        clip_grad_value(&[clipped.clone(), without.clone()], 0.5);
        assert_eq!(clipped.grad().unwrap().to_vec::<f64>().unwrap(), [-0.5, -0.5, 0.25, 0.5]);
        assert!(without.grad().is_none());
    }
}

/// A group is what it would be as an optimizer of its own, and a schedule moves all rates alike.
#[test]
fn groups_have_their_own_rule_rate_and_decay() {
    for (device, tolerance) in devices() {
        let run = |joined: bool| {
            let params = [[1.0, 2.0], [3.0, -4.0], [0.5, 0.25]].map(|values| param(&values, &device));
            let [a, b, c] = params.clone().map(|param| vec![param]);
            let first = AdamW::new(a, 0.1).weight_decay(0.5);
            let second = AdamW::new(b, 0.02).weight_decay(0.0).betas(0.5, 0.6);
            let third = SGD::new(c, 0.4).momentum(0.9);
            let mut optimizers: Vec<Box<dyn Optimizer>> = match joined {
                true => vec![Box::new(first.group(second).group(third))],
                false => vec![Box::new(first), Box::new(second), Box::new(third)],
            };
            let base: Vec<f64> = optimizers.iter().map(|optimizer| optimizer.lr()).collect();
            for step in 0..4 {
                for (i, param) in params.iter().enumerate() {
                    give(param, &[1.0 + i as f64, f64::from(step) - 1.5]);
                }
                for (optimizer, base) in optimizers.iter_mut().zip(&base) {
                    optimizer.set_lr(base / f64::from(1 + step));
                    optimizer.step();
                }
            }
            params.each_ref().map(read).concat()
        };
        close("joined groups", &run(true), &run(false), tolerance, tolerance);
    }
}

#[test]
fn a_parameter_is_trained_once() {
    let dev = Device::cpu();
    let w = param(&[1.0], &dev);
    let refused = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
    assert!(refused(&|| drop(SGD::new(vec![w.clone(), w.clone()], 0.1))));
    assert!(refused(&|| drop(SGD::new(vec![w.clone()], 0.1).group(SGD::new(vec![w.clone()], 0.1)))));
    assert!(refused(&|| drop(Muon::new(vec![w.clone()], 0.1))), "no matrix");
}

#[test]
fn schedules_are_those_of_pytorch() {
    let fixtures = fixtures();
    let warm_up = LinearLR::new(0.1, 0.1, 1.0, 5);
    let sequential = SequentialLR::new(warm_up).then(5, ExponentialLR::new(0.1, 0.8));
    let schedules: [(&str, Box<dyn Schedule>); 6] = [
        ("multi_step", Box::new(MultiStepLR::new(0.1, [3, 4, 11], 0.3))),
        ("exponential", Box::new(ExponentialLR::new(0.1, 0.9))),
        ("polynomial", Box::new(PolynomialLR::new(0.1, 12, 2.5))),
        ("restarts", Box::new(CosineAnnealingWarmRestarts::new(0.1, 3, 2).eta_min(0.01))),
        ("restarts_equal", Box::new(CosineAnnealingWarmRestarts::new(0.1, 4, 1))),
        ("sequential", Box::new(sequential.then(14, StepLR::new(0.1, 2, 0.5)))),
    ];
    assert_eq!(fixtures["schedules"].as_object().unwrap().len(), schedules.len());
    for (name, schedule) in schedules {
        let want = numbers(&fixtures["schedules"][name]);
        let got: Vec<f64> = (0..want.len()).map(|step| schedule.lr(step)).collect();
        close(name, &got, &want, 1e-15, 1e-12);
    }
}

#[test]
fn the_plateau_is_that_of_pytorch() {
    for case in fixtures()["plateau"].as_array().unwrap() {
        let option = |name: &str| case["options"][name].as_f64();
        let mut plateau =
            ReduceLROnPlateau::new(option("factor").unwrap(), option("patience").unwrap() as u64)
                .threshold(option("threshold").unwrap_or(1e-4))
                .cooldown(option("cooldown").unwrap_or(0.0) as u64)
                .min_lr(option("min_lr").unwrap_or(0.0));
        let mut optimizer = SGD::new(vec![], 0.1);
        let rates: Vec<f64> = numbers(&case["metrics"])
            .into_iter()
            .map(|metric| {
                plateau.step(metric, &mut optimizer);
                optimizer.lr()
            })
            .collect();
        close("the rates", &rates, &numbers(&case["rates"]), 0.0, 1e-12);
    }
}

/// Rates are uniforms: a schedule plans nothing and compiles nothing, whatever the optimizer.
#[test]
fn another_rate_plans_and_compiles_nothing() {
    let device = Device::gpu_with(&GpuOptions::default()).unwrap();
    let w = |seed| Var::parameter(Host::draw(seed, &[6, 4], -1.0..1.0).tensor(&device));
    let weights: Vec<Var> = (0..7).map(w).collect();
    let one = |i: usize| vec![weights[i].clone()];
    let mut optimizer = SGD::new(one(0), 0.1)
        .momentum(0.9)
        .weight_decay(0.1)
        .group(Adam::new(one(1), 0.1).amsgrad(true))
        .group(AdamW::new(one(2), 0.1))
        .group(RMSprop::new(one(3), 0.1).momentum(0.5).centered(true))
        .group(Adagrad::new(one(4), 0.1).lr_decay(0.1))
        .group(Lion::new(one(5), 0.1).weight_decay(0.1))
        .group(Muon::new(one(6), 0.1));
    let x = Host::draw(9, &[4, 3], -1.0..1.0).tensor(&device);
    let schedule = CosineAnnealingWarmRestarts::new(0.1, 5, 2);
    let mut made = Vec::new();
    for step in 0..12 {
        let losses = weights.iter().map(|w| w.tensor().matmul(&x).square().mean());
        losses.reduce(|a, b| a + b).unwrap().backward();
        schedule.apply(step, &mut optimizer);
        optimizer.step();
        let counters = device.counters();
        made.push((counters.plans, counters.pipelines));
    }
    // The first step initializes the averages, the second updates them.
    assert!(made[2..].iter().all(|now| *now == made[2]), "{made:?}");
}
