//! Large kernels are vectorized where their operands allow it. The operands are small integers, whose sums are exact in f32, so
//! that the GPU must agree with the CPU in every bit and every memory layout.

use crate::common::layout::{LAYOUTS, Layout};
use crate::common::{EXACT, Host, gpu, indices};
use wgrad::{Device, GpuOptions, Tensor};

type Function = fn(&Tensor, &Tensor, &Tensor) -> Tensor;

/// `x` `[33, 8, n]`, a row `[n]` and a column `[33, 8, 1]`.
const FUNCTIONS: [(&str, Function); 12] = [
    ("elementwise", |x, row, column| x * row + column),
    ("of one contiguous operand", |x, _, _| x.abs() * 3.0),
    ("sum of rows", |x, row, column| (x * row + column).sum_dim(2, false)),
    ("sum of columns", |x, row, column| (x * row + column).sum_dim([0, 1], false)),
    ("sum of the middle", |x, row, _| (x + row).sum_dim(1, true)),
    ("maximum of rows", |x, row, _| (x * row).amax(2, false)),
    ("maximum of columns", |x, row, column| (x * row - column).amax(0, false)),
    ("sum of all", |x, row, column| (x * row + column).sum()),
    ("sums of columns beside each other", |x, row, _| {
        x.sum_dim(0, false) + (x * row).sum_dim(0, false) * 2.0
    }),
    ("padded by multiples of four", |x, row, _| (x + row).pad([4, 8]) - 1.0),
    ("padded by others", |x, row, _| (x + row).pad([1, 2]) - 1.0),
    ("cut", |x, row, column| (x * row + column).narrow(2, 3, 48)),
];

#[test]
fn many_places_however_they_lie() {
    for device in [gpu(), restricted()] {
        for n in [64, 63] {
            for layout in LAYOUTS.into_iter().filter(|layout| *layout != Layout::Empty) {
                for (name, f) in FUNCTIONS {
                    let value = |device: &Device| {
                        let shape = [33, 8, n];
                        let x = whole(1, &layout.leaf(&shape)).tensor(device);
                        let (row, column) =
                            (whole(2, &[n]).tensor(device), whole(3, &[33, 8, 1]).tensor(device));
                        Host::read(&f(&layout.view(&x, &shape), &row, &column))
                    };
                    let what = format!("{name} of {n} ({layout:?})");
                    value(&device).assert_close(&what, &value(&Device::cpu()), EXACT);
                }
            }
        }
    }
}

/// Each row of the source is added to one of the result's: the index is one for four columns.
#[test]
fn scattered_rows() {
    let index = Tensor::new(indices(4, 512, 65), [512, 1], &gpu());
    for width in [64, 63] {
        let rows = whole(5, &[512, width]);
        let sums = Tensor::zeros([65, width as i64], &gpu()).scatter_add(
            0,
            &index.expand([512, width as i64]),
            &rows.tensor(&gpu()),
        );
        let mut want = vec![0.0; 65 * width];
        for (row, target) in indices(4, 512, 65).into_iter().enumerate() {
            (0..width).for_each(|col| want[target as usize * width + col] += rows.at([row, col]));
        }
        Host::read(&sums).assert_close("scattered rows", &Host::new(&want, &[65, width]), EXACT);
    }
}

/// WebGPU's default limits: no subgroups.
fn restricted() -> Device {
    Device::gpu_with(&GpuOptions { restricted: true, ..GpuOptions::default() }).unwrap()
}

fn whole(seed: u64, shape: &[usize]) -> Host {
    Host::draw(seed, shape, -8.0..8.0).map(f64::round)
}
