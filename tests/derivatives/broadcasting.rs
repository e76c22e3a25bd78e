//! Broadcasting uses one element many times. By the sum over all ways, its gradient is the sum of the gradients of all
//! its uses, and has its own shape again.

use crate::{Place, common, numbers, values};
use wgrad::Tensor;

on_both_devices!(a_row_added_to_each_row, every_pair_add, every_pair_sub, every_pair_mul, every_pair_div);

/// `[3, 2] + [2]`: each element of b is added to three rows.
fn a_row_added_to_each_row(on: &Place) {
    let (a, b) = (on.variable(numbers(6, 1), &[3, 2]), on.variable(numbers(2, 2), &[2]));
    (&a + &b).sum().backward();
    on.close_grad("a", &a, &[1.0; 6]);
    on.close_grad("b", &b, &[3.0; 2]);
}

/// An operation, and its two partial derivatives.
struct Operation {
    name: &'static str,
    apply: fn(&Tensor, &Tensor) -> Tensor,
    partial: fn(f64, f64) -> [f64; 2],
}

fn every_pair_add(on: &Place) {
    every_pair(on, &Operation { name: "a + b", apply: |a, b| a + b, partial: |_, _| [1.0, 1.0] });
}

fn every_pair_sub(on: &Place) {
    every_pair(on, &Operation { name: "a - b", apply: |a, b| a - b, partial: |_, _| [1.0, -1.0] });
}

fn every_pair_mul(on: &Place) {
    every_pair(on, &Operation { name: "a * b", apply: |a, b| a * b, partial: |a, b| [b, a] });
}

fn every_pair_div(on: &Place) {
    every_pair(
        on,
        &Operation { name: "a / b", apply: |a, b| a / b, partial: |a, b| [1.0 / b, -a / (b * b)] },
    );
}

/// Every shape of rank 0 to 4 whose sizes are 1 or 3: 31 of them. Each broadcasts with each, since 1 and 3 do.
fn shapes() -> Vec<Vec<usize>> {
    let of_rank = |rank: u32| {
        (0..1usize << rank).map(move |bits| (0..rank).map(|dim| [1, 3][bits >> dim & 1]).collect())
    };
    (0..=4).flat_map(of_rank).collect()
}

/// All 961 pairs of shapes. The elements of the result count differently (by weights), so that none can be mistaken for
/// another.
fn every_pair(on: &Place, operation: &Operation) {
    for a_shape in shapes() {
        for b_shape in shapes() {
            let shape = broadcast(&a_shape, &b_shape);
            let [a_data, b_data, weights] = [(&a_shape, 1), (&b_shape, 2), (&shape, 3)]
                .map(|(s, seed)| numbers(s.iter().product(), seed));

            let (a, b) = (on.variable(&a_data, &a_shape), on.variable(&b_data, &b_shape));
            let result = (operation.apply)(&a, &b);
            assert_eq!(result.shape()[..], shape);
            (result * on.constant(&weights, &shape)).sum().backward();

            // The same by hand: each element of the result sends its share to the two elements it was made of.
            let (mut a_want, mut b_want) = (vec![0.0; a_data.len()], vec![0.0; b_data.len()]);
            for (i, weight) in weights.iter().enumerate() {
                let (ai, bi) = (source(i, &shape, &a_shape), source(i, &shape, &b_shape));
                let [da, db] = (operation.partial)(a_data[ai], b_data[bi]);
                a_want[ai] += weight * da;
                b_want[bi] += weight * db;
            }
            for (which, tensor, want) in [("a", &a, a_want), ("b", &b, b_want)] {
                let gradient = tensor.grad().expect("both asked for a gradient");
                assert_eq!(gradient.shape(), tensor.shape());
                let name = format!("{} of {a_shape:?} and {b_shape:?}, gradient of {which}", operation.name);
                common::close(&name, &values(&gradient), &want, on.atol, on.rtol);
            }
        }
    }
}

/// The shape that two shapes of ones and threes broadcast to, aligned at the last dim.
fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let size =
        |shape: &[usize], dim: usize| (dim + shape.len()).checked_sub(rank).map_or(1, |dim| shape[dim]);
    (0..rank).map(|dim| size(a, dim).max(size(b, dim))).collect()
}

/// Which element of `from` the element `i` of the broadcast `shape` was made of.
fn source(mut i: usize, shape: &[usize], from: &[usize]) -> usize {
    let (mut index, mut stride) = (0, 1);
    // From the last dim on: the coordinate counts where `from` has the whole dim, and is 0 where it has size 1.
    for (back, &size) in shape.iter().rev().enumerate() {
        let coordinate = i % size;
        i /= size;
        if let Some(dim) = from.len().checked_sub(back + 1) {
            index += if from[dim] == 1 { 0 } else { coordinate * stride };
            stride *= from[dim];
        }
    }
    index
}
