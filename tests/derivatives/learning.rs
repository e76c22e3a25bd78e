//! What the derivatives are for: a linear layer, the loss of a classifier, and steps against the gradient.

use crate::{Place, common, gradient, numbers, values};
use wgrad::Tensor;

on_both_devices!(
    linear_against_loops,
    cross_entropy_against_the_closed_form,
    cross_entropy_of_uniform_logits,
    cross_entropy_of_one_class,
    cross_entropy_of_large_logits,
    descent_on_a_quadratic,
    descent_on_a_double_well,
);

/// Linear(x) = x W^T + b with x `[N, I]`, W `[O, I]`, b `[O]`. From the gradient G `[N, O]` of its result follow
/// dx = G W, dW = G^T x, db = the sum of G's rows: here as loops.
fn linear_against_loops(on: &Place) {
    for (n, ins, outs) in [(1, 1, 1), (2, 3, 4), (5, 2, 1), (1, 4, 3), (7, 5, 3)] {
        let (x, w, b, g) =
            (numbers(n * ins, 1), numbers(outs * ins, 2), numbers(outs, 3), numbers(n * outs, 4));
        let (mut y, mut dx) = (vec![0.0; n * outs], vec![0.0; n * ins]);
        let (mut dw, mut db) = (vec![0.0; outs * ins], vec![0.0; outs]);
        for row in 0..n {
            for o in 0..outs {
                let g = g[row * outs + o];
                y[row * outs + o] = b[o];
                db[o] += g;
                for i in 0..ins {
                    y[row * outs + o] += x[row * ins + i] * w[o * ins + i];
                    dx[row * ins + i] += g * w[o * ins + i];
                    dw[o * ins + i] += g * x[row * ins + i];
                }
            }
        }

        let (x, w) = (on.variable(x, &[n, ins]), on.variable(w, &[outs, ins]));
        let (b, g) = (on.variable(b, &[outs]), on.constant(g, &[n, outs]));
        let result = x.linear(&w, Some(&b));
        let size = format!("linear, {n} rows of {ins} to {outs}");
        on.close(&size, &result, &y);
        (result * g).sum().backward();
        on.close_grad(&format!("{size}: dx"), &x, &dx);
        on.close_grad(&format!("{size}: dW"), &w, &dw);
        on.close_grad(&format!("{size}: db"), &b, &db);
    }
}

/// The probabilities of one row of logits.
fn softmax(row: &[f64]) -> Vec<f64> {
    let total: f64 = row.iter().map(|x| x.exp()).sum();
    row.iter().map(|x| x.exp() / total).collect()
}

/// The loss is the mean over the rows of -ln p(label). Its gradient is (p - onehot) / rows.
fn cross_entropy_against_the_closed_form(on: &Place) {
    let rows = [[1.01, 1.2], [12.5, 0.02], [0.23, 1.35]];
    let labels = [0, 0, 1];
    let mut loss = 0.0;
    let mut slopes = Vec::new();
    for (row, &label) in rows.iter().zip(&labels) {
        let p = softmax(row);
        loss -= p[label as usize].ln() / 3.0;
        slopes.extend((0..2).map(|class| (p[class] - f64::from(class == label as usize)) / 3.0));
    }

    let logits = on.variable(rows.as_flattened(), &[3, 2]);
    let got = logits.cross_entropy(&Tensor::new(labels, [3], &on.device));
    on.close("loss", &got, &[loss]);
    got.backward();
    // The second row is sure of its label: its gradient is 1.3e-6, below what f32 is allowed elsewhere. A probability
    // below 1 has an error of 2^-22 at most, from the rounding of the logarithm 12.5, so that much is enough here.
    let atol = on.atol.min(2f64.powi(-22));
    common::close("gradient", &values(&logits.grad().unwrap()), &slopes, atol, on.rtol);
    // A row's gradient sums to 0: what one class wins the others lose.
    on.close("sums of the rows", &logits.grad().unwrap().sum_dim(1, false), &[0.0; 3]);
}

/// Who knows nothing pays ln(classes).
fn cross_entropy_of_uniform_logits(on: &Place) {
    for classes in [2, 10, 1000] {
        let logits = on.variable(vec![0.75; 2 * classes], &[2, classes]);
        let loss = logits.cross_entropy(&Tensor::new([0, classes as i32 - 1], [2], &on.device));
        on.close(&format!("{classes} classes"), &loss, &[(classes as f64).ln()]);
    }
}

