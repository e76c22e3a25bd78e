//! Random graphs, fused on the GPU against node by node on the CPU (each node rounded to f32): values, and the
//! gradients of every leaf.
//!
//! A graph is a list of steps over a stack of tensors. Values are kept near 1 (steps that grow are squashed), so that one
//! tolerance holds for all. An element on the other side of a discontinuity (or of a kink, for gradients) changes all later
//! values, so graphs with an element close to one are skipped. Such elements are counted, and the test fails if they exceed
//! 0.1%. Exact ties do not count: they are ties on every device.
//!
//! The seed is fixed. `WGRAD_GRAPHS` sets the number of graphs, which is 250 by default.

mod common;

use common::{Host, gpu};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::Cell;
use wgrad::{AdapterKind, DType, Device, Limits, Tensor, Var, autograd};

/// A step. The numbers choose operands and attributes, modulo the number of choices.
#[derive(Clone, Debug)]
enum Step {
    Unary(u8, u8),
    Binary(u8, u8, u8),
    Where(u8, u8, u8),
    Scalar(u8, i8),
    Move(u8, u8, u8),
    Reduce(u8, u8, u8, bool),
    MatMul(u8, u8),
    Gather(u8, u8, u8),
    Scatter(u8, u8),
    Cat(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let n = any::<u8>;
    prop_oneof![
        4 => (n(), n()).prop_map(|(a, b)| Step::Unary(a, b)),
        4 => (n(), n(), n()).prop_map(|(a, b, c)| Step::Binary(a, b, c)),
        1 => (n(), n(), n()).prop_map(|(a, b, c)| Step::Where(a, b, c)),
        1 => (n(), any::<i8>()).prop_map(|(a, b)| Step::Scalar(a, b)),
        4 => (n(), n(), n()).prop_map(|(a, b, c)| Step::Move(a, b, c)),
        3 => (n(), n(), n(), any::<bool>()).prop_map(|(a, b, c, d)| Step::Reduce(a, b, c, d)),
        2 => (n(), n()).prop_map(|(a, b)| Step::MatMul(a, b)),
        1 => (n(), n(), n()).prop_map(|(a, b, c)| Step::Gather(a, b, c)),
        1 => (n(), n()).prop_map(|(a, b)| Step::Scatter(a, b)),
        1 => (n(), n()).prop_map(|(a, b)| Step::Cat(a, b)),
    ]
}

const LEAVES: [&[usize]; 4] = [&[4, 6], &[6, 4], &[1, 6], &[3, 4, 2]];

/// Elements farther than this from a discontinuity are on the same side of it on every device.
const MARGIN: f64 = 2e-5;

struct Builder {
    stack: Vec<Tensor>,
    /// The maximum number of elements of a value; larger ones are cut.
    most: usize,
    /// Operands of comparisons, as distances from the discontinuity.
    jumps: Vec<Tensor>,
}

fn pick<T: Clone>(stack: &[T], n: u8) -> T {
    stack[stack.len() - 1 - n as usize % stack.len().min(4)].clone()
}

impl Builder {
    fn new(leaves: &[Tensor], most: usize) -> Builder {
        Builder { stack: leaves.to_vec(), most, jumps: Vec::new() }
    }

