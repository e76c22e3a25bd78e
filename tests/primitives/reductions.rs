//! Reductions, each against a fold over its elements.

use crate::common::{EXACT, F32, Host, SUMS, Tolerance, check, check_gpu, gpu};
use wgrad::{Device, Tensor};

/// For each element of the result, what `fold` makes of the elements over `dims`.
fn folded(x: &Host, dims: &[usize], keepdim: bool, fold: impl Fn(&[f64]) -> f64) -> Host {
    let kept: Vec<usize> =
        x.shape.iter().enumerate().map(|(d, &n)| if dims.contains(&d) { 1 } else { n }).collect();
    let out = Host::tabulate(&kept, |at| {
        let mut taken = Vec::new();
        let mut elements = x.data.iter();
        Host::tabulate(&x.shape, |c| {
            let x = *elements.next().unwrap();
            if (0..c.len()).all(|d| dims.contains(&d) || c[d] == at[d]) {
                taken.push(x);
            }
            0.0
        });
        fold(&taken)
    });
    let shape = (0..kept.len()).filter(|d| keepdim || !dims.contains(d)).map(|d| kept[d]).collect();
    Host { data: out.data, shape }
}

type Reduction = fn(&Tensor, &[usize], bool) -> Tensor;

fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

fn mean(x: &[f64]) -> f64 {
    sum(x) / x.len() as f64
}

fn variance(x: &[f64], correction: f64) -> f64 {
    let mean = mean(x);
    x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (x.len() as f64 - correction)
}

type Fold = fn(&[f64]) -> f64;

const TABLE: &[(&str, Reduction, Fold, Tolerance)] = &[
    ("sum", |x, dims, keep| x.sum_dim(dims, keep), sum, SUMS),
    ("mean", |x, dims, keep| x.mean_dim(dims, keep), mean, F32),
    // A maximum is one of the elements; its gradient divides by a count.
    ("amax", |x, dims, keep| x.amax(dims, keep), |x| x.iter().copied().fold(f64::MIN, f64::max), EXACT),
    ("amin", |x, dims, keep| x.amin(dims, keep), |x| x.iter().copied().fold(f64::MAX, f64::min), EXACT),
    (
        "logsumexp",
        |x, dims, keep| x.logsumexp(dims, keep),
        |x| x.iter().map(|x| x.exp()).sum::<f64>().ln(),
        F32,
    ),
];

#[test]
fn reductions() {
    let shapes: &[&[usize]] = &[&[], &[5], &[3, 4], &[2, 3, 4], &[3, 1, 2], &[1, 1]];
    for (name, run, fold, tolerance) in TABLE {
        for shape in shapes {
            let x = Host::draw(shape.len() as u64, shape, -2.0..2.0);
            for dims in subsets(shape.len()) {
                for keepdim in [false, true] {
                    // An empty list means all of them.
                    let over = if dims.is_empty() { (0..shape.len()).collect() } else { dims.clone() };
                    let want = folded(&x, &over, keepdim, fold);
                    let name = format!("{name} of {shape:?} over {dims:?}, keepdim {keepdim}");
                    check(
                        &name,
                        std::slice::from_ref(&x),
                        &|xs| run(&xs[0], &dims, keepdim),
                        &want,
                        *tolerance,
                    );
                }
            }
        }
    }
}

/// Variance needs two elements at least.
#[test]
fn variance_and_deviation() {
    let x = Host::draw(1, &[4, 3], -2.0..2.0);
    for dims in subsets(2) {
        for correction in [0.0, 1.0] {
            let over: Vec<usize> = if dims.is_empty() { vec![0, 1] } else { dims.clone() };
            let want = folded(&x, &over, false, |x| variance(x, correction));
            let name = format!("var over {dims:?}, correction {correction}");
            let var = |xs: &[Tensor]| xs[0].var(&dims[..], correction, false);
            check(&name, std::slice::from_ref(&x), &var, &want, SUMS);
            let name = format!("std over {dims:?}, correction {correction}");
            let std = |xs: &[Tensor]| xs[0].std(&dims[..], correction, false);
            check(&name, std::slice::from_ref(&x), &std, &want.map(f64::sqrt), SUMS);
        }
    }
}

#[test]
fn softmax_along_each_dim() {
    let x = Host::draw(2, &[3, 4], -2.0..2.0);
    for dim in [0usize, 1] {
        let total = folded(&x, &[dim], true, |x| x.iter().map(|x| x.exp()).sum());
        let share = |c: &[usize]| x.at([c[0], c[1]]).exp() / total.data[c[1 - dim]];
        let (soft, log) = (Host::tabulate(&[3, 4], share), Host::tabulate(&[3, 4], |c| share(c).ln()));
        let x = std::slice::from_ref(&x);
        check("softmax", x, &|xs| xs[0].softmax(dim as i64), &soft, F32);
        check("log_softmax", x, &|xs| xs[0].log_softmax(dim as i64 - 2), &log, F32);
    }
    // Large logits neither overflow nor vanish.
    for device in [Device::cpu(), gpu()] {
        let x = Tensor::new([1e4, 0.0, -1e4, 1e4], [4], &device);
        Host::read(&x.softmax(0)).assert_close("softmax", &Host::new(&[0.5, 0.0, 0.0, 0.5], &[4]), F32);
        let want = Host::new(&[1e4 + 2f64.ln()], &[]);
        Host::read(&x.logsumexp((), false)).assert_close(
            "logsumexp",
            &want,
            Tolerance { atol: 0.0, rtol: 1e-7 },
        );
    }
}

