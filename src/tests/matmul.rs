//! Compares every variant of the matrix product, including variants that this adapter would not choose, with three
//! plain loops.

use crate::gpu::matmul::{Costs, Variant};
use crate::{AdapterKind, Device, Generator, GpuOptions, Tensor, Var};

/// Returns options of devices that choose among different variants.
fn devices() -> Vec<GpuOptions> {
    let restricted = GpuOptions { restricted: true, ..GpuOptions::default() };
    let of = |kind| GpuOptions { kind: Some(kind), ..GpuOptions::default() };
    vec![of(AdapterKind::Software), restricted, of(AdapterKind::Discrete)]
}

/// Runs a test for each variant, on a device whose only variant it is.
fn each_variant(mut test: impl FnMut(&Device, Variant)) {
    for options in devices() {
        let open = || Device::gpu_with(&options).unwrap_or_else(|error| panic!("{error}"));
        for (variant, cost) in Costs::of(open().limits().expect("a GPU has limits")).variants {
            let device = open();
            let Some(gpu) = device.gpu_backend() else { unreachable!("it was opened as a GPU") };
            gpu.matmul_costs().variants = vec![(variant, cost)];
            test(&device, variant);
        }
    }
}

/// Sizes m, n, k: ones, primes, slightly more than one tile, and multiples of four that are not multiples of a tile.
const SIZES: [[usize; 3]; 7] =
    [[1, 1, 1], [5, 7, 3], [3, 70, 129], [70, 2, 33], [65, 131, 17], [132, 68, 20], [128, 64, 48]];

/// Returns small integers, whose sums of products are exact, so that results can be compared exactly.
fn whole_numbers(seed: u64, count: usize) -> Vec<f32> {
    Generator::new(seed).uniform(count).into_iter().map(|x| (x * 16.0).floor() - 8.0).collect()
}

fn in_order(data: &[f32], shape: [usize; 2], device: &Device) -> Tensor {
    Tensor::new(data, shape, device)
}

/// Returns the same matrix with a column-major layout in memory.
fn transposed(data: &[f32], [rows, cols]: [usize; 2], device: &Device) -> Tensor {
    let columns = (0..rows * cols).map(|x| data[x % rows * cols + x / rows]);
    Tensor::new(columns.collect::<Vec<_>>(), [cols, rows], device).t()
}

/// Returns the same matrix as every third element of a larger tensor.
fn strided(data: &[f32], [rows, cols]: [usize; 2], device: &Device) -> Tensor {
    let thirds = data.iter().flat_map(|&x| [f32::NAN, x, f32::NAN]);
    Tensor::new(thirds.collect::<Vec<_>>(), [rows, cols, 3], device).select(2, 1)
}

#[test]
fn every_variant_is_exact_in_every_layout() {
    each_variant(|device, variant| {
        for [m, n, k] in SIZES {
            let (a, b) = (whole_numbers(1, m * k), whole_numbers(2, k * n));
            let mut want = vec![0.0; m * n];
            for (i, j, l) in (0..m * n * k).map(|x| (x / (n * k), x / k % n, x % k)) {
                want[i * n + j] += a[i * k + l] * b[l * n + j];
            }
            let layouts = [
                ("NN", in_order(&a, [m, k], device), in_order(&b, [k, n], device)),
                ("NT", in_order(&a, [m, k], device), transposed(&b, [k, n], device)),
                ("TN", transposed(&a, [m, k], device), in_order(&b, [k, n], device)),
                ("strided", strided(&a, [m, k], device), strided(&b, [k, n], device)),
            ];
            for (layout, a, b) in layouts {
                let got = a.matmul(&b).to_vec::<f32>().unwrap();
                assert_eq!(got, want, "{variant:?}, {layout}, {m} x {n} x {k}");
            }
        }
    });
}

/// Measured costs may differ between machines and between runs, but results must be the same.
#[test]
fn the_choice_among_variants_changes_no_bit() {
    let (m, n, k) = (37, 70, 90);
    let mut results: Vec<(Variant, Vec<f32>)> = Vec::new();
    each_variant(|device, variant| {
        let [a, b] = [[m, k], [k, n]].map(|shape| {
            let data = Generator::new(shape[0] as u64).uniform(shape[0] * shape[1]);
            Tensor::new(data.iter().map(|x| x - 0.5).collect::<Vec<_>>(), shape, device)
        });
        results.push((variant, a.matmul(&b).to_vec().unwrap()));
    });
    let (first, want) = &results[0];
    for (variant, got) in &results {
        assert!(got == want, "{variant} and {first} differ");
    }
}

/// The epilogue of a product may overwrite its operand, so an element that is stored twice would be wrong.
#[test]
fn a_product_is_added_to_a_sum_in_place() {
    each_variant(|device, variant| {
        let [m, n, k] = [65, 131, 17];
        let (a, b, start) = (whole_numbers(1, m * k), whole_numbers(2, k * n), whole_numbers(3, m * n));
        let mut product = vec![0.0; m * n];
        for (i, j, l) in (0..m * n * k).map(|x| (x / (n * k), x / k % n, x % k)) {
            product[i * n + j] += a[i * k + l] * b[l * n + j];
        }
        let (a, b) = (in_order(&a, [m, k], device), in_order(&b, [k, n], device));
        let sum = Var::buffer(in_order(&start, [m, n], device));
        for _ in 0..2 {
            sum.set(&sum.tensor() * 0.5 + a.matmul(&b));
            sum.tensor().realize().unwrap();
        }
        let want: Vec<f32> = start.iter().zip(&product).map(|(x, y)| x * 0.25 + y * 1.5).collect();
        assert_eq!(sum.tensor().to_vec::<f32>().unwrap(), want, "{variant}");
    });
}
