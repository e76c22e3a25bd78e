//! The invariants of ARCHITECTURE.md, by their numbers, with at least one test each.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{Host, gpu};
use futures::executor::block_on;
use futures::future::join_all;
use wgrad::{
    AdapterKind, DType, Device, Error, Generator, GpuOptions, Limits, Tensor, Var, autograd, no_grad,
};

fn null() -> Device {
    Device::null(Limits { kind: AdapterKind::Discrete, storage_buffers: 32, ..Limits::webgpu() })
}

// 1. A value is a cache on a node, not a change of the graph.

#[test]
fn a_loss_may_be_read_before_backward() {
    let step = |read_first: bool| {
        let device = null();
        let x = Tensor::new([0f32; 64], [8, 8], &device);
        let w = Var::parameter(Tensor::new([0f32; 64], [8, 8], &device));
        let loss = x.matmul(&w.tensor()).tanh().matmul(&w.tensor()).square().mean();
        if read_first {
            loss.item().unwrap();
        }
        loss.backward();
        w.set(w.tensor() - w.grad().unwrap() * 0.1);
        loss.item().unwrap();
        device.counters().kernels
    };
    let (together, apart) = (step(false), step(true));
    // Two matrix products forward. Values that are read before backward are kept, not computed again.
    assert!(apart <= together + 1, "{apart} kernels with a read in between, {together} without");
}

#[test]
fn reading_first_changes_no_gradient() {
    for device in [Device::cpu(), gpu()] {
        let gradient = |read: bool| {
            let x = Host::draw(1, &[5, 4], -1.0..1.0).tensor(&device).requires_grad();
            let y = (&x * 2.0).tanh();
            let loss = y.square().sum();
            if read {
                loss.item().unwrap();
                y.to_vec::<f32>().unwrap();
            }
            loss.backward();
            Host::read(&x.grad().unwrap())
        };
        gradient(true).assert_close("gradient after a read", &gradient(false), common::F32);
    }
}

/// A parameter that was set and not yet computed is an ordinary leaf: backward does not continue into the update.
#[test]
fn backward_ends_at_a_parameter_that_is_still_pending() {
    for device in [Device::cpu(), gpu()] {
        let w = Var::parameter(Tensor::new([1.0, 2.0], [2], &device));
        for _ in 0..3 {
            w.tensor().square().sum().backward();
            // Nothing is read between the steps, and history is recorded.
            w.set(w.tensor() - w.grad().unwrap() * 0.25);
        }
        assert_eq!(w.tensor().to_vec::<f32>().unwrap(), [0.125, 0.25]);
    }
}

// 2. backward frees the graph unless it is retained.

#[test]
fn a_second_backward_panics() {
    for read in [false, true] {
        let x = Tensor::scalar(3.0, &Device::cpu()).requires_grad();
        let y = x.square();
        let loss = y.exp().sum();
        loss.backward_retain_graph();
        loss.backward();
        if read {
            loss.item().unwrap();
        }
        assert_eq!(x.grad().unwrap().item().unwrap(), 2.0 * 6.0 * 9f64.exp());
        // Through the loss itself, and through what is built on a value behind it.
        for again in [&loss, &y.log()] {
            let panic =
                catch_unwind(AssertUnwindSafe(|| again.backward())).expect_err("the graph was given up");
            let message = panic.downcast_ref::<String>().unwrap();
            assert!(
                message.contains("backward_retain_graph") && message.contains("invariants.rs"),
                "{message}"
            );
        }
    }
}

#[test]
fn backward_adds_to_stored_gradients() {
    for device in [Device::cpu(), gpu()] {
        let x = Tensor::new([1.0, 2.0], [2], &device).requires_grad();
        (&x * 2.0).sum().backward();
        (&x * &x).sum().backward();
        assert_eq!(x.grad().unwrap().to_vec::<f32>().unwrap(), [4.0, 6.0]);
        x.zero_grad();
        assert!(x.grad().is_none());
        let middle = &x * 3.0;
        middle.retain_grad();
        middle.square().sum().backward();
        assert_eq!(middle.grad().unwrap().to_vec::<f32>().unwrap(), [6.0, 12.0]);
        assert!(!no_grad(|| &x * 2.0).needs_grad());
    }
}