#[test]
fn index_of_the_extreme() {
    // With a tie in each row: the first one counts.
    let x = Host::new(&[1.0, 5.0, 5.0, -2.0, 3.0, 3.0, -7.0, -7.0, 0.0, 0.0, -1.0, -1.0], &[3, 4]);
    let first = |x: &[f64], best: fn(f64, f64) -> f64| {
        let extreme = x.iter().copied().reduce(best).unwrap();
        x.iter().position(|&x| x == extreme).unwrap() as f64
    };
    for device in [Device::cpu(), gpu()] {
        let ints: Vec<i32> = x.data.iter().map(|&x| x as i32).collect();
        for tensor in [x.tensor(&device), Tensor::new(ints, [3, 4], &device)] {
            for dim in [0, 1] {
                for keepdim in [false, true] {
                    let want = folded(&x, &[dim], keepdim, |x| first(x, f64::max));
                    Host::read(&tensor.argmax(dim as i64, keepdim)).assert_close("argmax", &want, EXACT);
                    let want = folded(&x, &[dim], keepdim, |x| first(x, f64::min));
                    Host::read(&tensor.argmin(dim as i64, keepdim)).assert_close("argmin", &want, EXACT);
                }
            }
        }
        let nan = Tensor::new([1.0, f64::NAN, 9.0], [3], &device);
        assert_eq!((nan.argmax(0, false).item().unwrap(), nan.argmin(0, false).item().unwrap()), (1.0, 1.0));
        assert!(nan.amax((), false).item().unwrap().is_nan() && nan.amin((), false).item().unwrap().is_nan());
    }
}

/// The argmax of a computed value: the value is materialized, because recomputing it could change the last bit.
#[test]
fn index_of_a_computed_extreme() {
    let x = Host::draw(7, &[200, 10], -1.0..1.0);
    let run = |device: &Device| {
        let x = x.tensor(device);
        Host::read(&((&x * 0.37 + 0.11) * &x + x.sin()).argmax(1, false))
    };
    let (got, want) = (run(&gpu()), run(&Device::cpu_rounded()));
    assert!(got.data.iter().all(|&class| class < 10.0), "an index out of range says that nothing was equal");
    let other = got.data.iter().zip(&want.data).filter(|(a, b)| a != b).count();
    assert!(other <= 1, "{other} of 200 rows have another argmax");
}

#[test]
fn reductions_of_integers_and_bools() {
    for device in [Device::cpu(), gpu()] {
        let x = Tensor::new([i32::MAX, 1, -5, 7, 0, -9], [2, 3], &device);
        let sums = x.sum_dim(1, false).to_vec::<i32>().unwrap();
        assert_eq!(sums, [i32::MAX.wrapping_add(1).wrapping_sub(5), -2]);
        assert_eq!(x.amax(0, false).to_vec::<i32>().unwrap(), [i32::MAX, 1, -5]);
        assert_eq!(x.amin(1, false).to_vec::<i32>().unwrap(), [-5, -9]);
        let least = Tensor::new([i32::MIN, 5, i32::MAX], [3], &device);
        assert_eq!(least.amin((), false).to_vec::<i32>().unwrap(), [i32::MIN]);
        assert_eq!(least.argmin(0, false).to_vec::<i32>().unwrap(), [0]);
        let u = Tensor::new([u32::MAX, 3, 5], [3], &device);
        assert_eq!(u.sum().to_vec::<u32>().unwrap(), [7]);
        assert_eq!(u.amax((), false).to_vec::<u32>().unwrap(), [u32::MAX]);
        assert_eq!(u.amin((), false).to_vec::<u32>().unwrap(), [3]);
        let b = Tensor::new([true, true, false], [3], &device);
        assert_eq!(b.sum().item().unwrap(), 2.0);
    }
}

#[test]
fn reductions_of_nothing() {
    for device in [Device::cpu(), gpu()] {
        let x = Tensor::zeros([0, 3], &device);
        assert_eq!(x.sum().item().unwrap(), 0.0);
        assert_eq!(x.sum_dim(0, false).to_vec::<f32>().unwrap(), [0.0; 3]);
        assert_eq!(x.sum_dim(1, true).to_vec::<f32>().unwrap(), [0.0; 0]);
        let mean = x.mean().item().unwrap();
        assert!(mean.is_nan(), "the mean of nothing is {mean} on {device}");
        let one = Tensor::ones([1], &device).var((), 1.0, false).item().unwrap();
        assert!(one.is_nan(), "the variance of one number is {one} on {device}");
        assert_eq!(x.amax(1, false).numel(), 0);
        let loaded = Tensor::new::<f32>([], [0, 3], &device);
        assert_eq!((&loaded * 2.0).sum_dim(0, false).to_vec::<f32>().unwrap(), [0.0; 3]);
    }
}

/// A reduction of what is computed, over dims that are not neighbours, with what follows it.
#[test]
fn reductions_inside_expressions() {
    let inputs = [Host::draw(8, &[3, 4, 5], -1.0..1.0), Host::draw(9, &[4, 1], 0.5..1.5)];
    let f = |xs: &[Tensor]| {
        let y = (&xs[0] * &xs[1]).exp();
        let centred = &y - y.mean_dim([0, 2], true);
        centred.square().sum_dim([0, 2], false).sqrt() * xs[1].squeeze(1)
    };
    crate::common::check_gradient("centred norm", &inputs, &f);
    check_gpu("centred norm", &inputs, &f, SUMS, Tolerance { atol: 5e-5, rtol: 5e-5 });
}

fn subsets(rank: usize) -> Vec<Vec<usize>> {
    (0..1 << rank).map(|bits| (0..rank).filter(|dim| bits >> dim & 1 == 1).collect()).collect()
}
