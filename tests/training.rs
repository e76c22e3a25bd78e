//! End to end: the network of the example `digits` trains on its data with equal losses on every device, and steps allocate
//! nothing after warm-up.

#[path = "../examples/digits/data.rs"]
mod data;

use data::{CLASSES, Digits, PIXELS};
use wgrad::data::{Column, DataLoader};
use wgrad::nn::{Linear, Module, ReLU, Sequential};
use wgrad::optim::{AdamW, Optimizer};
use wgrad::{Device, GpuOptions, Tensor, Var, no_grad};

/// A new GPU device, whose counters no other test changes. Without an adapter the test fails with the reason.
fn gpu() -> Device {
    Device::gpu_with(&GpuOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The example's model and optimizer, initialized with seed 0.
struct Training {
    model: Sequential,
    opt: AdamW,
    /// 1,437 digits in batches of 64: 22 whole ones, and 29 digits in the last.
    batches: DataLoader<(Column<f32>, Column<i32>)>,
}

impl Training {
    fn new(train: &Digits, dev: &Device) -> Training {
        wgrad::manual_seed(0);
        let model = Sequential::new()
            .add(Linear::new(PIXELS, 128, dev))
            .add(ReLU)
            .add(Linear::new(128, 64, dev))
            .add(ReLU)
            .add(Linear::new(64, CLASSES, dev));
        let opt = AdamW::new(model.params(), 2e-3);
        Training { model, opt, batches: DataLoader::new(train.columns(), 64, dev).shuffle(0) }
    }

    /// One epoch; `seen` is shown each loss before its step.
    fn epoch(&mut self, mut seen: impl FnMut(&Tensor)) {
        for (x, y) in self.batches.epoch() {
            let loss = self.model.forward(&x).cross_entropy(&y);
            loss.backward();
            seen(&loss);
            self.opt.step();
        }
    }
}

/// The losses of the first epoch's steps.
fn losses(train: &Digits, dev: &Device) -> Vec<f64> {
    let mut losses = Vec::new();
    Training::new(train, dev).epoch(|loss| losses.push(loss.clone()));
    losses.iter().map(|loss| loss.item().unwrap()).collect()
}

/// 1e-3, because AdamW divides a gradient near 0 by its own size, which can turn a difference in its last bits into one
/// of the step's. llvmpipe stays within 1e-6.
#[test]
fn gpu_and_cpu_agree_on_every_loss_of_the_first_epoch() {
    let (train, _) = Digits::load().unwrap();
    let (gpu, cpu) = (losses(&train, &gpu()), losses(&train, &Device::cpu()));
    assert_eq!((gpu.len(), cpu.len()), (23, 23));
    for (step, (gpu, cpu)) in gpu.iter().zip(&cpu).enumerate() {
        assert!(
            (gpu - cpu).abs() <= 1e-3,
            "step {step}: {gpu} on the GPU, {cpu} on the CPU; they may differ by 1e-3"
        );
    }
    // The network has learned: guessing has the loss ln 10 = 2.30.
    assert!((cpu[0] - 10f64.ln()).abs() < 0.1 && cpu[22] < 2.0, "{cpu:?}");
}

#[test]
fn after_the_first_epoch_nothing_is_planned_compiled_or_allocated() {
    let (dev, (train, _)) = (gpu(), Digits::load().unwrap());
    let mut training = Training::new(&train, &dev);
    let total = Var::buffer(Tensor::zeros((), &dev));
    let after: Vec<_> = (0..4)
        .map(|_| {
            training.epoch(|loss| total.set(total.tensor() + loss.detach()));
            assert!(total.tensor().item().unwrap().is_finite());
            dev.counters()
        })
        .collect();
    for (epoch, now) in after.iter().enumerate().skip(1) {
        let grown = |what: &str, first: u64, now: u64| {
            assert_eq!(first, now, "{what} after the first epoch, and after epoch {}: {after:#?}", epoch + 1);
        };
        let first = after[0];
        grown("plans", first.plans as u64, now.plans as u64);
        grown("pipelines", first.pipelines as u64, now.pipelines as u64);
        grown("buffers", first.buffers as u64, now.buffers as u64);
        // The first epoch began with an empty pool; from what it left, the second took buffers in another order.
        grown("bind groups", after[1].bind_groups as u64, now.bind_groups as u64);
        grown("bytes in use", first.bytes_live, now.bytes_live);
        // The plan of the last, shorter batch keeps a constant, which the second epoch's first steps have beside them.
        grown("bytes in use at most", after[1].bytes_peak, now.bytes_peak);
        // 23 steps are 23 runs: the losses, and their sum, are computed along with the steps.
        assert_eq!(now.runs - after[epoch - 1].runs, 23, "{after:#?}");
    }
}

#[test]
fn after_five_epochs_on_the_cpu_most_test_digits_are_read() {
    let (dev, (train, test)) = (Device::cpu(), Digits::load().unwrap());
    let mut training = Training::new(&train, &dev);
    (0..5).for_each(|_| training.epoch(|_| {}));
    let (pixels, classes) = test.tensors(&dev);
    let hits = no_grad(|| training.model.forward(&pixels).argmax(1, false).eq(&classes).sum());
    let hits = hits.item().unwrap();
    // 315 of 360 when this was written; the bound leaves room for other orders of summing.
    assert!(hits >= 306.0, "only {hits} of 360 are right");
}