/// In a test's own thread, whose stack is small.
#[test]
fn a_chain_of_100_000_operations() {
    for device in [null(), Device::cpu()] {
        let start = device.counters().bytes_live;
        {
            let x = Tensor::new([1.0, 2.0], [2], &device).requires_grad();
            let y = (0..100_000).fold(x.clone(), |y, _| y * 1.00001);
            y.sum().backward();
            let gradient = x.grad().unwrap().to_vec::<f64>().unwrap();
            if device.is_cpu() {
                common::close("gradient", &gradient, &[1.00001f64.powi(100_000); 2], 0.0, 1e-9);
            }
        }
        assert_eq!(device.counters().bytes_live, start, "everything is gone");
    }
}

#[test]
fn a_long_pending_chain_is_dropped_without_recursion() {
    no_grad(|| {
        let x = Tensor::new([1.0], [1], &null());
        drop((0..100_000).fold(x, |y, _| -y));
    });
}

// 3. A computed value with a live handle is kept.

#[test]
fn reading_the_loss_after_a_step_runs_nothing() {
    let device = null();
    let w = Var::parameter(Tensor::new([0f32; 16], [4, 4], &device));
    // The root's gradient needs the root, so the step computes it.
    let loss = w.tensor().square().sum().sqrt();
    loss.backward();
    w.set(w.tensor() - w.grad().unwrap() * 0.1);
    w.tensor().realize().unwrap();
    let runs = device.counters().runs;
    loss.item().unwrap();
    assert_eq!(device.counters().runs, runs);
}

// 5. A kernel's key has no sizes (plans' keys: tests/schedule.rs).

#[test]
fn another_size_compiles_no_shader() {
    for kind in [AdapterKind::Software, AdapterKind::Integrated, AdapterKind::Discrete] {
        let device = Device::gpu_with(&GpuOptions { kind: Some(kind), ..GpuOptions::default() }).unwrap();
        let step = |rows: usize, inner: usize| {
            let x = Host::draw(1, &[rows, inner], -1.0..1.0).tensor(&device);
            let w = Host::draw(2, &[inner, 5], -1.0..1.0).tensor(&device).requires_grad();
            let loss = (x.matmul(&w).tanh() + x.sum_dim(1, true) * 0.1).square().mean();
            loss.backward();
            w.grad().unwrap().to_vec::<f32>().unwrap();
        };
        step(16, 8);
        let compiled = device.counters().pipelines;
        // On GPUs the kernel of a product depends on whether rows are aligned to four elements, and that of a sum on how
        // many invocations share it.
        for (rows, inner) in [(17, 8), (9, 24), (50, 20)] {
            step(rows, inner);
            assert_eq!(device.counters().pipelines, compiled, "{kind:?}, {rows} rows of {inner}");
        }
    }
}

/// 6. After the first steps a training step creates no buffer and no bind group.
#[test]
fn a_training_step_creates_nothing() {
    let device = Device::gpu_with(&GpuOptions::default()).unwrap();
    let w = Var::parameter(Host::draw(1, &[20, 10], -1.0..1.0).tensor(&device));
    let (x, y) = (
        Host::draw(2, &[32, 20], -1.0..1.0).tensor(&device),
        Host::draw(3, &[32, 10], -1.0..1.0).tensor(&device),
    );
    // Kernels that index bind the fault word of their run.
    let rows = Tensor::new(common::indices(4, 32, 32), [32], &device);
    let step = || {
        let picked = x.matmul(&w.tensor()).tanh().index_select(0, &rows);
        let loss = (picked - &y).square().mean();
        loss.backward();
        w.set(w.tensor() - w.grad().unwrap() * 0.1);
        loss.item().unwrap()
    };
    let first = step();
    for _ in 0..10 {
        step();
    }
    let before = device.counters();
    for _ in 0..20 {
        step();
    }
    let after = device.counters();
    let made = |c: &wgrad::Counters| (c.buffers, c.bind_groups, c.pipelines, c.plans);
    assert_eq!(made(&after), made(&before));
    assert!(step() < first, "and it learns");
}

// 7. Nothing detaches silently: tests/fused.rs differentiates the backward kernel's decomposition.

// 9. A read returns failures of the environment.

