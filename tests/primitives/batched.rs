//! Small kernels of one kind that do not depend on each other share dispatches, and each computes its own result.

use crate::common::{EXACT, Host};
use wgrad::{Device, GpuOptions, Tensor, Var};

/// One element, odd sizes, multiples of four, and a size that is vectorized.
const SIZES: [usize; 7] = [1, 3, 4, 64, 129, 500, 20_000];

/// Doubles a vector of each size in place, and adds the column sums of a matrix to another; also returns the number of
/// dispatches.
fn all_at_once(device: &Device) -> (Vec<Host>, usize) {
    let whole = |seed, shape: &[usize]| Host::draw(seed, shape, -8.0..8.0).map(f64::round).tensor(device);
    let vars: Vec<Var> =
        SIZES.iter().flat_map(|&n| [1, 2].map(|seed| Var::buffer(whole(seed, &[n])))).collect();
    let matrices: Vec<Tensor> =
        SIZES.iter().map(|&n| whole(3, &[40, n]).realize().unwrap().clone()).collect();
    for (pair, matrix) in vars.chunks(2).zip(&matrices) {
        pair[0].set(pair[0].tensor() * 2.0);
        pair[1].set(pair[1].tensor() + matrix.sum_dim(0, false));
    }
    let before = device.counters().kernels;
    vars[0].tensor().realize().unwrap();
    let kernels = device.counters().kernels - before;
    (vars.iter().map(|var| Host::read(&var.tensor())).collect(), kernels)
}

#[test]
fn kernels_side_by_side() {
    let (wanted, _) = all_at_once(&Device::cpu());
    let restricted = GpuOptions { restricted: true, fuse: true, ..GpuOptions::default() };
    let fused = GpuOptions { fuse: true, ..GpuOptions::default() };
    for options in [fused, restricted] {
        let (got, kernels) = all_at_once(&Device::gpu_with(&options).unwrap());
        for (i, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
            got.assert_close(&format!("result {i}"), wanted, EXACT);
        }
        assert!(kernels < 2 * SIZES.len(), "{kernels} dispatches");
    }
}
