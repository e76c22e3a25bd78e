//! Held values: which of them a run writes, what they cost, and that reads return correct values.
//!
//! Costs are counted on the null device; values are compared between the GPU and the CPU.

mod common;

use common::{Host, SUMS};
use wgrad::optim::{Optimizer, SGD};
use wgrad::{AdapterKind, Counters, Device, Error, Limits, Tensor, Var};

/// Elements of a tensor of 128 KiB: a run may defer it.
const LARGE: usize = 32 << 10;
/// A run always writes held values up to this size in bytes.
const MIN_DEFERRED_BYTES: usize = 64 << 10;

fn null() -> Device {
    Device::null(Limits { kind: AdapterKind::Discrete, storage_buffers: 32, ..Limits::webgpu() })
}

fn leaf(shape: &[usize], device: &Device) -> Tensor {
    Tensor::new(vec![0f32; shape.iter().product()], shape, device)
}

fn bytes(tensor: &Tensor) -> u64 {
    4 * tensor.numel() as u64
}

/// The number of kernels of `f`.
fn kernels(device: &Device, f: impl FnOnce()) -> usize {
    let before = device.counters().kernels;
    f();
    device.counters().kernels - before
}

#[test]
fn temporaries_of_a_statement_are_not_written() {
    type Read = fn(&Tensor) -> Result<f64, Error>;
    let table: [(&str, Read, usize); 3] = [
        ("one statement", |x| x.exp().sin().tanh().sqrt().sum().item(), 4),
        (
            "a let before the read",
            |x| {
                let sum = x.exp().sin().tanh().sqrt().sum();
                sum.item()
            },
            0,
        ),
        (
            "a let for each",
            |x| {
                let exp = x.exp();
                let sin = exp.sin();
                let tanh = sin.tanh();
                let sqrt = tanh.sqrt();
                let sum = sqrt.sum();
                sum.item()
            },
            4,
        ),
    ];
    let peaks = table.map(|(name, read, deferred)| {
        let device = null();
        let x = leaf(&[1 << 20], &device);
        read(&x).unwrap();
        let counters = device.counters();
        assert_eq!(counters.deferred, deferred, "{name}");
        let beyond = counters.bytes_peak - bytes(&x);
        assert!(beyond < 64 << 10, "{name}: {beyond} bytes beyond the operand");
        beyond
    });
    assert_eq!(peaks, [peaks[0]; 3]);
}

/// The value in question, what is read, and what the user holds besides during the run.
type Held = (Tensor, Tensor, Vec<Tensor>);

/// A value, read through its sum.
fn summed(held: Tensor, others: Vec<Tensor>) -> Held {
    let sum = held.sum();
    (held, sum, others)
}

/// Each condition of `schedule::defer`: graphs that meet all of them, and graphs that meet all but one.
#[test]
fn conditions_on_which_a_value_is_deferred() {
    type Graph = fn(&Device) -> Held;
    let table: &[(&str, bool, Graph)] = &[
        ("elementwise", true, |device| {
            let x = leaf(&[LARGE], device);
            summed(x.exp(), vec![x])
        }),
        ("of as many bytes as are always written", false, |device| {
            let x = leaf(&[MIN_DEFERRED_BYTES / 4], device);
            summed(x.exp(), vec![x])
        }),
        ("of one element more", true, |device| {
            let x = leaf(&[MIN_DEFERRED_BYTES / 4 + 1], device);
            summed(x.exp(), vec![x])
        }),
        ("a product", false, |device| {
            let x = leaf(&[256, 256], device);
            summed(x.matmul(&x), vec![x])
        }),
        ("an operand of a product", false, |device| {
            let x = leaf(&[256, 256], device);
            let held = x.exp();
            let sum = held.matmul(&held).sum();
            (held, sum, vec![x])
        }),
        ("a reduction", false, |device| {
            let x = leaf(&[2, LARGE], device);
            summed(x.sum_dim(0, false), vec![x])
        }),
        ("a gather", false, |device| {
            let (x, index) = (leaf(&[LARGE], device), Tensor::new(vec![0; LARGE], [LARGE], device));
            summed(x.gather(0, &index), vec![x, index])
        }),
        ("elementwise, of a reduction", false, |device| {
            let x = leaf(&[2, LARGE], device);
            summed(x.sum_dim(0, false).exp(), vec![x])
        }),
        ("elementwise, of a source that the user has dropped", false, |device| {
            let x = leaf(&[LARGE], device);
            summed(x.exp(), vec![])
        }),
        ("of two sources, one dropped", false, |device| {
            let (x, y) = (leaf(&[LARGE], device), leaf(&[LARGE], device));
            summed(&x * y, vec![x])
        }),
        ("of twice its bytes", true, |device| {
            let (x, y) = (leaf(&[LARGE], device), leaf(&[LARGE], device));
            summed(&x * &y, vec![x, y])
        }),
        ("of thrice its bytes", false, |device| {
            let xs = [(); 3].map(|()| leaf(&[LARGE], device));
            summed(&xs[0] * &xs[1] + &xs[2], xs.into())
        }),
        ("of a part of a large source", false, |device| {
            let x = leaf(&[3 * LARGE], device);
            summed(x.narrow(0, 0, LARGE).exp(), vec![x])
        }),
        ("of one source, several times", true, |device| {
            let x = leaf(&[LARGE], device);
            summed(&x * x.flip(0) + x.exp() * &x, vec![x])
        }),
        ("of a constant and a small source", true, |device| {
            let x = leaf(&[1], device);
            summed(Tensor::zeros([LARGE], device) + &x, vec![x])
        }),
        ("the root", false, |device| {
            let x = leaf(&[LARGE], device);
            let held = x.exp();
            (held.clone(), held, vec![x])
        }),
    ];
    for (name, is_deferred, graph) in table {
        let device = null();
        let (held, read, others) = graph(&device);
        read.realize().unwrap();
        drop(read);
        assert_eq!(device.counters().deferred, usize::from(*is_deferred), "{name}");
        let sources: u64 = others.iter().map(bytes).sum();
        let live = |written: bool| if written { sources + bytes(&held) } else { sources };
        assert_eq!(device.counters().bytes_live, live(!is_deferred), "{name}: bytes after the run");
        let later = kernels(&device, || drop(held.realize().unwrap().clone()));
        assert_eq!(later, usize::from(*is_deferred), "{name}: kernels when it is read");
        assert_eq!(device.counters().bytes_live, live(true), "{name}: bytes after it is read");
    }
}

