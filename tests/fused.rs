//! Fused operations: each kernel against its decomposition into primitives: forward, gradient, second order.

mod common;

use common::layout::{LAYOUTS, Layout};
use common::{DIFFERENCES, F32, F64, Host, SUMS, Tolerance, check_gpu, check_gradient, gpu, indices};
use wgrad::ops::{self, Buffer, Fused, Launch, Word};
use wgrad::{DType, Device, GpuOptions, Limits, PoolOptions, ShapeError, Spec, Tensor, autograd};

/// `mean(log Σ e^x - x[target])`, row by row.
fn cross_entropy(logits: &Host, target: &[i32]) -> f64 {
    let classes = logits.shape[1];
    let row = |(row, &class): (&[f64], &i32)| {
        let max = row.iter().copied().fold(f64::MIN, f64::max);
        max + row.iter().map(|x| (x - max).exp()).sum::<f64>().ln() - row[class as usize]
    };
    logits.data.chunks(classes).zip(target).map(row).sum::<f64>() / target.len() as f64
}

fn loss(target: &[i32]) -> impl Fn(&[Tensor]) -> Tensor + '_ {
    move |xs| xs[0].cross_entropy(&Tensor::new(target, [target.len()], xs[0].device()))
}

/// The same from primitives, without the fused operation.
fn by_hand(logits: &Tensor, target: &Tensor) -> Tensor {
    let picked = logits.gather(1, &target.unsqueeze(1)).squeeze(1);
    (logits.logsumexp(1, false) - picked).mean()
}

#[test]
fn cross_entropy_of_small_batches() {
    for (rows, classes) in [(1, 1), (1, 2), (3, 1), (5, 7), (2, 13), (8, 10), (9, 3)] {
        let logits = Host::draw(rows as u64, &[rows, classes], -3.0..3.0);
        let target = indices(classes as u64, rows, classes);
        let want = Host::new(&[cross_entropy(&logits, &target)], &[]);
        common::check(&format!("cross_entropy {rows}x{classes}"), &[logits], &loss(&target), &want, F32);
    }
}

#[test]
fn cross_entropy_of_large_batches() {
    for (rows, classes) in [(4096, 1000), (997, 101), (1, 50_257)] {
        let logits = Host::draw(1, &[rows, classes], -5.0..5.0);
        let target = indices(2, rows, classes);
        let on_gpu = loss(&target)(&[logits.tensor(&gpu())]).item().unwrap();
        common::close("cross_entropy, large", &[on_gpu], &[cross_entropy(&logits, &target)], 0.0, 1e-5);
        // A row's gradient is (softmax - one hot) / rows: e^(x - lse) with x to 5 and lse to 12 is good to 2e-6 of itself.
        let gradient = Tolerance { atol: 1e-7 / rows as f64, rtol: 1e-5 };
        let value = Tolerance { atol: 0.0, rtol: 1e-5 };
        check_gpu("cross_entropy, large", &[logits], &loss(&target), value, gradient);
    }
}

#[test]
fn cross_entropy_of_extreme_logits() {
    let logits = Host::new(&[1e4, -1e4, 0.0, -1e4, -1e4, -1e4, 1e4, 1e4, -1e4], &[3, 3]);
    for target in [[0, 0, 0], [1, 1, 1], [2, 2, 2]] {
        let want = Host::new(&[cross_entropy(&logits, &target)], &[]);
        let (value, gradients) = common::run(std::slice::from_ref(&logits), &Device::cpu(), &loss(&target));
        value.assert_close("cross_entropy, extreme", &want, F64);
        let (on_gpu, on_gpu_gradients) = common::run(std::slice::from_ref(&logits), &gpu(), &loss(&target));
        // Logits of 1e4 have a spacing of 1e-3 in f32, and so has their log-sum-exp.
        on_gpu.assert_close("cross_entropy, extreme", &want, Tolerance { atol: 1e-3, rtol: 1e-6 });
        // Each row's softmax is 1, 1/2, 1/3 or 0, but for the spacing of the log-sum-exp.
        on_gpu_gradients[0].assert_close("its gradient", &gradients[0], Tolerance { atol: 1e-3, rtol: 0.0 });
    }
}

