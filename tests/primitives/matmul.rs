//! Matrix products, against three plain loops.

use crate::common::{Host, SUMS, Tolerance, check, check_gpu, gpu};
use wgrad::{Device, Tensor};

/// The last two dims as matrices, the others as batches that broadcast.
fn product(a: &Host, b: &Host) -> Host {
    let lead = |x: &Host, row: bool| match (x.shape.len(), row) {
        (1, true) => Host { data: x.data.clone(), shape: vec![1, x.shape[0]] },
        (1, false) => Host { data: x.data.clone(), shape: vec![x.shape[0], 1] },
        _ => x.clone(),
    };
    let (left, right) = (lead(a, true), lead(b, false));
    let (m, k) = (left.shape[left.shape.len() - 2], left.shape[left.shape.len() - 1]);
    let n = right.shape[right.shape.len() - 1];
    let rank = left.shape.len().max(right.shape.len());
    let size = |x: &Host, dim: usize| (dim + x.shape.len()).checked_sub(rank).map_or(1, |d| x.shape[d]);
    let batch: Vec<usize> = (0..rank - 2)
        .map(|dim| if size(&left, dim) == 1 { size(&right, dim) } else { size(&left, dim) })
        .collect();
    // Where the matrix of a batch begins.
    let start = |x: &Host, at: &[usize], area: usize| {
        (0..rank - 2).fold(0, |i, dim| i * size(x, dim) + at[dim] % size(x, dim)) * area
    };
    let shape: Vec<usize> = batch.iter().copied().chain([m, n]).collect();
    let mut out = Host::tabulate(&shape, |c| {
        let (at, i, j) = (&c[..rank - 2], c[rank - 2], c[rank - 1]);
        let (a, b) = (start(&left, at, m * k) + i * k, start(&right, at, k * n) + j);
        (0..k).map(|l| left.data[a + l] * right.data[b + l * n]).sum()
    });
    if b.shape.len() == 1 {
        out.shape.pop();
    }
    if a.shape.len() == 1 {
        out.shape.remove(out.shape.len() - 1 - usize::from(b.shape.len() != 1));
    }
    out
}

type Shapes = (&'static [usize], &'static [usize]);

/// All combinations of ranks, sizes of 0 and 1, batches that broadcast in one operand or both.
const SMALL: &[Shapes] = &[
    (&[3], &[3]),
    (&[3], &[3, 2]),
    (&[2, 3], &[3]),
    (&[2, 3], &[3, 4]),
    (&[2, 2, 3], &[3]),
    (&[3], &[2, 3, 2]),
    (&[2, 2, 3], &[3, 2]),
    (&[2, 3], &[2, 3, 2]),
    (&[2, 2, 3], &[2, 3, 2]),
    (&[1, 2, 3], &[2, 3, 2]),
    (&[2, 1, 2, 3], &[3, 3, 2]),
    (&[2, 1, 2, 2], &[1, 3, 2, 1]),
    (&[1, 1], &[1, 1]),
    (&[1, 5], &[5, 1]),
    (&[5, 1], &[1, 5]),
    (&[2, 0], &[0, 3]),
    (&[0, 2], &[2, 3]),
    (&[2, 3], &[3, 0]),
    (&[0, 2, 3], &[3, 2]),
    (&[0, 2, 3], &[0, 3, 2]),
    (&[0], &[0]),
];

#[test]
fn products_of_all_ranks() {
    for (seed, (a, b)) in SMALL.iter().enumerate() {
        let inputs = [Host::draw(seed as u64, a, -1.0..1.0), Host::draw(50 + seed as u64, b, -1.0..1.0)];
        let want = product(&inputs[0], &inputs[1]);
        check(&format!("matmul of {a:?} and {b:?}"), &inputs, &|xs| xs[0].matmul(&xs[1]), &want, SUMS);
    }
}

