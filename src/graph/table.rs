//! The table of elementwise operations, with one row per operation. The row `Tanh` defines everything about `tanh`.
//!
//! From a row the crate derives the enum variant, the WGSL in generated kernels and the CPU reference
//! (`graph/elementwise`), the `Tensor` method with its docs (`tensor/elementwise`), the gradient
//! (`autograd/elementwise`), and the tests of its values, its gradient and the GPU against the CPU. Each of these
//! modules calls [`unary_rows`] and [`binary_rows`] with its own macro, which uses the fields of the row that it needs.
//!
//! - `wgsl`: the expression, in which `{x}` or `{a}` and `{b}` are register values, and `{t}` is their WGSL type. Its
//!   functions are defined in `shaders/common.wgsl` and `shaders/math.wgsl`. Do not use WGSL built-ins whose accuracy
//!   WGSL does not specify.
//! - `float`: the same function in f64. `int`: the function on integers and bools (0 and 1) as i64; the result is
//!   truncated to 32 bits.
//! - `grad`: the gradient of each operand, given operands, result and incoming gradient. The function is pure and
//!   does not accumulate.
//! - `domain`: the interval from which the tests draw operands.
//! - `jumps`: the function is discontinuous, so tests must not compare elements near a discontinuity.

/// Calls the macro `with` with the unary operations.
#[rustfmt::skip]
macro_rules! unary_rows { ($with:ident) => { $with! {
    /// `-x`
    Neg neg Signed {
        wgsl: "-({x})", float: |x| -x, int: |x| -x, grad: |_x, _y, g| -g,
        domain: -3.0..3.0, jumps: false,
    }
    /// `1 / x`
    Recip reciprocal Float {
        wgsl: "1.0 / ({x})", float: |x| 1.0 / x, int: never, grad: |_x, y, g| -(g * y * y),
        domain: 0.5..3.0, jumps: false,
    }
    /// `e^x`
    Exp exp Float {
        wgsl: "exp_({x})", float: f64::exp, int: never, grad: |_x, y, g| g * y,
        domain: -3.0..3.0, jumps: false,
    }
    /// The natural logarithm.
    Log log Float {
        wgsl: "log_({x})", float: f64::ln, int: never, grad: |x, _y, g| g / x,
        domain: 0.2..5.0, jumps: false,
    }
    /// `ln(1 + x)`, accurate for small `x`.
    Log1p log1p Float {
        wgsl: "log1p_({x})", float: f64::ln_1p, int: never, grad: |x, _y, g| g / (x + Const(1.0)),
        domain: -0.9..3.0, jumps: false,
    }
    /// `e^x - 1`, accurate for small `x`.
    Expm1 expm1 Float {
        wgsl: "expm1_({x})", float: f64::exp_m1, int: never, grad: |_x, y, g| g * (y + Const(1.0)),
        domain: -3.0..3.0, jumps: false,
    }
    /// The square root.
    Sqrt sqrt Float {
        wgsl: "sqrt({x})", float: f64::sqrt, int: never, grad: |_x, y, g| g * Const(0.5) / y,
        domain: 0.2..5.0, jumps: false,
    }
    /// The sine of an angle in radians, accurate for every finite `x`.
    Sin sin Float {
        wgsl: "sin_({x})", float: f64::sin, int: never, grad: |x, _y, g| g * x.cos(),
        domain: -3.0..3.0, jumps: false,
    }
    /// The cosine of an angle in radians, accurate for every finite `x`.
    Cos cos Float {
        wgsl: "cos_({x})", float: f64::cos, int: never, grad: |x, _y, g| -(g * x.sin()),
        domain: -3.0..3.0, jumps: false,
    }
    /// The hyperbolic tangent.
    Tanh tanh Float {
        wgsl: "tanh_({x})", float: f64::tanh, int: never, grad: |_x, y, g| g * (Const(1.0) - y * y),
        domain: -3.0..3.0, jumps: false,
    }
    /// `1 / (1 + e^-x)`
    Sigmoid sigmoid Float {
        wgsl: "sigmoid_({x})", float: |x| 1.0 / (1.0 + (-x).exp()), int: never,
        grad: |_x, y, g| g * y * (Const(1.0) - y),
        domain: -3.0..3.0, jumps: false,
    }
    /// `max(x, 0)`. NaN stays NaN; the gradient at 0 is 0.
    Relu relu Float {
        wgsl: "relu_({x})", float: |x| if x <= 0.0 { 0.0 } else { x }, int: never,
        grad: |_x, y, g| y.eq(Const(0.0)).where_(Const(0.0), g),
        domain: 0.1..3.0, jumps: false,
    }
    /// The error function, `2/√π ∫₀ˣ exp(-t²) dt`.
    Erf erf Float {
        wgsl: "erf_({x})", float: libm::erf, int: never,
        grad: |x, _y, g| g * (-(x * x)).exp() * Const(FRAC_2_SQRT_PI),
        domain: -3.0..3.0, jumps: false,
    }
    /// The normal cumulative distribution function, `Φ(x) = ½ erfc(-x/√2)`, accurate in both tails.
    Ndtr ndtr Float {
        wgsl: "ndtr_({x})", float: |x| 0.5 * libm::erfc(-x * FRAC_1_SQRT_2), int: never,
        grad: |x, _y, g| g * (x * x * Const(-0.5)).exp() * Const(0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2),
        domain: -3.0..3.0, jumps: false,
    }
    /// The absolute value. The gradient at 0 is 0.
    Abs abs Signed {
        wgsl: "abs({x})", float: f64::abs, int: i64::abs, grad: |x, _y, g| g * x.sign(),
        domain: 0.1..3.0, jumps: false,
    }
    /// The sign: -1, 0 or 1, and 0 for NaN as in PyTorch. The gradient is 0.
    Sign sign Signed {
        wgsl: "sign_{t}({x})", float: |x| f64::from(x > 0.0) - f64::from(x < 0.0), int: i64::signum,
        grad: |x, _y, _g| x.zeros_like(),
        domain: -3.0..3.0, jumps: true,
    }
    /// Rounds down to an integer. The gradient is 0.
    Floor floor Float {
        wgsl: "floor({x})", float: f64::floor, int: never, grad: |x, _y, _g| x.zeros_like(),
        domain: -3.0..3.0, jumps: true,
    }
    /// Logical not of a bool tensor.
    Not logical_not Logic {
        wgsl: "!({x})", float: never, int: |x| 1 - x, grad: |x, _y, _g| x.zeros_like(),
        domain: 0.0..1.0, jumps: true,
    }
} } }
pub(crate) use unary_rows;