/// An impossible class, with a logit of minus infinity, as in a masked vocabulary.
#[test]
fn cross_entropy_with_infinitely_unlikely_classes() {
    let logits = Host::new(&[f64::NEG_INFINITY, 1.0, 2.0, 0.5, f64::NEG_INFINITY, 0.5], &[2, 3]);
    let target = [2, 0];
    for device in [Device::cpu(), gpu()] {
        let (value, gradients) = common::run(std::slice::from_ref(&logits), &device, &loss(&target));
        let want = ((1f64.exp() + 2f64.exp()).ln() - 2.0 + 2f64.ln()) / 2.0;
        value.assert_close("cross_entropy", &Host::new(&[want], &[]), SUMS);
        assert!(gradients[0].data.iter().all(|g| g.is_finite()), "{:?} on {device}", gradients[0].data);
    }
}

/// Logits and classes in every memory layout; with no rows the mean is NaN.
#[test]
fn cross_entropy_of_every_layout() {
    let shape = [4, 5];
    for layout in LAYOUTS {
        for classes in
            LAYOUTS.into_iter().filter(|&other| (other == Layout::Empty) == (layout == Layout::Empty))
        {
            let logits = [Host::draw(6, &layout.leaf(&shape), -2.0..2.0)];
            let f = |xs: &[Tensor]| {
                let leaf = classes.leaf(&shape[..1]);
                let target = Tensor::new(indices(2, leaf[0], 5), leaf, xs[0].device());
                layout.view(&xs[0], &shape).cross_entropy(&classes.view(&target, &shape[..1]))
            };
            let name = format!("cross_entropy of {layout:?} logits and {classes:?} classes");
            check_gradient(&name, &logits, &f);
            check_gpu(&name, &logits, &f, F32, SUMS);
        }
    }
}

#[test]
fn cross_entropy_of_computed_logits_and_of_other_indices() {
    let logits = Host::draw(6, &[4, 5], -2.0..2.0);
    let f = |xs: &[Tensor]| {
        let target = Tensor::new([3, 1, 0, 2, 1], [5], xs[0].device()).to_dtype(DType::U32);
        (xs[0].t() * 2.0).cross_entropy(&target)
    };
    check_gradient("cross_entropy of a computed transpose", std::slice::from_ref(&logits), &f);
    check_gpu("cross_entropy of a computed transpose", std::slice::from_ref(&logits), &f, F32, SUMS);
    let f = |xs: &[Tensor]| xs[0].select(0, 1).cross_entropy(&Tensor::scalar(3, xs[0].device()));
    check_gradient("cross_entropy of one sample", std::slice::from_ref(&logits), &f);
    check_gpu("cross_entropy of one sample", std::slice::from_ref(&logits), &f, F32, SUMS);
}

/// The second order goes through the backward kernel's decomposition: on the GPU too, and it is that of the primitives.
#[test]
fn second_order_of_cross_entropy() {
    let logits = Host::draw(7, &[5, 7], -2.0..2.0);
    let target = indices(3, 5, 7);
    let second = |device: &Device, loss: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
        let x = logits.tensor(device).requires_grad();
        let target = Tensor::new(&target, [5], device);
        let first = autograd::grad(&loss(&x, &target), &[&x], true)[0].clone().unwrap();
        Host::read(autograd::grad(&first.square().sum(), &[&x], false)[0].as_ref().unwrap())
    };
    let want = second(&Device::cpu(), &by_hand);
    second(&Device::cpu(), &|x, t| x.cross_entropy(t)).assert_close("on the CPU", &want, DIFFERENCES);
    second(&gpu(), &|x, t| x.cross_entropy(t)).assert_close("on the GPU", &want, F32);
}