/// A written value keeps no source alive. A deferred one keeps at most twice its own bytes alive, also through a view.
#[test]
fn memory_held_for_a_deferred_value_is_bounded() {
    for (name, view) in [("a whole", false), ("a view of a large storage", true)] {
        let device = null();
        // The view alone is held: `all` is dropped here.
        let all = leaf(&[if view { 64 * LARGE } else { LARGE }], &device);
        let x = all.narrow(0, 0, LARGE);
        drop(all);
        x.realize().unwrap();
        let held = x.exp();
        held.sum().item().unwrap();
        drop(x);
        let (live, most) = (device.counters().bytes_live, 2 * bytes(&held));
        assert!(live <= most, "{name}: {live} bytes are held for {}", bytes(&held));
    }
}

/// One value of each of ten steps is held: neither a view of a large storage nor values for the backward pass stay alive.
#[test]
fn what_a_deferred_value_keeps_is_bounded_over_steps() {
    type Step = fn(&Device) -> Tensor;
    let steps: [(&str, Step); 3] = [
        ("a pending view of a large input", |device| {
            let part = leaf(&[64 * LARGE], device).narrow(0, 0, LARGE);
            let held = part.sin();
            held.sum().item().unwrap();
            held
        }),
        ("a pending view of a large value", |device| {
            let x = leaf(&[64 * LARGE], device);
            let part = (&x * 2.0).narrow(0, 0, LARGE);
            let held = part.sin();
            held.sum().item().unwrap();
            held
        }),
        ("values that backward keeps", |device| {
            let x = leaf(&[256, LARGE / 256], device).requires_grad();
            let between: Vec<Tensor> = (0..8).map(|i| (&x * i).sin().exp()).collect();
            let held = between.iter().cloned().reduce(|a, b| a + b).unwrap();
            let products = between.iter().map(|x| x.matmul(&x.t()).sum());
            let loss = products.reduce(|a, b| a + b).unwrap() + held.sum();
            drop(between);
            loss.item().unwrap();
            loss.backward();
            x.grad().unwrap().realize().unwrap();
            held
        }),
    ];
    for (name, step) in steps {
        let device = null();
        let kept: Vec<Tensor> = (0..10).map(|_| step(&device)).collect();
        let (live, most) = (device.counters().bytes_live, 3 * kept.iter().map(bytes).sum::<u64>());
        assert!(live <= most, "{name}: {live} bytes are held for ten of {}", bytes(&kept[0]));
    }
}

