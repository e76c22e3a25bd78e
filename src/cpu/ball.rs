//! A number, and how far a kernel may be off it: what running error analysis carries along.
//!
//! In: operands that are exact, or off by so much. Out: the result in f64, and the most that f32 arithmetic may make of
//! it. An operation is as far off as it is at the ends of its operands' ranges, and by its own rounding. So a jump needs
//! no rule of its own: where an operand's range reaches over it, both sides are right.

use crate::core::dtype::DType;
use crate::graph::{Binary, Unary};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ball {
    pub x: f64,
    /// How far off it may be; infinite where anything would be right.
    pub off: f64,
}

/// A rounding to f32, relative to the result.
pub(crate) const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

/// No row of the table is further off than this many ulp (docs/operations.md).
const OPERATION: f64 = 5.0 * f32::EPSILON as f64;

/// Below it a device may flush numbers to zero.
const TINY: f64 = f32::MIN_POSITIVE as f64;

/// What is not known at all.
const UNKNOWN: Ball = Ball { x: f64::NAN, off: f64::INFINITY };

impl Ball {
    /// An integer or a bool, or a float as it lies in memory.
    pub fn exact(x: f64) -> Ball {
        let flushed = x != 0.0 && x.abs() < TINY;
        Ball { x, off: if flushed { x.abs() } else { 0.0 } }
    }

    /// A number of the host's as an element.
    pub fn number(x: f64, dtype: DType) -> Ball {
        Ball::exact(match dtype {
            DType::F32 => f64::from(x as f32),
            DType::I32 => f64::from(x as i32),
            DType::U32 => f64::from(x as u32),
            DType::Bool => f64::from(x != 0.0),
        })
    }

    /// Whether a kernel may have come to this.
    pub fn allows(&self, got: f64) -> bool {
        let same = got == self.x || (got.is_nan() && self.x.is_nan());
        same || self.off == f64::INFINITY || (got - self.x).abs() <= self.off
    }

    /// Whether it says little of a number that is one of a tensor's: a float may be off by over a hundredth of the
    /// largest, anything else at all.
    pub fn is_vague(&self, dtype: DType, largest: f64) -> bool {
        match dtype {
            DType::F32 => self.off > 0.01 * largest.max(TINY / ROUNDING),
            _ => self.off > 0.0,
        }
    }

    /// The float `x` which a kernel knows up to `off`, rounded or computed to within `rounding`.
    pub fn float(x: f64, off: f64, rounding: f64) -> Ball {
        if off.is_nan() || off == f64::INFINITY {
            return Ball { x, off: f64::INFINITY };
        }
        if !x.is_finite() {
            return Ball { x, off };
        }
        let off = off + rounding + TINY;
        match (x.abs() - off > f32::MAX.into(), x.abs() + off > f32::MAX.into()) {
            (true, _) => Ball { x: x.signum() * f64::INFINITY, off: 0.0 },
            (false, true) => Ball { x, off: f64::INFINITY },
            (false, false) => Ball { x, off },
        }
    }

    /// Its range in a dtype's register: the number itself, and the ends if it is off at all.
    fn ends(&self, dtype: DType) -> impl Iterator<Item = f64> + use<> {
        let Ball { x, off } = *self;
        let clamp = move |x: f64| if dtype == DType::Bool { x.clamp(0.0, 1.0) } else { x };
        let ends = if off == 0.0 { 0.0..0.0 } else { -off..off };
        std::iter::once(x)
            .chain([ends.start, ends.end].map(|off| clamp(x + off)).into_iter().filter(move |_| off != 0.0))
    }

    /// `y`, and where the result lies at the ends of the operands' ranges.
    fn dilate(y: f64, others: impl Iterator<Item = f64>, dtype: DType) -> Ball {
        let apart =
            |other: f64| if other == y || (other.is_nan() && y.is_nan()) { 0.0 } else { (other - y).abs() };
        let off = others.map(apart).fold(0.0, |a: f64, b| if b.is_nan() { f64::INFINITY } else { a.max(b) });
        match dtype {
            DType::F32 => Ball::float(y, off, OPERATION * y.abs()),
            _ => Ball { x: y, off },
        }
    }

    pub fn unary(op: Unary, x: Ball, dtype: DType) -> Ball {
        let row = op.row();
        let f = |x: f64| match dtype {
            DType::F32 => (row.float)(x),
            _ => cut((row.int)(x as i64), dtype),
        };
        if x.off == f64::INFINITY {
            return UNKNOWN;
        }
        Ball::spread(f(x.x), x.ends(dtype).map(f), dtype)
    }

    pub fn binary(op: Binary, a: Ball, b: Ball, dtype: DType) -> Ball {
        let row = op.row();
        let result = if row.compares { DType::Bool } else { dtype };
        let f = |a: f64, b: f64| match dtype {
            DType::F32 => (row.float)(a, b),
            _ => cut((row.int)(a as i64, b as i64), result),
        };
        let unknown = if row.compares { Ball { x: 0.0, off: 1.0 } } else { UNKNOWN };
        if a.off == f64::INFINITY || b.off == f64::INFINITY {
            return unknown;
        }
        let together = a.off + b.off;
        match op {
            Binary::Eq if together > 0.0 && (a.x - b.x).abs() <= together => {
                Ball { x: f(a.x, b.x), off: 1.0 }
            }
            // The range of a divisor reaches over 0.
            Binary::Div if b.off > 0.0 && b.x.abs() <= b.off => UNKNOWN,
            _ => {
                let all = a.ends(dtype).flat_map(|a| b.ends(dtype).map(move |b| f(a, b)));
                Ball::spread(f(a.x, b.x), all, result)
            }
        }
    }