/// A computed class out of range gives NaN, and an error at the first read.
#[test]
fn cross_entropy_of_a_computed_class_out_of_range() {
    // A separate device, because the next read of the device reports the fault.
    for device in [Device::cpu(), Device::gpu_with(&GpuOptions::default()).unwrap()] {
        let logits = Host::draw(8, &[3, 4], -2.0..2.0).tensor(&device);
        let target = (Tensor::new([0.0, 4.0, 1.0], [3], &device) * 1.0).to_dtype(DType::I32);
        let loss = logits.cross_entropy(&target);
        let error = loss.item().expect_err("class 4 of 4");
        assert!(matches!(error, wgrad::Error::Index { .. }), "{error} on {device}");
        // The error is returned once; later reads succeed.
        let fine = logits.cross_entropy(&target.clamp_max(3));
        assert!(fine.item().unwrap().is_finite());
    }
}

/// `softmax(Q Kᵀ / √width) V` of queries that see some of the keys, number by number. Keys and values of one head serve both.
fn attention(q: &Host, k: &Host, v: &Host, seen: impl Fn(usize, usize) -> bool) -> Host {
    let (keys, width, depth) = (k.shape[1], k.shape[2], v.shape[2]);
    Host::tabulate(&[q.shape[0], q.shape[1], depth], |c| {
        let weight = |j: usize| {
            let score: f64 = (0..width).map(|d| q.at([c[0], c[1], d]) * k.at([0, j, d])).sum();
            if seen(c[1], j) { (score / (width as f64).sqrt()).exp() } else { 0.0 }
        };
        let sum: f64 = (0..keys).map(weight).sum();
        let total: f64 = (0..keys).map(|j| weight(j) * v.at([0, j, c[2]])).sum();
        if sum == 0.0 { 0.0 } else { total / sum }
    })
}

/// Widths that are no multiple of four, keys that serve two heads, queries that see no key, by a mask of either kind.
#[test]
fn attention_of_shared_keys_and_of_queries_without_keys() {
    let draw = |seed, shape: &[usize]| Host::draw(seed, shape, -1.0..1.0);
    let inputs = [draw(1, &[2, 3, 5]), draw(2, &[1, 6, 5]), draw(3, &[1, 6, 3])];
    let [q, k, v] = &inputs;
    type Seen = fn(usize, usize) -> bool;
    let masks: [(&str, Seen); 3] =
        [("all", |_, _| true), ("causal", |i, j| j <= i), ("masked", |i, j| i != 1 && (i + j) % 3 != 0)];
    for (name, seen) in masks {
        let allowed: Vec<bool> = (0..18).map(|i| seen(i / 6, i % 6)).collect();
        let added =
            allowed.iter().map(|&seen| if seen { 0.0 } else { f64::NEG_INFINITY }).collect::<Vec<_>>();
        let want = attention(q, k, v, seen);
        let bools = |xs: &[Tensor]| {
            let mask = Tensor::new(&allowed, [3, 6], xs[0].device());
            let mask = (name == "masked").then_some(&mask);
            xs[0].scaled_dot_product_attention(&xs[1], &xs[2], mask, name == "causal", None)
        };
        let floats = |xs: &[Tensor]| {
            let mask = Tensor::new(&added, [3, 6], xs[0].device());
            xs[0].scaled_dot_product_attention(&xs[1], &xs[2], Some(&mask), false, None)
        };
        common::check(&format!("attention, {name}"), &inputs, &bools, &want, SUMS);
        common::check(&format!("attention, {name} by numbers"), &inputs, &floats, &want, SUMS);
    }
}