/// Calls the macro `with` with the binary operations.
#[rustfmt::skip]
macro_rules! binary_rows { ($with:ident) => { $with! {
    /// `a + b`
    Add add Numeric compares false {
        wgsl: "({a} + {b})", float: |a, b| a + b, int: |a, b| a + b,
        grads: [|_a, _b, _y, g| g.clone(), |_a, _b, _y, g| g.clone()],
        domain: -3.0..3.0, jumps: false,
    }
    /// `a - b`
    Sub sub Numeric compares false {
        wgsl: "({a} - {b})", float: |a, b| a - b, int: |a, b| a - b,
        grads: [|_a, _b, _y, g| g.clone(), |_a, _b, _y, g| -g],
        domain: -3.0..3.0, jumps: false,
    }
    /// `a * b`
    Mul mul Numeric compares false {
        wgsl: "({a} * {b})", float: |a, b| a * b, int: i64::wrapping_mul,
        grads: [|_a, b, _y, g| g * b, |a, _b, _y, g| g * a],
        domain: -3.0..3.0, jumps: false,
    }
    /// `a / b` of f32 tensors.
    Div div Float compares false {
        wgsl: "({a} / {b})", float: |a, b| a / b, int: |_, _| never(()),
        grads: [|_a, b, _y, g| g / b, |_a, b, y, g| -(g * y / b)],
        domain: 0.5..3.0, jumps: false,
    }
    /// `a` to the power `b`: `0^0` is 1, and a negative base needs an integer exponent.
    ///
    /// The gradient of the base is 0 where the exponent is 0. The gradient of the exponent is 0 where the base is 0 and
    /// the exponent is >= 0 (PyTorch's conventions).
    Pow powf Float compares false {
        wgsl: "pow_({a}, {b})", float: f64::powf, int: |_, _| never(()),
        grads: [
            |a, b, _y, g| b.eq(Const(0.0)).where_(Const(0.0), g * b * a.powf(b - Const(1.0))),
            |a, b, y, g| {
                let flat = a.eq(Const(0.0)).logical_and(b.ge(Const(0.0)));
                flat.where_(Const(0.0), g * y * a.log())
            },
        ],
        domain: 0.5..3.0, jumps: false,
    }
    /// The elementwise maximum; NaN if an operand is NaN. Equal operands share the gradient.
    Max maximum Numeric compares false {
        wgsl: "max_{t}({a}, {b})", float: |a, b| if a.is_nan() || a > b { a } else { b }, int: i64::max,
        grads: [|a, b, _y, g| share(a.gt(b), a.eq(b), g), |a, b, _y, g| share(b.gt(a), a.eq(b), g)],
        domain: -3.0..3.0, jumps: false,
    }
    /// The elementwise minimum; NaN if an operand is NaN. Equal operands share the gradient.
    Min minimum Numeric compares false {
        wgsl: "min_{t}({a}, {b})", float: |a, b| if a.is_nan() || a < b { a } else { b }, int: i64::min,
        grads: [|a, b, _y, g| share(a.lt(b), a.eq(b), g), |a, b, _y, g| share(b.lt(a), a.eq(b), g)],
        domain: -3.0..3.0, jumps: false,
    }
    /// `a < b`, as a bool tensor.
    Lt lt Numeric compares true {
        wgsl: "({a} < {b})", float: |a, b| f64::from(a < b), int: |a, b| i64::from(a < b),
        grads: [|a, _b, _y, _g| a.zeros_like(), |_a, b, _y, _g| b.zeros_like()],
        domain: -3.0..3.0, jumps: true,
    }
    /// `a == b`, as a bool tensor. NaN is not equal to anything.
    Eq eq Any compares true {
        wgsl: "({a} == {b})", float: |a, b| f64::from(a == b), int: |a, b| i64::from(a == b),
        grads: [|a, _b, _y, _g| a.zeros_like(), |_a, b, _y, _g| b.zeros_like()],
        domain: -3.0..3.0, jumps: true,
    }
    /// Logical and of bool tensors.
    And logical_and Logic compares true {
        wgsl: "({a} && {b})", float: |_, _| never(()), int: |a, b| a & b,
        grads: [|a, _b, _y, _g| a.zeros_like(), |_a, b, _y, _g| b.zeros_like()],
        domain: 0.0..1.0, jumps: true,
    }
    /// Logical or of bool tensors.
    Or logical_or Logic compares true {
        wgsl: "({a} || {b})", float: |_, _| never(()), int: |a, b| a | b,
        grads: [|a, _b, _y, _g| a.zeros_like(), |_a, b, _y, _g| b.zeros_like()],
        domain: 0.0..1.0, jumps: true,
    }
} } }
pub(crate) use binary_rows;