    fn step(&mut self, step: &Step) {
        let x = |n: u8| pick(&self.stack, n);
        let out = match *step {
            Step::Unary(n, op) => {
                let x = x(n);
                if matches!(op % 15, 9 | 11) {
                    self.jumps.push(x.detach());
                }
                unary(&x, op)
            }
            Step::Binary(a, b, op) => {
                let (a, b) = fit(&x(a), &x(b), self.most);
                match op % 7 {
                    0 => a + b,
                    1 => a - b,
                    2 => a * b,
                    3 => a / (b.square() + 1.0),
                    4 => (a.square() + 0.5).powf(b.tanh()),
                    op => {
                        self.jumps.push((&a - &b).detach());
                        if op == 5 { a.maximum(b) } else { a.minimum(b) }
                    }
                }
            }
            Step::Where(c, a, b) => {
                let (a, b) = fit(&x(a), &x(b), self.most);
                let (_, c) = fit(&(&a + &b), &x(c), self.most);
                self.jumps.push((&c - 0.1).detach());
                c.lt(0.1).where_(a, b)
            }
            Step::Scalar(n, by) => x(n) * (f64::from(by) / 100.0) + 0.25,
            Step::Move(n, how, by) => moved(&x(n), how, by),
            Step::Reduce(n, how, dim, keepdim) => {
                let x = x(n);
                let dim = [dim as usize % x.rank().max(1)];
                let dims = if x.rank() == 0 { &[][..] } else { &dim[..] };
                match how % 5 {
                    0 => x.sum_dim(dims, keepdim) * 0.3,
                    1 => x.mean_dim(dims, keepdim),
                    2 => x.logsumexp(dims, keepdim),
                    3 => x.softmax(if x.rank() == 0 { 0 } else { dim[0] as i64 }),
                    _ => x.var(dims, 0.0, keepdim),
                }
            }
            Step::MatMul(a, b) => {
                let (a, b) = (x(a), x(b));
                let matrix = |x: &Tensor| if x.rank() < 2 { x.reshape([1, -1]) } else { x.clone() };
                let (a, b) = (matrix(&a), matrix(&b).flatten(0, -2));
                let k = a.size(-1).min(b.size(0));
                a.narrow(-1, 0, k).matmul(&b.narrow(0, 0, k)) * 0.3
            }
            Step::Gather(n, dim, by) => {
                let x = x(n);
                let x = if x.rank() == 0 { x.reshape([1]) } else { x };
                let at = dim as usize % x.rank();
                let size = x.shape()[at];
                let rows: Vec<i32> = (0..5).map(|i| ((i * 7 + by as usize) % size) as i32).collect();
                // Every other time the index is computed on the device.
                let index = Tensor::new(rows, [5], x.device());
                let index = if by % 2 == 0 { index } else { index.to_dtype(DType::F32).to_dtype(DType::I32) };
                x.index_select(at as i64, &index)
            }
            Step::Scatter(n, by) => {
                let x = x(n).flatten(0, -1);
                let places: Vec<i32> =
                    (0..x.numel()).map(|i| ((i * by as usize + i / 3) % 5) as i32).collect();
                let index = Tensor::new(places, [x.numel()], x.device());
                Tensor::zeros([5], x.device()).scatter_add(0, &index, &x) * 0.3
            }
            Step::Cat(a, b) => {
                let (a, b) = (x(a).flatten(0, -1), x(b).flatten(0, -1));
                Tensor::cat(&[&a, &b], 0).narrow(0, 0, (a.numel() + b.numel()).min(12))
            }
        };
        // Too many elements, or none, would make the following steps slow or empty.
        let out =
            if out.numel() > self.most { out.flatten(0, -1).narrow(0, 3, 24).reshape([4, 6]) } else { out };
        let out = if out.rank() > 4 { out.flatten(0, -3) } else { out };
        self.stack.push(out);
    }
}

fn unary(x: &Tensor, op: u8) -> Tensor {
    match op % 15 {
        0 => -x,
        1 => (x.square() + 0.5).reciprocal(),
        2 => x.tanh().exp(),
        3 => (x.square() + 0.5).log(),
        4 => (x.square() + 0.5).sqrt(),
        5 => x.sin(),
        6 => x.cos(),
        7 => x.tanh(),
        8 => x.sigmoid(),
        9 => x.relu(),
        10 => x.erf(),
        11 => x.abs(),
        12 => x.gelu(),
        13 => x.silu(),
        _ => x.detach() * 0.5 + x * 0.5,
    }
}

/// Two tensors that broadcast; if they do not, the second is replaced.
fn fit(a: &Tensor, b: &Tensor, most: usize) -> (Tensor, Tensor) {
    let broadcast =
        a.shape().iter().rev().zip(b.shape().iter().rev()).all(|(x, y)| x == y || *x == 1 || *y == 1);
    let size = |x: &Tensor, i: usize| x.shape().iter().rev().nth(i).copied().unwrap_or(1);
    let result: usize = (0..a.rank().max(b.rank())).map(|i| size(a, i).max(size(b, i))).product();
    if broadcast && result <= 5 * most { (a.clone(), b.clone()) } else { (a.clone(), b.mean()) }
}

fn moved(x: &Tensor, how: u8, by: u8) -> Tensor {
    let by = by as usize;
    if x.rank() == 0 {
        return x.expand([3, 2]);
    }
    let dim = by % x.rank();
    let (at, size) = (dim as i64, x.shape()[dim]);
    match how % 8 {
        0 => x.flip(at),
        1 => x.transpose(at, -1),
        2 => x.narrow(at, (by % size) as i64, size - by % size),
        3 => x.pad([1, (by % 3) as i64 - 1]),
        4 => x.reshape([-1]),
        5 => x.slice(at, Some(0), None, 1 + by % 3),
        6 => x.unsqueeze(at),
        _ => x.narrow(at, 0, 1).expand(x.shape()),
    }
}

struct Outcome {
    loss: f64,
    gradients: Vec<Host>,
    /// The number of compared elements close to a discontinuity.
    close: usize,
    compared: usize,
}

fn run(steps: &[Step], hosts: &[Host], device: &Device) -> Outcome {
    let leaves: Vec<Tensor> = hosts.iter().map(|host| host.tensor(device).requires_grad()).collect();
    let mut graph = Builder::new(&leaves, 400);
    steps.iter().for_each(|step| graph.step(step));
    // The last few results, each squashed: a loss of size 1 to which every element contributes.
    let tail = graph.stack.iter().rev().take(3).filter(|x| x.numel() > 0);
    let loss = tail.map(|x| x.tanh().mean()).reduce(|a, b| a + b).expect("there are leaves");
    let found = autograd::grad(&loss, &leaves.iter().collect::<Vec<_>>(), false);
    let gradients = found.iter().flatten().map(Host::read).collect();
    let jumps: Vec<f64> = graph.jumps.iter().flat_map(|x| Host::read(x).data).collect();
    let close = jumps.iter().filter(|x| **x != 0.0 && x.abs() < MARGIN).count();
    Outcome { loss: loss.item().unwrap(), gradients, close, compared: jumps.len() }
}

#[test]
fn random_graphs() {
    let cases =
        std::env::var("WGRAD_GRAPHS").ok().map_or(250, |n| n.parse().expect("WGRAD_GRAPHS is a number"));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let (skipped, compared) = (Cell::new(0), Cell::new(0));
    let graphs = (prop::collection::vec(step(), 1..13), 0u64..1000);
    TestRunner::new_with_rng(config, rng)
        .run(&graphs, |(steps, seed)| {
            let hosts: Vec<Host> = LEAVES
                .iter()
                .enumerate()
                .map(|(i, s)| Host::draw(seed * 10 + i as u64, s, -1.5..1.5))
                .collect();
            let want = run(&steps, &hosts, &Device::cpu_rounded());
            compared.set(compared.get() + want.compared);
            skipped.set(skipped.get() + want.close);
            if want.close > 0 {
                return Ok(());
            }
            let got = run(&steps, &hosts, &gpu());
            // Up to a dozen steps of some ten roundings each, amplified a few times by squares and quotients.
            common::close("loss", &[got.loss], &[want.loss], 2e-5, 2e-5);
            prop_assert_eq!(got.gradients.len(), want.gradients.len());
            for (i, (got, want)) in got.gradients.iter().zip(&want.gradients).enumerate() {
                let largest = want.data.iter().fold(0.0, |a: f64, x| a.max(x.abs()));
                common::close(&format!("gradient {i}"), &got.data, &want.data, 5e-5 * largest.max(0.2), 5e-5);
            }
            Ok(())
        })
        .unwrap();
    println!(
        "{} of {} compared elements of {cases} graphs were close to a jump",
        skipped.get(),
        compared.get()
    );
    assert!(skipped.get() as f64 <= 1e-3 * compared.get() as f64, "too many to be chance");
}

/// Over large spaces kernels merge in more ways. No merge may create a cycle: every graph has a plan.
#[test]
fn large_graphs_are_planned() {
    let config = Config { cases: 250, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[8; 32]);
    let shapes: [&[usize]; 4] = [&[64, 512], &[512], &[64, 1], &[64, 512]];
    TestRunner::new_with_rng(config, rng)
        .run(&prop::collection::vec(step(), 1..13), |steps| {
            for kind in [AdapterKind::Software, AdapterKind::Discrete] {
                let device = Device::null(Limits { kind, storage_buffers: 32, ..Limits::webgpu() });
                let leaf = |shape: &&[usize]| Tensor::ones(*shape, &device).requires_grad();
                let leaves: Vec<Tensor> = shapes.iter().map(leaf).collect();
                for leaf in &leaves {
                    leaf.realize().unwrap();
                }
                let mut graph = Builder::new(&leaves, 1 << 16);
                steps.iter().for_each(|step| graph.step(step));
                let tail = graph.stack.iter().rev().take(3).filter(|x| x.numel() > 0);
                let loss =
                    tail.map(|x| x.square().mean()).reduce(|a, b| a + b).expect("there are leaves").sqrt();
                let found = autograd::grad(&loss, &leaves.iter().collect::<Vec<_>>(), false);
                // All of them in one plan.
                let vars: Vec<Var> = found.into_iter().flatten().map(Var::buffer).collect();
                loss.realize().unwrap();
                drop(vars);
            }
            Ok(())
        })
        .unwrap();
}
