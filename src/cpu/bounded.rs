//! Interval arithmetic in midpoint-radius form ("ball arithmetic": van der Hoeven, 2009): a value in f64, and a bound
//! on the error of f32 arithmetic.
//!
//! In: operands with their error bounds. Out: the result with its bound. The bound is the maximum distance between the
//! result and the results at the ends of the operands' ranges, plus the operation's own rounding. Discontinuities need
//! no special case: if an operand's range contains a discontinuity, the results on both sides of it are within the
//! bound.

use crate::core::dtype::DType;
use crate::graph::{Binary, Unary};

/// A value, and the maximum absolute error of a kernel that computes the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounded {
    pub value: f64,
    /// The maximum absolute error; infinite if any result is allowed.
    pub error: f64,
}

/// Maximum relative error of one rounding to f32.
pub(crate) const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

/// Maximum relative error of any elementwise operation (docs/operations.md lists the error of each operation).
const MAX_OPERATION_ERROR: f64 = 5.0 * f32::EPSILON as f64;

/// Minimum normal number. A device may flush numbers of smaller magnitude to zero.
const MIN_NORMAL: f64 = f32::MIN_POSITIVE as f64;

/// A bound that allows any result.
const UNKNOWN: Bounded = Bounded { value: f64::NAN, error: f64::INFINITY };

impl Bounded {
    /// Returns the bound of an element of a buffer: exact, except that a subnormal float may be flushed to zero.
    pub fn exact(value: f64) -> Bounded {
        let may_be_flushed = value != 0.0 && value.abs() < MIN_NORMAL;
        Bounded { value, error: if may_be_flushed { value.abs() } else { 0.0 } }
    }

    /// Returns the bound of a host number converted to `dtype`.
    pub fn number(x: f64, dtype: DType) -> Bounded {
        Bounded::exact(match dtype {
            DType::F32 => f64::from(x as f32),
            DType::I32 => f64::from(x as i32),
            DType::U32 => f64::from(x as u32),
            DType::Bool => f64::from(x != 0.0),
        })
    }

    /// Whether `got` is within the bound.
    pub fn allows(&self, got: f64) -> bool {
        let same = got == self.value || (got.is_nan() && self.value.is_nan());
        same || self.error == f64::INFINITY || (got - self.value).abs() <= self.error
    }

    /// Whether the bound is too loose for a useful comparison: more than a hundredth of the largest magnitude in the
    /// tensor for floats, and more than 0 for other dtypes.
    pub fn is_loose(&self, dtype: DType, largest: f64) -> bool {
        match dtype {
            DType::F32 => self.error > 0.01 * largest.max(MIN_NORMAL / ROUNDING),
            _ => self.error > 0.0,
        }
    }

    /// Returns the bound of a float result `value` whose error is at most `error` before rounding, and whose rounding
    /// error is at most `rounding`.
    pub fn float(value: f64, error: f64, rounding: f64) -> Bounded {
        if error.is_nan() || error == f64::INFINITY {
            return Bounded { value, error: f64::INFINITY };
        }
        if !value.is_finite() {
            return Bounded { value, error };
        }
        let error = error + rounding + MIN_NORMAL;
        match (value.abs() - error > f32::MAX.into(), value.abs() + error > f32::MAX.into()) {
            (true, _) => Bounded { value: value.signum() * f64::INFINITY, error: 0.0 },
            (false, true) => Bounded { value, error: f64::INFINITY },
            (false, false) => Bounded { value, error },
        }
    }

    /// Iterates over the value and, if the bound is not 0, the two ends of its range.
    fn ends(&self, dtype: DType) -> impl Iterator<Item = f64> + use<> {
        let Bounded { value, error } = *self;
        let clamp = move |x: f64| if dtype == DType::Bool { x.clamp(0.0, 1.0) } else { x };
        let ends = [-error, error].into_iter().filter(move |_| error != 0.0);
        std::iter::once(value).chain(ends.map(move |distance| clamp(value + distance)))
    }

    /// Returns the bound of a result `value`, given the results at the ends of the operands' ranges.
    fn from_ends(value: f64, ends: impl Iterator<Item = f64>, dtype: DType) -> Bounded {
        let distance = |end: f64| {
            if end == value || (end.is_nan() && value.is_nan()) { 0.0 } else { (end - value).abs() }
        };
        let error =
            ends.map(distance).fold(0.0, |a: f64, b| if b.is_nan() { f64::INFINITY } else { a.max(b) });
        match dtype {
            DType::F32 => Bounded::float(value, error, MAX_OPERATION_ERROR * value.abs()),
            _ => Bounded { value, error },
        }
    }

    pub fn unary(op: Unary, x: Bounded, dtype: DType) -> Bounded {
        let row = op.row();
        let f = |x: f64| match dtype {
            DType::F32 => (row.float)(x),
            _ => wrap((row.int)(x as i64), dtype),
        };
        if x.error == f64::INFINITY {
            return UNKNOWN;
        }
        Bounded::from_ends(f(x.value), x.ends(dtype).map(f), dtype)
    }

    pub fn binary(op: Binary, a: Bounded, b: Bounded, dtype: DType) -> Bounded {
        let row = op.row();
        let result = if row.compares { DType::Bool } else { dtype };
        let f = |a: f64, b: f64| match dtype {
            DType::F32 => (row.float)(a, b),
            _ => wrap((row.int)(a as i64, b as i64), result),
        };
        let unknown = if row.compares { Bounded { value: 0.0, error: 1.0 } } else { UNKNOWN };
        if a.error == f64::INFINITY || b.error == f64::INFINITY {
            return unknown;
        }
        let error = a.error + b.error;
        match op {
            Binary::Eq if error > 0.0 && (a.value - b.value).abs() <= error => {
                Bounded { value: f(a.value, b.value), error: 1.0 }
            }
            // The divisor's range contains 0.
            Binary::Div if b.error > 0.0 && b.value.abs() <= b.error => UNKNOWN,
            _ => {
                let all = a.ends(dtype).flat_map(|a| b.ends(dtype).map(move |b| f(a, b)));
                Bounded::from_ends(f(a.value, b.value), all, result)
            }
        }
    }

