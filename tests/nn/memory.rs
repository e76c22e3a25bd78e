//! Training in mixed batches and lengths: after each shape was seen once, nothing more is planned, compiled or allocated.

use wgrad::nn::*;
use wgrad::optim::{AdamW, Optimizer};
use wgrad::{AdapterKind, Counters, Device, GpuOptions, Limits, Tensor};

use crate::common::Host;

/// Batches and lengths, each different in both, and one twice.
const SIZES: [[usize; 2]; 5] = [[4, 7], [1, 3], [6, 2], [3, 9], [4, 7]];

/// A device of its own, whose counters no other test moves.
fn gpu() -> Device {
    Device::gpu_with(&GpuOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Rounds over all sizes; the counters after each.
fn train(device: &Device, model: &dyn Module, input: fn(&Device, usize, usize) -> Tensor) -> Vec<Counters> {
    let mut optimizer = AdamW::new(model.params(), 1e-3);
    let round = |_| {
        for [batch, length] in SIZES {
            let loss = model.forward(&input(device, batch, length)).square().mean();
            loss.backward();
            optimizer.step();
            assert!(loss.item().unwrap().is_finite());
        }
        device.counters()
    };
    (0..9).map(round).collect()
}

#[track_caller]
fn stays_flat(rounds: &[Counters]) {
    let [first, second, .., last] = rounds else { panic!("several rounds") };
    assert_eq!(first.plans, last.plans, "plans: {rounds:#?}");
    assert_eq!(first.pipelines, last.pipelines, "pipelines: {rounds:#?}");
    assert_eq!(first.bytes_live, last.bytes_live, "bytes in use: {rounds:#?}");
    // The first round began with an empty pool.
    assert_eq!(second.buffers, last.buffers, "buffers: {rounds:#?}");
    assert_eq!(second.bytes_peak, last.bytes_peak, "bytes in use at most: {rounds:#?}");
    // Buffers change hands in several ways before they do so again.
    assert_eq!(rounds[5].bind_groups, last.bind_groups, "bind groups: {rounds:#?}");
}

fn features(device: &Device, batch: usize, length: usize) -> Tensor {
    Host::draw((batch * length) as u64, &[batch, length, 8], -1.0..1.0).tensor(device)
}

fn images(device: &Device, batch: usize, length: usize) -> Tensor {
    Host::draw((batch * length) as u64, &[batch, 4, length, 5], -1.0..1.0).tensor(device)
}

#[test]
fn an_lstm() {
    let device = gpu();
    stays_flat(&train(&device, &LSTM::new(8, 6, &device).num_layers(2), features));
}

#[test]
fn a_gru_in_both_directions() {
    let device = gpu();
    stays_flat(&train(&device, &GRU::new(8, 6, &device).bidirectional(), features));
}

#[test]
fn attention_with_rotary_positions_and_dropout() {
    let device = gpu();
    let block = || TransformerBlock::new(8, 2, &device).causal().dropout(0.1);
    let model = Sequential::new()
        .add(block().rotary(RotaryEmbedding::new(4, 16, 1e4, &device)))
        .add(block())
        .add(RMSNorm::new([8], &device));
    stays_flat(&train(&device, &model, features));
}

#[test]
fn the_norms() {
    let device = gpu();
    let model = Sequential::new()
        .add(BatchNorm2d::new(4, &device))
        .add(GroupNorm::new(2, 4, &device))
        .add(LayerNorm::new([5], &device))
        .add(RMSNorm::new([5], &device));
    stays_flat(&train(&device, &model, images));
}

/// Nothing is read: the statistics wait, and what waits is computed before it grows.
#[test]
fn ten_thousand_forwards_of_batch_norm() {
    let limits = Limits { kind: AdapterKind::Discrete, storage_buffers: 32, ..Limits::webgpu() };
    let device = Device::null(limits);
    let norm = BatchNorm1d::new(100, &device);
    let x = Tensor::new([0f32; 400], [4, 100], &device);
    let forwards = |n: usize| {
        (0..n).for_each(|_| drop(norm.forward(&x)));
        norm.running_mean.tensor().realize().unwrap();
        device.counters()
    };
    let (before, after) = (forwards(2_500), forwards(10_000));
    assert_eq!(after.bytes_live, before.bytes_live);
    assert_eq!(after.bytes_peak, before.bytes_peak);
}
