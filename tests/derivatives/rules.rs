//! One number in, one number out: the rules of differentiation.

use crate::{Place, gradient};
use wgrad::Tensor;

on_both_devices!(scalar_rules, one_derivative_by_hand);

/// The simplest case in full: y = x^2 at x = 3 rises by 6 for each unit of x.
fn one_derivative_by_hand(on: &Place) {
    let x = on.number(3.0);
    let y = &x * &x;
    y.backward();
    on.close("3^2", &y, &[9.0]);
    on.close_grad("d/dx x^2 at 3", &x, &[6.0]);
}

/// A function, its derivative by the rules, and where it is looked at.
struct Rule {
    name: &'static str,
    f: fn(&Tensor) -> Tensor,
    derivative: fn(f64) -> f64,
    at: &'static [f64],
}

const ANYWHERE: &[f64] = &[-2.5, -1.0, -0.25, 0.0, 0.5, 1.0, 3.0];
const NOT_ZERO: &[f64] = &[-2.5, -1.0, -0.25, 0.5, 1.0, 3.0];
const POSITIVE: &[f64] = &[0.125, 0.5, 1.0, 2.0, 3.5];

#[rustfmt::skip]
const RULES: &[Rule] = &[
    // Constants, and what they are multiplied with.
    Rule { name: "constant: 7", f: |x| x.ones_like() * 7.0, derivative: |_| 0.0, at: ANYWHERE },
    Rule { name: "constant: 0 x + 7", f: |x| x * 0.0 + 7.0, derivative: |_| 0.0, at: ANYWHERE },
    Rule { name: "identity: x", f: |x| x.clone(), derivative: |_| 1.0, at: ANYWHERE },
    Rule { name: "constant multiple: -5 x", f: |x| x * -5.0, derivative: |_| -5.0, at: ANYWHERE },
    Rule { name: "constant multiple: 5 x^3", f: |x| x.pow(3.0) * 5.0, derivative: |x| 15.0 * x * x, at: ANYWHERE },

    // Powers: n x^(n-1).
    Rule { name: "power: x^0", f: |x| x.pow(0.0), derivative: |_| 0.0, at: ANYWHERE },
    Rule { name: "power: x^1", f: |x| x.pow(1.0), derivative: |_| 1.0, at: ANYWHERE },
    Rule { name: "power: x^2", f: |x| x.pow(2.0), derivative: |x| 2.0 * x, at: ANYWHERE },
    Rule { name: "power: x^7", f: |x| x.pow(7.0), derivative: |x| 7.0 * x.powi(6), at: ANYWHERE },
    Rule { name: "power: x^-1", f: |x| x.pow(-1.0), derivative: |x| -1.0 / (x * x), at: NOT_ZERO },
    Rule { name: "power: x^-3", f: |x| x.pow(-3.0), derivative: |x| -3.0 * x.powi(-4), at: NOT_ZERO },
    Rule { name: "power: x^2.5", f: |x| x.pow(2.5), derivative: |x| 2.5 * x.powf(1.5), at: POSITIVE },
    Rule { name: "power: sqrt(x)", f: |x| x.sqrt(), derivative: |x| 0.5 / x.sqrt(), at: POSITIVE },
    Rule { name: "power: 1 / sqrt(x)", f: |x| x.rsqrt(), derivative: |x| -0.5 * x.powf(-1.5), at: POSITIVE },
    Rule { name: "exponential: 2^x", f: |x| (x.ones_like() * 2.0).powf(x), derivative: |x| x.exp2() * 2f64.ln(), at: ANYWHERE },
    Rule { name: "both: x^x", f: |x| x.powf(x), derivative: |x| x.powf(x) * (x.ln() + 1.0), at: POSITIVE },

    // The functions that the rest is made of.
    Rule { name: "e^x", f: |x| x.exp(), derivative: f64::exp, at: ANYWHERE },
    Rule { name: "ln x", f: |x| x.log(), derivative: |x| 1.0 / x, at: POSITIVE },
    Rule { name: "sin x", f: |x| x.sin(), derivative: f64::cos, at: ANYWHERE },
    Rule { name: "cos x", f: |x| x.cos(), derivative: |x| -x.sin(), at: ANYWHERE },
    Rule { name: "tanh x", f: |x| x.tanh(), derivative: |x| x.cosh().powi(-2), at: ANYWHERE },
    Rule { name: "|x|", f: |x| x.abs(), derivative: |x| if x == 0.0 { 0.0 } else { x.signum() }, at: ANYWHERE },

    // Sum and difference: the derivatives are added and subtracted.
    Rule { name: "sum: x^2 + x^3", f: |x| x.pow(2.0) + x.pow(3.0), derivative: |x| 2.0 * x + 3.0 * x * x, at: ANYWHERE },
    Rule { name: "difference: e^x - ln x", f: |x| x.exp() - x.log(), derivative: |x| x.exp() - 1.0 / x, at: POSITIVE },
    Rule { name: "difference: 1 - x^2", f: |x| 1.0 - x.pow(2.0), derivative: |x| -2.0 * x, at: ANYWHERE },

    // Product: f' g + f g'.
    Rule { name: "product: x^2 e^x", f: |x| x.pow(2.0) * x.exp(), derivative: |x| (2.0 * x + x * x) * x.exp(), at: ANYWHERE },
    Rule { name: "product: x ln x", f: |x| x * x.log(), derivative: |x| x.ln() + 1.0, at: POSITIVE },

    // Quotient: (f' g - f g') / g^2.
    Rule { name: "quotient: 1 / x", f: |x| 1.0 / x, derivative: |x| -1.0 / (x * x), at: NOT_ZERO },
    Rule { name: "quotient: (x^2 + 1) / (x + 4)", f: |x| (x.pow(2.0) + 1.0) / (x + 4.0),
           derivative: |x| (2.0 * x * (x + 4.0) - (x * x + 1.0)) / (x + 4.0).powi(2), at: ANYWHERE },
    Rule { name: "quotient: e^x / x", f: |x| x.exp() / x, derivative: |x| x.exp() * (x - 1.0) / (x * x), at: NOT_ZERO },

    // Chain: f'(g(x)) g'(x).
    Rule { name: "chain: ln(x^2)", f: |x| x.pow(2.0).log(), derivative: |x| 2.0 / x, at: NOT_ZERO },
    Rule { name: "chain: e^(-x^2 / 2)", f: |x| (x.pow(2.0) * -0.5).exp(), derivative: |x| -x * (-x * x / 2.0).exp(), at: ANYWHERE },
    Rule { name: "chain: (3 x + 1)^4", f: |x| (x * 3.0 + 1.0).pow(4.0), derivative: |x| 12.0 * (3.0 * x + 1.0).powi(3), at: ANYWHERE },
    Rule { name: "chain of three: ln(1 + e^(x^2))", f: |x| (x.pow(2.0).exp() + 1.0).log(),
           derivative: |x| 2.0 * x / (1.0 + (-x * x).exp()), at: ANYWHERE },
];

/// The points are one tensor, and f is applied to each: f of one point depends on no other, so the gradient of the sum
/// lists the derivative at each point.
fn scalar_rules(on: &Place) {
    for rule in RULES {
        let x = on.variable(rule.at, &[rule.at.len()]);
        let y = (rule.f)(&x).sum();
        let want: Vec<f64> = rule.at.iter().map(|&x| (rule.derivative)(x)).collect();
        on.close(&format!("d/dx of {}", rule.name), &gradient(&y, &x), &want);
    }
}