/// A value that a run deferred is written by the next run that computes it.
#[test]
fn a_value_is_deferred_once() {
    let device = null();
    let x = leaf(&[LARGE], &device);
    let held = x.exp();
    let sum = |x: &Tensor| {
        let sum = x.sum();
        sum.item().unwrap();
    };
    sum(&held);
    assert_eq!((device.counters().deferred, device.counters().bytes_live), (1, bytes(&x)));
    let twice = &held * 2.0;
    sum(&twice);
    assert_eq!(device.counters().deferred, 2, "its consumer alone");
    assert_eq!(device.counters().bytes_live, 2 * bytes(&x), "it is written");
    sum(&twice);
    assert_eq!((device.counters().deferred, device.counters().bytes_live), (2, 3 * bytes(&x)));
    assert_eq!(kernels(&device, || sum(&(&held + &twice))), 2, "the sum's two stages");
    let read = || [&held, &twice].iter().for_each(|x| drop(x.realize().unwrap().clone()));
    assert_eq!(kernels(&device, read), 0);
}

/// The newest of a chain is deferred, the one before is written: nothing is computed more than twice.
#[test]
fn chains_of_held_values_do_not_grow() {
    let run = |device: &Device| {
        let x = Host::draw(1, &[LARGE], -1.0..1.0).tensor(device);
        let mut held = vec![x];
        let mut taken = Vec::new();
        for _ in 0..50 {
            let next = held.last().unwrap() * 1.01;
            taken.push(kernels(device, || drop(next.sum().realize().unwrap().clone())));
            held.push(next);
        }
        (held, taken)
    };
    let device = null();
    let (held, taken) = run(&device);
    assert!(taken.iter().all(|&kernels| kernels <= taken[0] + 1), "kernels of each step: {taken:?}");
    assert_eq!(taken[2..], [taken[2]; 48], "kernels of each step");
    let counters = device.counters();
    assert_eq!(counters.deferred, 50);
    assert_eq!(counters.bytes_live, 50 * bytes(&held[0]), "all but the newest are written");
    let read = || held.iter().for_each(|x| drop(x.realize().unwrap().clone()));
    assert_eq!(kernels(&device, read), 1);

    let [got, want] = [common::gpu(), Device::cpu()].map(|device| run(&device).0);
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        Host::read(got).assert_close(&format!("value {i}"), &Host::read(want), SUMS);
    }
}

/// The next run reuses memory that a run frees, so a value whose source was freed would be wrong.
fn other_work(device: &Device) {
    for i in 0..4 {
        let x = Tensor::full([LARGE], f64::from(i), device);
        (x.exp() + &x).realize().unwrap();
    }
}

#[test]
fn a_deferred_value_is_computed_correctly_later() {
    let run = |device: &Device| {
        let [x, y] = [1, 2].map(|seed| Host::draw(seed, &[LARGE], -1.0..1.0).tensor(device));
        let inner = (&x * &y).tanh();
        let outer = inner.flip(0) * &x + 0.5;
        outer.square().mean().item().unwrap();
        let deferred = device.counters().deferred;
        // Dropping the user's handles removes the reason why the sources stayed in memory.
        drop((x, y));
        other_work(device);
        ([outer, inner], deferred)
    };
    assert_eq!(run(&null()).1, 3, "both, and the square");
    let [got, want] = [common::gpu(), Device::cpu()].map(|device| run(&device).0);
    for (got, want) in got.iter().zip(&want) {
        Host::read(got).assert_close("read later", &Host::read(want), SUMS);
    }
}

/// How a value is used in a training step.
#[derive(Clone, Copy, Debug)]
enum Part {
    InLoss,
    OutsideLoss,
}

/// A step of training. The product of the parameter before it, which the user reads after it.
fn product_before_a_step(device: &Device, part: Part, is_realized: bool) -> Host {
    let [x, y, w] = [1, 2, 3].map(|seed| Host::draw(seed, &[LARGE], -1.0..1.0).tensor(device));
    let w = Var::parameter(w);
    w.tensor().realize().unwrap();
    let mut optimizer = SGD::new(vec![w.clone()], 1e3);
    let product = &x * w.tensor();
    if is_realized {
        product.realize().unwrap();
    }
    let loss = match part {
        Part::InLoss => (&product - &y).square().mean(),
        Part::OutsideLoss => (w.tensor() - &y).square().mean(),
    };
    loss.backward();
    optimizer.step();
    other_work(device);
    Host::read(&product)
}