/// An index that only the device sees: NaN, and an error that names operation and line. The CPU says the same.
#[test]
fn the_first_read_reports_an_index_out_of_range() {
    for device in [Device::cpu(), Device::gpu_with(&GpuOptions::default()).unwrap()] {
        let x = Tensor::new([10.0, 20.0, 30.0], [3], &device);
        for index in [[0.0, 3.0], [-1.0, 2.0]] {
            let index = (Tensor::new(index, [2], &device) * 1.0).to_dtype(DType::I32);
            let line = line!() + 1;
            let y = x.gather(0, &index);
            let error = y.to_vec::<f32>().expect_err("an index is out of range");
            let text = error.to_string();
            let Error::Index { op, at } = error else { panic!("{text} on {device}") };
            assert_eq!((op, at.line()), ("gather", line), "{text}");
            assert!(at.file().ends_with("invariants.rs"), "{text}");
            if !device.is_cpu() {
                // The error was returned once; the value itself has NaN for the missing elements.
                let values = y.to_vec::<f32>().unwrap();
                assert_eq!(values.iter().filter(|x| x.is_nan()).count(), 1, "{values:?}");
            }
            let line = line!() + 1;
            let y = x.zeros_like().scatter_add(0, &index, &Tensor::ones([2], &device));
            let Err(Error::Index { op, at }) = y.to_vec::<f32>() else { panic!("scatter_add on {device}") };
            assert_eq!((op, at.line()), ("scatter_add", line));
        }
        assert_eq!((&x + 1.0).to_vec::<f32>().unwrap(), [11.0, 21.0, 31.0], "all is well afterwards");
    }
}

/// After a fault the next read of the device fails, and so does the first read of a value that depends on it; one does not
/// replace the other. Later reads of independent values succeed.
#[test]
fn a_fault_is_reported_to_readers_of_its_run() {
    let device = Device::gpu_with(&GpuOptions::default()).unwrap();
    let x = Tensor::new([10.0, 20.0, 30.0], [3], &device);
    let index = |i: f64| (Tensor::new([i], [1], &device) * 1.0).to_dtype(DType::I32);
    let realised = |x: Tensor| x.realize().unwrap().clone();
    let fault = |read: Result<Vec<f32>, Error>| match read {
        Err(Error::Index { op: "gather", at }) => at.line(),
        other => panic!("{other:?}"),
    };
    let before = realised(&x + 1.0);
    let line = line!() + 1;
    let missing = realised(x.gather(0, &index(3.0)));
    let there = realised(x.gather(0, &index(2.0)));
    let derived = realised(&there + &missing * 2.0);
    let after = realised(&x + 2.0);

    let other = std::thread::scope(|scope| scope.spawn(|| before.to_vec::<f32>()).join().unwrap());
    assert_eq!(fault(other), line, "the first read");
    for fine in [&before, &after, &there] {
        assert!(fine.to_vec::<f32>().unwrap().iter().all(|x| x.is_finite()));
    }
    assert_eq!(fault(derived.to_vec()), line, "the first read of what depends on it");
    assert!(derived.item().unwrap().is_nan() && missing.item().unwrap().is_nan(), "and then NaN says it");

    let two = [-1.0, 7.0].map(|i| realised(x.gather(0, &index(i))));
    assert_eq!(fault(two[1].to_vec()), fault(two[0].to_vec()), "each of two has its own");
}

/// More indexing runs than there are fault words, without a read.
#[test]
fn a_fault_is_kept_until_a_read() {
    let device = Device::gpu_with(&GpuOptions::default()).unwrap();
    let x = Tensor::new([1.0, 2.0], [2], &device);
    let picked = |i: usize| {
        let index = Tensor::new([if i == 7 { 2.0 } else { 1.0 }], [1], &device).to_dtype(DType::I32);
        x.gather(0, &index).realize().unwrap().clone()
    };
    let values: Vec<Tensor> = (0..300).map(picked).collect();
    assert!(matches!(values[299].item(), Err(Error::Index { .. })), "the first read");
    assert!(matches!(values[7].item(), Err(Error::Index { .. })), "its own");
    for (i, value) in values.iter().enumerate() {
        assert_eq!(value.item().unwrap().is_nan(), i == 7);
    }
}