/// More batch dims than the kernels know, and a mask that broadcasts along some of them.
#[test]
fn attention_of_many_batches() {
    let x = Host::draw(4, &[2, 1, 2, 3, 4], -1.0..1.0);
    for shape in [&[1, 3, 2, 3, 3][..], &[1, 1, 1, 3, 3], &[2, 1, 3]] {
        let mask = Host::draw(5, shape, -1.0..1.0);
        let by_hand = |xs: &[Tensor]| {
            let scores = xs[0].matmul(&xs[1].transpose(-2, -1)) * 0.5;
            (scores + mask.tensor(xs[0].device())).softmax(-1).matmul(&xs[1])
        };
        let f = |xs: &[Tensor]| {
            let mask = mask.tensor(xs[0].device());
            xs[0].scaled_dot_product_attention(&xs[1], &xs[1], Some(&mask), false, Some(0.5))
        };
        let inputs = [x.clone(), Host::draw(6, &[2, 3, 2, 3, 4], -1.0..1.0)];
        let want = common::run(&inputs, &Device::cpu(), &by_hand);
        for device in [Device::cpu(), gpu()] {
            let (value, gradients) = common::run(&inputs, &device, &f);
            value.assert_close("attention of many batches", &want.0, SUMS);
            gradients.iter().zip(&want.1).for_each(|(g, want)| g.assert_close("its gradient", want, SUMS));
        }
    }
}

/// The first of equal elements wins, NaN is larger than all numbers, and padding never wins.
#[test]
fn max_pool_of_ties_and_extremes() {
    let (nan, low) = (f64::NAN, f64::NEG_INFINITY);
    let x = [2.0, 2.0, 1.0, nan, 2.0, 2.0, nan, 3.0, low, low, -5.0, -6.0, low, low, -7.0, -5.0];
    let pool = |stride| PoolOptions { stride: [stride, stride], padding: [1, 1], ..PoolOptions::new([2, 2]) };
    let cases = [
        (PoolOptions::new([2, 2]), vec![2.0, nan, low, -5.0], vec![0, 3, 8, 10]),
        (pool(2), vec![2.0, 2.0, nan, 2.0, nan, 3.0, low, -7.0, -5.0], vec![0, 1, 3, 4, 6, 7, 12, 14, 15]),
        (pool(3), vec![2.0, nan, low, -5.0], vec![0, 3, 8, 10]),
    ];
    for device in [Device::cpu(), gpu()] {
        for (pool, want, chosen) in &cases {
            let x = Tensor::new(x, [1, 4, 4], &device).requires_grad();
            let largest = x.max_pool2d(*pool);
            common::close("max_pool2d", &largest.to_vec::<f64>().unwrap(), want, 0.0, 0.0);
            let ones = largest.ones_like();
            let gradient = autograd::grad_with(&largest, &ones, &[&x], false)[0].clone().unwrap();
            let once: Vec<f64> = (0..16).map(|i| chosen.iter().filter(|&&j| i == j).count() as f64).collect();
            common::close("its gradient", &gradient.to_vec::<f64>().unwrap(), &once, 0.0, 0.0);
        }
    }
}

/// The forward pass saves one number per query: neither pass stores a matrix of queries by keys.
#[test]
fn attention_needs_memory_linear_in_rows() {
    let device = Device::null(Limits::webgpu());
    let x = Tensor::new(vec![0f32; 1024 * 4], [1, 1024, 4], &device).requires_grad();
    let before = device.counters().bytes_live;
    x.scaled_dot_product_attention(&x, &x, None, true, None).sum().backward();
    x.grad().unwrap().realize().unwrap();
    let most = device.counters().bytes_peak - before;
    assert!(most < 16 * 4 * 1024 * 4, "{most} bytes, and a matrix of scores has {}", 4 * 1024 * 1024);
}

/// `scale * Σ x²` of a vector in two dispatches, with partial sums in scratch memory.
#[derive(Clone, Debug)]
struct Energy {
    scale: f64,
    second: &'static str,
}