/// Contiguous, transposed, sliced and flipped operands: the GPU reads them by strides where it can.
#[test]
fn products_of_views() {
    type Product = fn(&Tensor, &Tensor) -> Tensor;
    let table: &[(&str, Shapes, Product)] = &[
        ("NT", (&[5, 7], &[3, 7]), |a, b| a.matmul(&b.t())),
        ("TN", (&[7, 5], &[7, 3]), |a, b| a.t().matmul(b)),
        ("TT", (&[7, 5], &[3, 7]), |a, b| a.t().matmul(&b.t())),
        ("sliced", (&[6, 9], &[8, 4]), |a, b| a.narrow(0, 1, 5).narrow(1, 2, 7).matmul(&b.narrow(0, 1, 7))),
        ("flipped", (&[5, 7], &[7, 3]), |a, b| a.flip(1).matmul(&b.flip(0))),
        ("padded", (&[5, 5], &[7, 3]), |a, b| a.pad([1, 1]).matmul(b)),
        ("heads", (&[5, 3, 4], &[5, 3, 4]), |a, b| a.transpose(0, 1).matmul(&b.permute([1, 2, 0]))),
        ("four dims", (&[2, 3, 3, 2], &[2, 3, 3, 2]), |a, b| {
            a.permute([2, 0, 1, 3]).matmul(&b.permute([2, 0, 3, 1]))
        }),
        ("computed", (&[5, 7], &[7, 3]), |a, b| a.exp().matmul(&(b * 2.0)).relu() + 1.0),
        ("linear", (&[2, 4, 7], &[3, 7]), |a, b| a.linear(b, Some(&b.select(1, 0)))),
        ("itself", (&[4, 4], &[1]), |a, b| a.matmul(&a.t()) * b),
    ];
    for (seed, (name, (a, b), run)) in table.iter().enumerate() {
        let inputs = [Host::draw(seed as u64, a, -1.0..1.0), Host::draw(90 + seed as u64, b, -1.0..1.0)];
        let f = |xs: &[Tensor]| run(&xs[0], &xs[1]);
        crate::common::check_gradient(name, &inputs, &f);
        check_gpu(&format!("matmul, {name}"), &inputs, &f, SUMS, SUMS);
    }
}

/// Sizes that no tile divides. A sum of K products of size 1/3 has an error of about sqrt(K) roundings of its partial sums.
#[test]
fn products_of_prime_and_larger_sizes() {
    for (m, k, n) in [(17, 31, 13), (67, 129, 101), (1, 997, 1), (131, 1, 61), (256, 64, 256), (2, 70_000, 3)]
    {
        let inputs = [Host::draw(1, &[m, k], -1.0..1.0), Host::draw(2, &[k, n], -1.0..1.0)];
        let error = 1e-7 * (k as f64).sqrt().max(4.0);
        let tolerance = Tolerance { atol: 4.0 * error, rtol: 1e-5 };
        let f = |xs: &[Tensor]| xs[0].matmul(&xs[1]);
        let (got, want) = (f(&inputs.clone().map(|x| x.tensor(&gpu()))), product(&inputs[0], &inputs[1]));
        Host::read(&got).assert_close(&format!("matmul {m}x{k}x{n}"), &want, tolerance);
        // The products of a gradient are of size 0.6: weights from 0.5 to 1.5 times operands from -1 to 1.
        let gradient = Tolerance { atol: 8e-7 * (m.max(n) as f64).sqrt().max(4.0), rtol: 1e-5 };
        check_gpu(&format!("matmul {m}x{k}x{n}"), &inputs, &f, tolerance, gradient);
    }
}

/// K past the 65,535 iterations of a software adapter's loops, where the sum is known: a kernel that stops early is far off.
#[test]
fn a_long_inner_dim_is_summed_to_its_end() {
    for k in [65_535, 65_536, 70_000, 200_001] {
        let ones = Tensor::ones([2, k], &gpu());
        let ones = (ones * 1.0).realize().unwrap().clone();
        // Whole numbers up to 2^24 are exact in f32.
        assert_eq!(ones.matmul(&ones.t()).to_vec::<f32>().unwrap(), [k as f32; 4]);
        let column = ones.t().matmul(&ones.narrow(1, 0, 1));
        assert_eq!(column.sum().item().unwrap(), 2.0 * k as f64);
    }
    assert_eq!(
        Tensor::ones([70_000], &Device::cpu())
            .matmul(&Tensor::ones([70_000], &Device::cpu()))
            .item()
            .unwrap(),
        70_000.0
    );
}

/// Copying one operand must not change the memory of the other, which is a view of it.
#[test]
fn an_operand_that_is_a_view_of_the_other() {
    let x = [Host::draw(1, &[2, 2, 2, 4, 4], -1.0..1.0)];
    let flipped = |xs: &[Tensor]| {
        let x = xs[0].flip(4);
        x.matmul(&x.permute([2, 1, 0, 3, 4]))
    };
    check_gpu("a flip times a permutation of it", &x, &flipped, SUMS, SUMS);
    let padded = |xs: &[Tensor]| {
        let x = xs[0].pad([1, 1]);
        x.matmul(&x.permute([2, 1, 0, 4, 3]))
    };
    check_gpu("a pad times a permutation of it", &x, &padded, SUMS, SUMS);
}