    /// `a` where the condition holds, else `b`; either where it may or may not.
    pub fn choose(condition: Ball, a: Ball, b: Ball) -> Ball {
        let (x, other) = if condition.x != 0.0 { (a, b) } else { (b, a) };
        if condition.off == 0.0 || (x.x == other.x && x.off >= other.off) {
            return x;
        }
        let off = x.off.max((other.x - x.x).abs() + other.off);
        Ball { x: x.x, off: if off.is_nan() { f64::INFINITY } else { off } }
    }

    pub fn cast(x: Ball, from: DType, to: DType) -> Ball {
        if x.off == f64::INFINITY || (x.x.is_nan() && to != DType::F32) {
            return UNKNOWN;
        }
        let f = |x: f64| Ball::number(x, to).x;
        match (from, to) {
            (DType::F32, DType::F32) => x,
            (_, DType::F32) => Ball::float(x.x, x.off, ROUNDING * x.x.abs()),
            (DType::F32, DType::Bool) if x.off > 0.0 && x.x.abs() <= x.off => Ball { x: f(x.x), off: 1.0 },
            // Integers become each other by their bits.
            (DType::I32 | DType::U32 | DType::Bool, _) => {
                Ball::spread(cut(x.x as i64, to), x.ends(from).map(|x| cut(x as i64, to)), to)
            }
            (DType::F32, _) => {
                // Beyond its range it is the largest integer, or the largest float that is one.
                let float = f64::from((f(f64::INFINITY) as f32).next_down());
                let beyond = (to != DType::Bool && x.x + x.off > float).then_some(float);
                Ball::spread(f(x.x), x.ends(from).map(f).chain(beyond), to)
            }
        }
    }
}

/// An integer result as a register has it.
pub(super) fn cut(x: i64, dtype: DType) -> f64 {
    match dtype {
        DType::I32 => f64::from(x as i32),
        DType::U32 => f64::from(x as u32),
        DType::Bool | DType::F32 => f64::from(x != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Ball = Ball { x: 0.5, off: 0.1 };

    #[test]
    fn an_operation_is_as_far_off_as_at_the_ends_of_its_operands() {
        let sum = Ball::binary(Binary::Add, HALF, HALF, DType::F32);
        assert!((sum.off - 0.2).abs() < 1e-5, "{sum:?}");
        let product = Ball::binary(Binary::Mul, HALF, Ball::exact(-3.0), DType::F32);
        assert!(
            (product.x, product.off - 0.3) == (-1.5, product.off - 0.3) && (product.off - 0.3).abs() < 1e-5
        );
        assert!(Ball::unary(Unary::Exp, Ball::exact(1.0), DType::F32).off < 2e-6);
    }

    /// Beside a jump both sides are right; elsewhere there is one answer.
    #[test]
    fn a_jump_within_reach_allows_both_sides() {
        let below = |x: f64| Ball::binary(Binary::Lt, Ball { x, off: 0.1 }, Ball::exact(0.55), DType::F32);
        assert!(below(0.5).allows(0.0) && below(0.5).allows(1.0));
        assert!(below(0.3).allows(1.0) && !below(0.3).allows(0.0));
        let floor = |x: f64| Ball::unary(Unary::Floor, Ball { x, off: 0.1 }, DType::F32);
        assert!(floor(1.05).allows(0.0) && floor(1.05).allows(1.0) && !floor(1.5).allows(0.0));
        let equal = Ball::binary(Binary::Eq, HALF, Ball::exact(0.45), DType::F32);
        assert!(equal.allows(0.0) && equal.allows(1.0));
        let either = Ball::choose(equal, Ball::exact(1.0), Ball::exact(7.0));
        assert!(either.allows(1.0) && either.allows(7.0));
        assert_eq!(Ball::binary(Binary::Div, HALF, Ball { x: 0.0, off: 0.1 }, DType::F32).off, f64::INFINITY);
    }

    #[test]
    fn integers_wrap_and_are_exact() {
        let large = Ball::exact(f64::from(u32::MAX));
        assert_eq!(Ball::binary(Binary::Mul, large, large, DType::U32), Ball::exact(1.0));
        assert_eq!(
            Ball::unary(Unary::Neg, Ball::exact(f64::from(i32::MIN)), DType::I32).x,
            f64::from(i32::MIN)
        );
        assert_eq!(Ball::cast(Ball::exact(-1.0), DType::I32, DType::U32).x, f64::from(u32::MAX));
    }

    #[test]
    fn integers_end_where_they_or_their_floats_do() {
        for (to, largest, float) in
            [(DType::I32, 2147483647.0, 2147483520.0), (DType::U32, 4294967295.0, 4294967040.0)]
        {
            let ball = Ball::cast(Ball::exact(1e10), DType::F32, to);
            assert!(ball.allows(largest) && ball.allows(float) && !ball.allows(float - 128.0), "{to:?}");
            assert!(Ball::cast(Ball::exact(1e9), DType::F32, to).off == 0.0, "{to:?}");
        }
    }
}
