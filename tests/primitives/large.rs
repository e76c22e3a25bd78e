//! Sizes past the limits of adapters: 65,535 workgroups in a dimension, and 65,535 iterations of a loop on a software one.
//! The operands are whole numbers whose sums are exact in f32, so nothing may be off by one.

use crate::common::gpu;
use wgrad::{Device, Error, GpuOptions, Tensor};

/// The remainders of the indices by `modulus`, as floats: small whole numbers of known sums.
fn remainders(n: usize, modulus: usize) -> Vec<f32> {
    (0..n).map(|i| (i % modulus) as f32).collect()
}

#[test]
fn more_elements_than_one_dimension_of_workgroups() {
    // 64 invocations a workgroup, four elements each.
    let n = 65_535 * 64 * 4 + 1027;
    let x = Tensor::new(remainders(n, 4099), [n], &gpu());
    let y = (&x * 2.0 + 1.0).to_vec::<f32>().unwrap();
    let wrong = y.iter().enumerate().find(|(i, y)| **y != (i % 4099) as f32 * 2.0 + 1.0);
    assert_eq!(wrong, None);
    // One element an invocation: reversed, each of them needs its coordinate.
    let y = (x.flip(0) + 1.0).to_vec::<f32>().unwrap();
    let wrong = y.iter().rev().enumerate().find(|(i, y)| **y != (i % 4099) as f32 + 1.0);
    assert_eq!(wrong, None);
}

#[test]
fn a_sum_of_ten_million() {
    let n = 10_000_000;
    let x = Tensor::new(remainders(n, 2), [n], &gpu());
    assert_eq!(x.sum().item().unwrap(), 5_000_000.0);
    assert_eq!(x.amax((), false).item().unwrap(), 1.0);
    assert_eq!((&x - 3.0).amin((), false).item().unwrap(), -3.0);
    assert_eq!(x.lt(0.5).sum().item().unwrap(), 5_000_000.0);
    assert_eq!(x.reshape([2, 5, 1_000_000]).sum_dim([0, 2], false).to_vec::<f32>().unwrap(), [1e6; 5]);
}

#[test]
fn long_reductions_along_either_dim() {
    let (long, wide) = (70_000, 7);
    let x = Tensor::new(remainders(long * wide, wide), [long, wide], &gpu());
    let want: Vec<f32> = (0..wide).map(|column| (column * long) as f32).collect();
    assert_eq!(x.sum_dim(0, false).to_vec::<f32>().unwrap(), want);
    assert_eq!(x.t().sum_dim(1, false).to_vec::<f32>().unwrap(), want);
    let maximum: Vec<f32> = (0..wide).map(|column| column as f32).collect();
    assert_eq!(x.amax(0, false).to_vec::<f32>().unwrap(), maximum);
    let rows = Tensor::new(remainders(long * wide, 2), [wide, long], &gpu());
    assert_eq!(rows.sum_dim(1, false).to_vec::<f32>().unwrap(), [35_000.0; 7]);
    let last = Tensor::new(remainders(long, long), [long, 1], &gpu());
    assert_eq!(last.argmax(0, false).item().unwrap(), 69_999.0);
}

#[test]
fn scatters_and_gathers_of_many() {
    let n = 70_000;
    let index: Vec<i32> = (0..n).map(|i| i % 3).collect();
    let index = Tensor::new(index, [n as usize], &gpu());
    let ones = Tensor::ones([n as usize], &gpu());
    let counts = Tensor::zeros([3], &gpu()).scatter_add(0, &index, &ones);
    assert_eq!(counts.to_vec::<f32>().unwrap(), [23_334.0, 23_333.0, 23_333.0]);
    let picked = Tensor::new([10.0, 20.0, 30.0], [3], &gpu()).gather(0, &index);
    assert_eq!(picked.sum().item().unwrap(), 233_340.0 + 466_660.0 + 699_990.0);
}

/// Batches along three strides are copied: 256 MiB, of which WebGPU's default limits let a kernel bind half.
#[test]
fn an_operand_that_must_be_written_and_is_too_large_is_an_error() {
    let device = Device::gpu_with(&GpuOptions { restricted: true, ..GpuOptions::default() }).unwrap();
    let matrices = Tensor::ones([8, 1, 8, 256, 256], &device);
    let products = matrices.matmul(&Tensor::ones([1, 16, 1, 256, 1], &device));
    assert!(matches!(products.realize(), Err(Error::TooLarge { .. })));
}
