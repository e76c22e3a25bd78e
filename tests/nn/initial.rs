//! Initial weights: their distributions in closed form, their seeds, and that a layer starts as PyTorch's does.

use wgrad::nn::init::{self, Fan};
use wgrad::nn::*;
use wgrad::{Device, Tensor, Var};

use crate::common::{Host, close, gpu};

/// 60 x 50 windows of 5: 250 go in, 300 come out.
const SHAPE: [usize; 3] = [60, 50, 5];

fn drawn(fill: impl FnOnce(&Var)) -> Vec<f64> {
    wgrad::manual_seed(3);
    let var = Var::parameter(Tensor::zeros(SHAPE, &Device::cpu()));
    fill(&var);
    Host::read(&var.tensor()).data
}

/// Mean and variance within four standard errors, and every value within the bounds, of which both ends are nearly reached.
#[track_caller]
fn has(data: &[f64], mean: f64, std: f64, kurtosis: f64, bounds: Option<(f64, f64)>) {
    let n = data.len() as f64;
    let found = data.iter().sum::<f64>() / n;
    let variance = data.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    close("mean", &[found], &[mean], 4.0 * std / n.sqrt(), 0.0);
    close("variance", &[variance], &[std * std], 4.0 * std * std * ((kurtosis - 1.0) / n).sqrt(), 0.0);
    if let Some((low, high)) = bounds {
        let least = data.iter().copied().fold(f64::INFINITY, f64::min);
        let most = data.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let near = (high - low) * 0.002;
        assert!((low..low + near).contains(&least), "{least} for {low}");
        assert!((high - near..=high).contains(&most), "{most} for {high}");
    }
}

/// The fourth moments of a uniform and a normal distribution over the squares of the second.
const UNIFORM: f64 = 9.0 / 5.0;
const NORMAL: f64 = 3.0;

#[test]
fn distributions_have_their_moments() {
    let bounds = |bound: f64| Some((-bound as f32 as f64, bound as f32 as f64));
    has(&drawn(|var| init::uniform(var, -1.0, 3.0)), 1.0, 4.0 / 12f64.sqrt(), UNIFORM, Some((-1.0, 3.0)));
    has(&drawn(|var| init::normal(var, 2.0, 0.5)), 2.0, 0.5, NORMAL, None);
    let xavier = 2.0 * (2.0 / 550f64).sqrt();
    has(&drawn(|var| init::xavier_uniform(var, 2.0)), 0.0, xavier, UNIFORM, bounds(xavier * 3f64.sqrt()));
    has(&drawn(|var| init::xavier_normal(var, 2.0)), 0.0, xavier, NORMAL, None);
    for (fan, count) in [(Fan::In, 250f64), (Fan::Out, 300.0)] {
        let std = 2f64.sqrt() / count.sqrt();
        let uniform = drawn(|var| init::kaiming_uniform(var, fan, 2f64.sqrt()));
        has(&uniform, 0.0, std, UNIFORM, bounds(std * 3f64.sqrt()));
        has(&drawn(|var| init::kaiming_normal(var, fan, 2f64.sqrt())), 0.0, std, NORMAL, None);
    }
    assert!(drawn(|var| init::constant(var, 0.25)).iter().all(|&x| x == 0.25));
}

/// Of a standard normal cut at ±1 the variance is 1 - 2 φ(1) / (2 Φ(1) - 1) = 0.29113, the fourth moment
/// 3 (1 - 2 φ(1) / (2 Φ(1) - 1)) - 2 φ(1) / (2 Φ(1) - 1) = 0.16452.
#[test]
fn a_truncated_normal_keeps_to_its_bounds() {
    let data = drawn(|var| init::trunc_normal(var, 1.0, 2.0, -1.0, 3.0));
    let variance = 0.291_125;
    has(&data, 1.0, 2.0 * f64::sqrt(variance), 0.164_5 / (variance * variance), Some((-1.0, 3.0)));
}

#[test]
fn orthogonal_rows_or_columns() {
    for shape in [vec![6, 10], vec![10, 6], vec![7, 7], vec![4, 3, 5]] {
        let var = Var::parameter(Tensor::zeros(&shape[..], &Device::cpu()));
        init::orthogonal(&var, 3.0);
        let matrix = var.tensor().reshape([shape[0] as i64, -1]);
        let (rows, columns) = (matrix.size(0), matrix.size(1));
        let product = if rows <= columns { matrix.matmul(&matrix.t()) } else { matrix.t().matmul(&matrix) };
        let n = rows.min(columns);
        let want = Host::tabulate(&[n, n], |at| if at[0] == at[1] { 9.0 } else { 0.0 });
        close(&format!("{shape:?}"), &Host::read(&product).data, &want.data, 2e-6, 0.0);
    }
}

/// PyTorch's bounds, from its formulas: 1/√fan, √(6 / (4 embed)) for the projections of attention, 1/√hidden.
#[test]
fn layers_start_within_pytorchs_bounds() {
    let device = Device::cpu();
    wgrad::manual_seed(0);
    let uniform: [(Box<dyn Module>, f64); 7] = [
        (Box::new(Linear::new(49, 300, &device)), 1.0 / 7.0),
        (Box::new(Bilinear::new(25, 16, 30, &device)), 1.0 / 5.0),
        (Box::new(Conv1d::new(5, 200, [5], &device)), 1.0 / 5.0),
        (Box::new(Conv2d::new(8, 200, [3, 3], &device).groups(2)), 1.0 / 6.0),
        (Box::new(ConvTranspose2d::new(40, 8, [3, 3], &device).groups(2)), 1.0 / 6.0),
        (Box::new(LSTM::new(30, 64, &device)), 1.0 / 8.0),
        (Box::new(GRU::new(30, 64, &device).num_layers(2)), 1.0 / 8.0),
    ];
    for (layer, bound) in &uniform {
        for (name, var) in layer.named_params() {
            let data = Host::read(&var.tensor()).data;
            let most = data.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            // The largest of n lies below 1 - 12/n of the bound once in 160,000 times.
            let least = bound * (1.0 - 12.0 / data.len() as f64);
            assert!(
                (least..=bound * (1.0 + 1e-6)).contains(&most),
                "{} {name}: {most} for {bound}",
                layer.kind()
            );
        }
    }
    let attention = MultiheadAttention::new(24, 2, &device);
    let bound = (6f64 / 96.0).sqrt();
    has(
        &Host::read(&attention.in_proj_weight.tensor()).data,
        0.0,
        bound / 3f64.sqrt(),
        UNIFORM,
        Some((-bound, bound)),
    );
    has(&Host::read(&Embedding::new(100, 30, &device).weight.tensor()).data, 0.0, 1.0, NORMAL, None);
}

#[test]
fn a_seed_gives_the_same_weights_on_every_device() {
    let weights = |device: &Device| -> Vec<Host> {
        wgrad::manual_seed(11);
        let model = Sequential::new()
            .add(Conv2d::new(2, 3, [3, 3], device))
            .add(BatchNorm2d::new(3, device))
            .add(Embedding::new(5, 4, device).padding(2))
            .add(TransformerBlock::new(8, 2, device))
            .add(LSTM::new(4, 3, device).bidirectional());
        model.named_vars().iter().map(|(_, var)| Host::read(&var.tensor())).collect()
    };
    assert_eq!(weights(&Device::cpu()), weights(&gpu()));
}