/// One class is certain, so the loss and its gradient are 0. The sum over the single class is still a sum: its dim goes.
fn cross_entropy_of_one_class(on: &Place) {
    let logits = on.variable([-3.5, 12.0], &[2, 1]);
    assert_eq!(logits.logsumexp(1, false).shape()[..], [2]);
    assert_eq!(logits.logsumexp(1, true).shape()[..], [2, 1]);
    on.close("log-sum-exp of one", &logits.logsumexp(1, false), &[-3.5, 12.0]);
    let loss = logits.cross_entropy(&Tensor::new([0, 0], [2], &on.device));
    loss.backward();
    on.close("loss", &loss, &[0.0]);
    on.close_grad("gradient", &logits, &[0.0, 0.0]);
}

/// e^(1e4) is no number in f32 or f64, but the loss is: it only needs differences of logits.
fn cross_entropy_of_large_logits(on: &Place) {
    let logits = on.variable([1e4, 0.0, 0.0, 1e4, -1e4, -1e4], &[3, 2]);
    let loss = logits.cross_entropy(&Tensor::new([0, 0, 1], [3], &on.device));
    loss.backward();
    // Right and sure: 0. Wrong and sure: the whole difference. Undecided: ln 2.
    on.close("loss", &loss, &[(0.0 + 1e4 + 2f64.ln()) / 3.0]);
    let want = [0.0, 0.0, -1.0, 1.0, 0.5, -0.5].map(|slope| slope / 3.0);
    // In f32 neighbours of 1e4 are 2^-10 apart, so -1e4 + ln 2 is off by up to half that, and so is the probability.
    let atol = if on.is_exact() { 1e-10 } else { 2f64.powi(-11) };
    common::close("gradient", &values(&logits.grad().unwrap()), &want, atol, on.rtol);
}

/// The values of f along a number of steps from `start`, each of them `rate` times the gradient: with a negative rate down, with
/// a positive one up. And where the walk ended.
fn walk(on: &Place, f: fn(&Tensor) -> Tensor, start: &[f64], rate: f64, steps: usize) -> (Vec<f64>, Tensor) {
    let mut x = on.variable(start, &[start.len()]);
    let mut heights = Vec::new();
    for _ in 0..steps {
        let y = f(&x);
        heights.push(y.item().unwrap());
        let step = gradient(&y, &x) * rate;
        x = (&x + step).detach().requires_grad();
    }
    (heights, x)
}

#[track_caller]
fn strictly_falls(name: &str, heights: &[f64]) {
    for (step, pair) in heights.windows(2).enumerate() {
        assert!(pair[1] < pair[0], "{name}: step {step} goes from {} to {}", pair[0], pair[1]);
    }
}

#[track_caller]
fn strictly_rises(name: &str, heights: &[f64]) {
    for (step, pair) in heights.windows(2).enumerate() {
        assert!(pair[1] > pair[0], "{name}: step {step} goes from {} to {}", pair[0], pair[1]);
    }
}

/// A bowl with its floor at (1, -2): the distance from the floor shrinks by the factor 1 - 2 rate at each step, or
/// grows by 1 + 2 rate on the way up.
fn descent_on_a_quadratic(on: &Place) {
    let bowl = |x: &Tensor| (x - Tensor::new([1.0, -2.0], [2], x.device())).square().sum();
    let start = [4.0, 1.5];
    let after = |factor: f64| [1.0 + 3.0 * factor.powi(20), -2.0 + 3.5 * factor.powi(20)];

    let (heights, end) = walk(on, bowl, &start, -0.1, 20);
    strictly_falls("down the bowl", &heights);
    on.close("end of the way down", &end, &after(0.8));

    let (heights, end) = walk(on, bowl, &start, 0.1, 20);
    strictly_rises("up the bowl", &heights);
    on.close("end of the way up", &end, &after(1.2));
}

/// x^4 - 3 x^2 + x has two valleys, at about -1.30 and 1.13, and a hill between them, at about 0.17. Down the gradient
/// leads into the valley on whose side one starts; up the gradient, from either, leads to the hill. After 12 steps a
/// walk is near its goal, and the height still changes by 1e-4, a thousand times what f32 can tell apart.
fn descent_on_a_double_well(on: &Place) {
    let wells = |x: &Tensor| (x.pow(4.0) - x.pow(2.0) * 3.0 + x).sum();
    let slope = |x: f64| 4.0 * x.powi(3) - 6.0 * x + 1.0;
    for (start, valley) in [(-0.25, -1.3008), (0.5, 1.1309)] {
        let (heights, down) = walk(on, wells, &[start], -0.04, 12);
        strictly_falls("into a valley", &heights);
        common::close("the valley", &values(&down), &[valley], 0.05, 0.0);
        let (heights, up) = walk(on, wells, &[start], 0.04, 12);
        strictly_rises("up the hill", &heights);
        common::close("the top", &values(&up), &[0.1699], 0.05, 0.0);

        // The same walk in plain numbers.
        let plain = (0..12).fold(start, |x, _| x - 0.04 * slope(x));
        on.close("the walk in plain numbers", &down, &[plain]);
    }
}