#[test]
fn async_reads_return_the_same_data() {
    // A separate device, because the next read of the device reports the fault.
    for device in [Device::cpu(), Device::gpu_with(&GpuOptions::default()).unwrap()] {
        let tensors: Vec<Tensor> = (0..5).map(|i| Tensor::full([3], f64::from(i), &device) * 2.0).collect();
        // All of them at once: each waits for its own bytes.
        let reads = tensors.iter().map(|x| x.to_vec_async::<f32>());
        let values: Vec<Vec<f32>> = block_on(join_all(reads)).into_iter().map(Result::unwrap).collect();
        assert_eq!(values, [0.0, 2.0, 4.0, 6.0, 8.0].map(|x| vec![x; 3]));
        assert_eq!(block_on(tensors[3].sum().item_async()).unwrap(), 18.0);
        let index = Tensor::new([7.0], [1], &device).to_dtype(DType::I32);
        let missing = block_on(tensors[0].gather(0, &index).to_vec_async::<f32>());
        assert!(matches!(missing, Err(Error::Index { op: "gather", .. })), "{missing:?} on {device}");
    }
}

// 10. Limits are respected: tests/primitives/large.rs. Everything also runs under WebGPU's defaults:

#[test]
fn webgpus_default_limits_are_enough() {
    let restricted = Device::gpu_with(&GpuOptions { restricted: true, ..GpuOptions::default() }).unwrap();
    let run = |device: &Device| {
        let xs: Vec<Tensor> = (0..12).map(|i| Host::draw(i, &[6, 5], -1.0..1.0).tensor(device)).collect();
        let x = xs[0].clone().requires_grad();
        let wide = xs[1..].iter().fold(&x * 1.0, |sum, x| (sum + x).tanh());
        let loss = wide.softmax(1).matmul(&xs[1].t()).cross_entropy(&Tensor::new([0; 6], [6], device));
        loss.backward();
        Host::read(&x.grad().unwrap())
    };
    run(&restricted).assert_close("a wide expression", &run(&Device::cpu_rounded()), common::SUMS);
}

// 11. The same program gives the same bits.

#[test]
fn the_same_program_gives_the_same_bits() {
    let run = || {
        wgrad::manual_seed(5);
        let device = gpu();
        let x = Host::draw(1, &[50, 40], -1.0..1.0).tensor(&device).requires_grad();
        let keep = Tensor::rand([50, 40], &device).lt(0.8);
        let index = Tensor::new(common::indices(2, 50, 7), [50, 1], &device).expand([50, 40]);
        let rows = Tensor::zeros([7, 40], &device).scatter_add(0, &index, &keep.where_(&x, 0.0).exp());
        let loss = rows.matmul(&rows.t()).log_softmax(1).mean();
        loss.backward();
        let bits = |x: &Tensor| x.to_vec::<f32>().unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        (bits(&loss), bits(&x.grad().unwrap()))
    };
    let first = run();
    (0..5).for_each(|_| assert_eq!(run(), first));
}

#[test]
fn the_generator_is_saved_and_set() {
    wgrad::manual_seed(9);
    let draw = || Tensor::rand([4], &Device::cpu()).to_vec::<f32>().unwrap();
    draw();
    let saved: Generator = wgrad::generator();
    let next = draw();
    wgrad::set_generator(saved);
    assert_eq!(draw(), next);
}

// 13. The only mutable thing is a Var, and nothing that accumulates grows.

#[test]
fn ten_thousand_accumulations_have_constant_memory() {
    let device = null();
    let mean = Var::buffer(Tensor::new([0f32; 100], [100], &device));
    let batch = Tensor::new([0f32; 100], [100], &device);
    let update = |n: usize| (0..n).for_each(|_| mean.set(mean.tensor() * 0.9 + &batch * 0.1));
    update(100);
    mean.tensor().realize().unwrap();
    let live = device.counters().bytes_live;
    update(10_000);
    mean.tensor().realize().unwrap();
    let after = device.counters();
    assert_eq!(after.bytes_live, live);
    assert!(after.bytes_peak <= 4 * live, "{} bytes at the most, {live} live", after.bytes_peak);
}

#[test]
fn a_loss_summed_without_a_read_has_constant_memory() {
    let device = null();
    let w = Var::parameter(Tensor::new([0f32; 100], [100], &device));
    let mut total = Tensor::zeros((), &device);
    let mut peak = 0;
    for step in 0..20_000 {
        let loss = w.tensor().square().sum();
        loss.backward();
        w.set(w.tensor() - w.grad().unwrap() * 0.1);
        total = total + loss.detach();
        // Live memory varies with the number of steps since the chain was last realized; its peak is constant.
        if step == 5000 {
            peak = device.counters().bytes_peak;
        }
    }
    assert_eq!(device.counters().bytes_peak, peak, "bytes at the most, and by step 5000");
    assert!(peak <= 2 << 20, "{peak} bytes at the most");
    total.item().unwrap();
}