    /// Returns `a` if the condition is true, else `b`. If the condition is uncertain, the bound allows both.
    pub fn choose(condition: Bounded, a: Bounded, b: Bounded) -> Bounded {
        let (x, other) = if condition.value != 0.0 { (a, b) } else { (b, a) };
        if condition.error == 0.0 || (x.value == other.value && x.error >= other.error) {
            return x;
        }
        let error = x.error.max((other.value - x.value).abs() + other.error);
        Bounded { value: x.value, error: if error.is_nan() { f64::INFINITY } else { error } }
    }

    pub fn cast(x: Bounded, from: DType, to: DType) -> Bounded {
        if x.error == f64::INFINITY || (x.value.is_nan() && to != DType::F32) {
            return UNKNOWN;
        }
        let f = |x: f64| Bounded::number(x, to).value;
        match (from, to) {
            (DType::F32, DType::F32) => x,
            (_, DType::F32) => Bounded::float(x.value, x.error, ROUNDING * x.value.abs()),
            (DType::F32, DType::Bool) if x.error > 0.0 && x.value.abs() <= x.error => {
                Bounded { value: f(x.value), error: 1.0 }
            }
            // Conversions between integer dtypes keep the bits.
            (DType::I32 | DType::U32 | DType::Bool, _) => {
                Bounded::from_ends(wrap(x.value as i64, to), x.ends(from).map(|x| wrap(x as i64, to)), to)
            }
            (DType::F32, _) => {
                // A float above the integer's range is converted to the largest integer, or to the largest integer that
                // f32 can represent.
                let float = f64::from((f(f64::INFINITY) as f32).next_down());
                let beyond = (to != DType::Bool && x.value + x.error > float).then_some(float);
                Bounded::from_ends(f(x.value), x.ends(from).map(f).chain(beyond), to)
            }
        }
    }
}

/// Wraps an integer result to its dtype.
pub(super) fn wrap(x: i64, dtype: DType) -> f64 {
    match dtype {
        DType::I32 => f64::from(x as i32),
        DType::U32 => f64::from(x as u32),
        DType::Bool | DType::F32 => f64::from(x != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Bounded = Bounded { value: 0.5, error: 0.1 };

    #[test]
    fn an_error_bound_is_the_error_at_the_ends_of_the_operands() {
        let sum = Bounded::binary(Binary::Add, HALF, HALF, DType::F32);
        assert!((sum.error - 0.2).abs() < 1e-5, "{sum:?}");
        let product = Bounded::binary(Binary::Mul, HALF, Bounded::exact(-3.0), DType::F32);
        assert!(product.value == -1.5 && (product.error - 0.3).abs() < 1e-5, "{product:?}");
        assert!(Bounded::unary(Unary::Exp, Bounded::exact(1.0), DType::F32).error < 2e-6);
    }

    /// Both sides of a discontinuity are allowed only if the operand's range contains it.
    #[test]
    fn a_discontinuity_in_range_allows_both_sides() {
        let below = |x: f64| {
            Bounded::binary(Binary::Lt, Bounded { value: x, error: 0.1 }, Bounded::exact(0.55), DType::F32)
        };
        assert!(below(0.5).allows(0.0) && below(0.5).allows(1.0));
        assert!(below(0.3).allows(1.0) && !below(0.3).allows(0.0));
        let floor = |x: f64| Bounded::unary(Unary::Floor, Bounded { value: x, error: 0.1 }, DType::F32);
        assert!(floor(1.05).allows(0.0) && floor(1.05).allows(1.0) && !floor(1.5).allows(0.0));
        let equal = Bounded::binary(Binary::Eq, HALF, Bounded::exact(0.45), DType::F32);
        assert!(equal.allows(0.0) && equal.allows(1.0));
        let either = Bounded::choose(equal, Bounded::exact(1.0), Bounded::exact(7.0));
        assert!(either.allows(1.0) && either.allows(7.0));
        assert_eq!(
            Bounded::binary(Binary::Div, HALF, Bounded { value: 0.0, error: 0.1 }, DType::F32).error,
            f64::INFINITY
        );
    }

    #[test]
    fn integers_wrap_and_are_exact() {
        let large = Bounded::exact(f64::from(u32::MAX));
        assert_eq!(Bounded::binary(Binary::Mul, large, large, DType::U32), Bounded::exact(1.0));
        assert_eq!(
            Bounded::unary(Unary::Neg, Bounded::exact(f64::from(i32::MIN)), DType::I32).value,
            f64::from(i32::MIN)
        );
        assert_eq!(Bounded::cast(Bounded::exact(-1.0), DType::I32, DType::U32).value, f64::from(u32::MAX));
    }

    #[test]
    fn a_float_out_of_range_becomes_the_largest_integer_or_float() {
        for (to, largest, float) in
            [(DType::I32, 2147483647.0, 2147483520.0), (DType::U32, 4294967295.0, 4294967040.0)]
        {
            let bounded = Bounded::cast(Bounded::exact(1e10), DType::F32, to);
            assert!(
                bounded.allows(largest) && bounded.allows(float) && !bounded.allows(float - 128.0),
                "{to:?}"
            );
            assert!(Bounded::cast(Bounded::exact(1e9), DType::F32, to).error == 0.0, "{to:?}");
        }
    }
}