const ENERGY: &str = "
    struct Params { n: u32, scale: f32 }
    @group(0) @binding(0) var<uniform> params: Params;
    @group(0) @binding(1) var<storage, read_write> parts: array<f32>;
    @group(0) @binding(2) var<storage, read_write> sum: array<f32>;
    @compute @workgroup_size(1)
    fn main() {
        var total = 0.0;
        for (var i = 0u; i < params.n; i += 1u) { total += parts[i]; }
        sum[0] = params.scale * total;
    }";

impl Fused for Energy {
    fn name(&self) -> &'static str {
        "cross_entropy" // as another is called: a plan's key must not take the one for the other
    }

    fn scalars(&self) -> Vec<f64> {
        vec![self.scale]
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        Ok(vec![Spec { shape: [].into(), dtype: inputs[0].dtype }])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        vec![inputs[0].square().sum() * self.scale]
    }

    fn launch(&self, io: &[Spec], _limits: &Limits) -> Option<Vec<Launch>> {
        let (n, parts) = (io[0].shape.numel() as u32, io[0].shape.numel().div_ceil(16) as u32);
        let scratch = Buffer::Scratch { index: 0, bytes: 4 * parts as usize };
        let first = "
            struct Params { n: u32 }
            @group(0) @binding(0) var<uniform> params: Params;
            @group(0) @binding(1) var<storage, read> x: array<f32>;
            @group(0) @binding(2) var<storage, read_write> parts: array<f32>;
            @compute @workgroup_size(1)
            fn main(@builtin(workgroup_id) group: vec3<u32>) {
                var sum = 0.0;
                for (var i = 16u * group.x; i < min(16u * group.x + 16u, params.n); i += 1u) { sum += x[i] * x[i]; }
                parts[group.x] = sum;
            }";
        let first = Launch::new(first)
            .buffers([Buffer::Input(0), scratch])
            .uniforms([Word::Size(n)])
            .workgroups(parts);
        let second = Launch::new(self.second)
            .buffers([scratch, Buffer::Output(0)])
            .uniforms([Word::Size(parts), Word::Scalar(0)]);
        Some(vec![first, second])
    }
}

#[test]
fn an_operation_of_the_users_own() {
    let tolerance = ops::Tolerance { atol: 1e-5, rtol: 1e-6 };
    for n in [1, 16, 17, 1000] {
        let x = Host::draw(9, &[n], -1.0..1.0).tensor(&gpu());
        for scale in [0.5, 3.0] {
            ops::check(Energy { scale, second: ENERGY }, &[&x], tolerance).unwrap();
        }
        // With a pending operand and a consumer, twice in one plan.
        let energy = |x: &Tensor| Tensor::fused(Energy { scale: 1.0, second: ENERGY }, &[x]).remove(0);
        let sum = (energy(&(&x * 2.0)) + energy(&x)) * 0.2;
        let want = x.square().sum();
        common::close("energy", &[sum.item().unwrap()], &[want.item().unwrap()], 0.0, 1e-5);
    }
}

#[test]
fn check_finds_a_wrong_kernel() {
    let x = Host::draw(9, &[100], -1.0..1.0).tensor(&gpu());
    let wrong: &'static str = ENERGY.replace("i += 1u", "i += 2u").leak();
    let tolerance = ops::Tolerance { atol: 1e-5, rtol: 1e-6 };
    let error = ops::check(Energy { scale: 1.0, second: wrong }, &[&x], tolerance).unwrap_err();
    assert!(error.0.starts_with("cross_entropy: output 0 []"), "{error}");
}

/// A kernel that accesses memory beyond its buffers is harmless: users' shaders are compiled with run-time checks.
#[test]
fn a_kernel_cannot_access_memory_out_of_bounds() {
    let x = Host::draw(9, &[20], -1.0..1.0).tensor(&gpu());
    let wild: &'static str = ENERGY.replace("parts[i]", "parts[i * 100000000u] + sum[i * 7919u]").leak();
    let energy = Tensor::fused(Energy { scale: 1.0, second: wild }, &[&x]).remove(0);
    energy.item().unwrap();
    assert_eq!((&x - &x).sum().item().unwrap(), 0.0);
}