#[test]
fn a_read_computes_pending_vars_too() {
    let device = null();
    let var = Var::buffer(Tensor::new([0f32; 4], [4], &device));
    var.set(var.tensor() + 1.0);
    Tensor::ones([3], &device).exp().realize().unwrap();
    let runs = device.counters().runs;
    var.tensor().to_vec::<f32>().unwrap();
    assert_eq!(device.counters().runs, runs);
}

// Threads: the gradient mode is per thread, and a device is shared.

#[test]
fn four_threads_share_a_device() {
    let device = gpu();
    let work = |seed: u64, device: &Device| {
        let x = Host::draw(seed, &[20, 30], -1.0..1.0).tensor(device).requires_grad();
        let mut sums = Vec::new();
        for i in 0..20 {
            let loss = (x.matmul(&x.t()) * (0.1 + f64::from(i) / 100.0)).tanh().mean();
            let gradient = autograd::grad(&loss, &[&x], false)[0].clone().unwrap();
            sums.push(gradient.sum().item().unwrap());
            sums.push(loss.item().unwrap());
        }
        sums
    };
    let alone: Vec<Vec<f64>> = (0..4).map(|seed| work(seed, &device)).collect();
    let together: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|seed| {
                scope.spawn({
                    let device = &device;
                    move || work(seed, device)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
    no_grad(|| {
        let other = std::thread::spawn(wgrad::is_grad_enabled).join().unwrap();
        assert!(other && !wgrad::is_grad_enabled());
    });
}

/// A value may be a view of another's memory. What must read memory in order, or with strides that count upwards, then
/// reads a copy of it.
#[test]
fn realized_views_are_ordinary_operands() {
    let data: Vec<f64> = (0..24).map(|x| f64::from(x) * 0.25 - 2.0).collect();
    let results = [Device::cpu(), gpu()].map(|device| {
        let x = Tensor::new(&data[..], [4, 6], &device);
        let realised = |view: Tensor| view.realize().unwrap().clone();
        let (turned, flipped) = (realised(x.t()), realised(x.flip(1)));
        let batches = realised(x.reshape([2, 3, 2, 2]).permute([2, 1, 0, 3]));
        let labels = Tensor::new([0, 1, 2, 3, 0, 1], [6], &device);
        let read = |x: Tensor| x.to_vec::<f64>().unwrap();
        [
            read(turned.cross_entropy(&labels)),
            read(flipped.matmul(&turned)),
            read(batches.matmul(&batches.transpose(-2, -1))),
        ]
    });
    for (name, (cpu, gpu)) in
        ["cross_entropy", "matmul", "batches"].iter().zip(results[0].iter().zip(&results[1]))
    {
        common::close(name, gpu, cpu, 1e-5, 1e-5);
    }
}

/// Each node runs as soon as it is built: failures are reported in its line, and results are the same.
#[test]
fn an_eager_device_realizes_each_node_as_it_is_built() {
    let eager = Device::gpu_with(&GpuOptions { eager: true, ..GpuOptions::default() }).unwrap();
    let run = |device: &Device| {
        let x = Host::draw(1, &[5, 4], -1.0..1.0).tensor(device).requires_grad();
        let loss = (&x * 2.0).tanh().matmul(&x.t()).softmax(1).square().sum();
        loss.backward();
        Host::read(&x.grad().unwrap())
    };
    run(&eager).assert_close("a gradient", &run(&Device::cpu_rounded()), common::SUMS);
    let x = Tensor::new([1.0, 2.0], [2], &eager);
    let before = eager.counters();
    let y = x.exp();
    assert_eq!((eager.counters().runs, eager.counters().kernels), (before.runs + 1, before.kernels + 1));
    assert!(y.to_vec::<f32>().unwrap()[0] > 2.7 && eager.counters().runs == before.runs + 1);
    let index = Tensor::new([2], [1], &eager);
    let panic = catch_unwind(AssertUnwindSafe(|| x.gather(0, &(&index + 1)))).expect_err("out of range");
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("gather") && message.contains("invariants.rs"), "{message}");
}