#[test]
fn a_value_from_before_an_update_keeps_that_value() {
    for part in [Part::InLoss, Part::OutsideLoss] {
        let [x, _, w] = [1, 2, 3].map(|seed| Host::draw(seed, &[LARGE], -1.0..1.0));
        let want = Host::new(&x.data.iter().zip(&w.data).map(|(x, w)| x * w).collect::<Vec<_>>(), &[LARGE]);
        for device in [Device::cpu(), common::gpu()] {
            for is_realized in [true, false] {
                let got = product_before_a_step(&device, part, is_realized);
                let name = format!("{part:?} on {device}, realized: {is_realized}");
                got.assert_close(&name, &want, common::F32);
            }
        }
        let [written, later] = [true, false].map(|is_realized| {
            let device = null();
            product_before_a_step(&device, part, is_realized);
            device.counters().bytes_peak
        });
        assert!(later <= written, "{part:?}: {later} bytes at the most, {written} if it were written before");
    }
}

/// A training step that updates a moving average.
struct Training {
    x: Tensor,
    w: Var,
    optimizer: SGD,
}

impl Training {
    fn new(device: &Device) -> Training {
        let w = Var::parameter(leaf(&[64 << 10], device));
        Training { x: leaf(&[64 << 10], device), w: w.clone(), optimizer: SGD::new(vec![w], 0.1) }
    }

    fn activations(&self) -> Tensor {
        (&self.x * self.w.tensor()).tanh()
    }

    fn step(&mut self, loss: &Tensor) {
        loss.backward();
        self.optimizer.step();
    }
}

fn average(ema: &Tensor, value: &Tensor) -> Tensor {
    ema * 0.9 + value * 0.1
}

/// Runs 1,000 steps: memory, plans and kernels of a step are the same after 1,000 steps as after 20.
#[track_caller]
fn stays_flat(mut step: impl FnMut(&mut Training), device: &Device) {
    let mut training = Training::new(device);
    let mut history: Vec<Counters> = vec![device.counters()];
    for i in 1..=1000 {
        step(&mut training);
        history.push(device.counters());
        // The operand, the parameter, the average, and a few on the way.
        let (live, most) = (history[i].bytes_live, 8 * bytes(&training.x));
        assert!(live <= most, "{live} bytes in use after {i} steps");
        // Growth is detected early, before the test takes minutes.
        if i % 20 == 0 {
            let kernels = |end: usize| [end - 1, end].map(|i| history[i].kernels - history[i - 1].kernels);
            let at = |i: usize| (history[i].bytes_live, history[i].plans, kernels(i));
            assert_eq!(at(i), at(20), "bytes in use, plans, and kernels of two steps, after {i} steps");
        }
    }
}

#[test]
fn an_average_of_the_loss_in_a_tensor_has_constant_memory() {
    let device = null();
    let mut ema = Tensor::scalar(0.0, &device);
    let step = |training: &mut Training| {
        let loss = training.activations().square().mean();
        training.step(&loss);
        ema = average(&ema, &loss.detach());
        ema.item().unwrap();
    };
    stays_flat(step, &device);
}

/// Nothing reads the average: the next run of the device updates it.
#[test]
fn an_average_of_the_loss_in_a_var_has_constant_memory() {
    let device = null();
    let ema = Var::buffer(Tensor::scalar(0.0, &device));
    let step = |training: &mut Training| {
        let loss = training.activations().square().mean();
        ema.set(average(&ema.tensor(), &loss));
        training.step(&loss);
    };
    stays_flat(step, &device);
}

/// The loss is not detached: the average does not keep a graph alive that `backward` has freed.
#[test]
fn an_average_of_the_loss_with_its_graph_has_constant_memory() {
    let device = null();
    let mut ema = Tensor::scalar(0.0, &device);
    let step = |training: &mut Training| {
        let loss = training.activations().square().mean();
        training.step(&loss);
        ema = average(&ema, &loss);
        ema.item().unwrap();
    };
    stays_flat(step, &device);
}

/// The loss of a step needs the average of this step.
#[test]
fn a_large_average_in_the_loss_has_constant_memory() {
    let device = null();
    let mut ema = leaf(&[64 << 10], &device);
    let step = |training: &mut Training| {
        let t = training.activations();
        ema = average(&ema, &t.detach());
        training.step(&(&t - &ema).square().mean());
    };
    stays_flat(step, &device);
}

#[test]
fn a_large_average_that_is_realized_has_constant_memory() {
    let device = null();
    let mut ema = leaf(&[64 << 10], &device);
    let step = |training: &mut Training| {
        let t = training.activations();
        ema = average(&ema, &t.detach());
        training.step(&t.square().mean());
        ema.realize().unwrap();
    };
    stays_flat(step, &device);
}

#[test]
fn a_large_average_in_a_var_has_constant_memory() {
    let device = null();
    let ema = Var::buffer(leaf(&[64 << 10], &device));
    let step = |training: &mut Training| {
        let t = training.activations();
        ema.set(average(&ema.tensor(), &t));
        training.step(&t.square().mean());
    };
    stays_flat(step, &device);
}
