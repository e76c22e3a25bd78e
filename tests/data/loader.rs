//! Order, bits, positions and ends of a loader.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use wgrad::data::{Column, DataLoader, Dataset, LoaderState};
use wgrad::{Device, Tensor, generator, manual_seed};

fn numbers(n: i32) -> Column<i32> {
    Column::new((0..n).collect(), ())
}

fn read(batches: impl Iterator<Item = Tensor>) -> Vec<Vec<i32>> {
    batches.map(|batch| batch.to_vec().unwrap()).collect()
}

/// A dataset that draws: each sample's number, and noise from the thread's generator.
struct Noisy;

impl Dataset for Noisy {
    type Batch = Vec<f32>;

    fn len(&self) -> usize {
        23
    }

    fn batch(&self, samples: &[usize], _: &Device) -> Vec<f32> {
        // The later a batch, the sooner it is there: what comes first must not count.
        thread::sleep(Duration::from_millis(2 * (23 - samples[0] as u64) % 7));
        let noise = generator().uniform(samples.len());
        samples.iter().zip(noise).map(|(&sample, noise)| sample as f32 + noise).collect()
    }
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let three_epochs = |workers| {
        let loader = DataLoader::new(Noisy, 4, &Device::cpu()).shuffle(5).workers(workers);
        (0..3).flat_map(|_| loader.epoch().collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let alone = three_epochs(0);
    assert_eq!(alone.len(), 18);
    assert_ne!(alone[..6], alone[6..12], "each epoch has an order and numbers of its own");
    for workers in [1, 2, 3, 9] {
        assert_eq!(three_epochs(workers), alone, "{workers} workers");
    }
}

#[test]
fn an_epoch_has_every_sample_once() {
    for workers in [0, 2] {
        let loader = DataLoader::new(numbers(10), 3, &Device::cpu()).shuffle(1).workers(workers);
        for _ in 0..2 {
            let batches = read(loader.epoch());
            assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
            let mut all = batches.concat();
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<_>>());
        }
        let loader = DataLoader::new(numbers(10), 3, &Device::cpu()).drop_last().workers(workers);
        assert_eq!(read(loader.epoch()), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]);
        assert_eq!(loader.state(), LoaderState { seed: 0, epoch: 1, position: 0 });
    }
}

#[test]
fn a_loader_resumes_at_any_batch() {
    let dev = Device::cpu();
    let whole: Vec<_> = DataLoader::new(Noisy, 4, &dev).shuffle(9).batches().take(20).collect();
    for stop in 0..20 {
        for workers in [0, 2] {
            let first = DataLoader::new(Noisy, 4, &dev).shuffle(9).workers(workers);
            assert_eq!(first.batches().take(stop).collect::<Vec<_>>(), whole[..stop]);
            let second = DataLoader::new(Noisy, 4, &dev).shuffle(0).workers(2 - workers);
            second.load_state(first.state());
            assert_eq!(second.batches().take(20 - stop).collect::<Vec<_>>(), whole[stop..], "from {stop} on");
        }
    }
}

#[test]
fn the_state_can_be_read_inside_the_loop() {
    let loader = DataLoader::new(numbers(5), 2, &Device::cpu()).shuffle(3).workers(2);
    let states: Vec<_> = loader.batches().take(4).map(|_| loader.state()).collect();
    let at = |epoch, position| LoaderState { seed: 3, epoch, position };
    assert_eq!(states, [at(0, 2), at(0, 4), at(1, 0), at(1, 2)]);
}

#[test]
#[should_panic(expected = "load_state: position 6 is out of range for a dataset of 5 samples")]
fn a_position_beyond_the_data_is_refused() {
    let state = LoaderState { seed: 0, epoch: 0, position: 6 };
    DataLoader::new(numbers(5), 2, &Device::cpu()).load_state(state);
}

#[test]
#[should_panic(expected = "DataLoader: an epoch has no batch of 4 samples")]
fn batches_without_end_need_a_batch() {
    let _ = DataLoader::new(numbers(3), 4, &Device::cpu()).drop_last().batches();
}

/// Counts its batches; one of them fails.
struct Failing {
    made: Arc<AtomicUsize>,
    at: usize,
}

impl Dataset for Failing {
    type Batch = usize;

    fn len(&self) -> usize {
        1000
    }

    fn batch(&self, samples: &[usize], _: &Device) -> usize {
        self.made.fetch_add(1, Ordering::SeqCst);
        assert!(samples[0] != self.at, "sample {} is unreadable", samples[0]);
        samples[0]
    }
}

#[test]
fn a_workers_panic_is_raised_when_its_batch_is_requested() {
    for workers in [0, 1, 3] {
        let loader =
            DataLoader::new(Failing { made: Arc::default(), at: 7 }, 1, &Device::cpu()).workers(workers);
        let mut seen = Vec::new();
        let panic = catch_unwind(AssertUnwindSafe(|| seen.extend(loader.epoch().inspect(|_| ()))))
            .expect_err("sample 7 panics");
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "sample 7 is unreadable", "{workers} workers");
        assert_eq!(loader.state().position, 7);
    }
}

#[test]
fn workers_run_ahead_by_two_batches_each_and_stop_with_the_loop() {
    let made = Arc::new(AtomicUsize::new(0));
    let loader =
        DataLoader::new(Failing { made: made.clone(), at: usize::MAX }, 1, &Device::cpu()).workers(3);
    let mut epoch = loader.epoch();
    assert_eq!(epoch.next(), Some(0));
    thread::sleep(Duration::from_millis(50));
    let ahead = made.load(Ordering::SeqCst);
    drop(epoch); // neither waits for the other 990, nor hangs
    assert_eq!(made.load(Ordering::SeqCst), ahead, "whoever waits for room ends without another batch");
    assert!((1..=1 + 3 * 2).contains(&ahead), "{ahead} batches for one that was asked for");
    assert_eq!(Arc::strong_count(&made), 2, "no worker holds the dataset any more");
}

#[test]
fn a_loader_does_not_change_the_threads_generator() {
    manual_seed(4);
    let before = generator();
    let loader = DataLoader::new(Noisy, 4, &Device::cpu());
    assert_eq!(loader.epoch().count(), 6);
    assert_eq!(generator(), before);
}

/// Uploads from several threads while this one computes give the same sums, bit for bit, on the GPU too.
#[test]
fn workers_upload_while_the_gpu_computes() {
    let dev = Device::gpu().unwrap_or_else(|error| panic!("{error}"));
    let train = |workers| {
        let data: Vec<f32> = (0..3000).map(|i| (i as f32).sin()).collect();
        let loader = DataLoader::new(Column::new(data, [10]), 7, &dev).shuffle(2).workers(workers);
        let mut weight = Tensor::ones([10, 10], &dev);
        for x in loader.batches().take(100) {
            let x: Tensor = x;
            weight = (weight + x.t().matmul(&x) * 0.1).tanh().detach();
            weight.realize().unwrap();
        }
        weight.to_vec::<f32>().unwrap()
    };
    let alone = train(0);
    assert!(alone.iter().all(|x| x.is_finite()) && alone.iter().any(|x| x.abs() > 0.01));
    assert_eq!(train(3), alone);
}
