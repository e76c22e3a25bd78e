//! The operations of the table as data: accepted dtypes, WGSL, and the function on f64 and i64.

use std::f64::consts::FRAC_1_SQRT_2;
use std::ops::Range;

use super::table::{binary_rows, unary_rows};
use crate::core::dtype::DType;

/// The dtypes that an operation accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepts {
    Float,
    Signed,
    Numeric,
    Logic,
    Any,
}

impl Accepts {
    pub fn dtype(self, dtype: DType) -> bool {
        match self {
            Accepts::Float => dtype.is_float(),
            Accepts::Signed => dtype.is_float() || dtype == DType::I32,
            Accepts::Numeric => dtype != DType::Bool,
            Accepts::Logic => dtype == DType::Bool,
            Accepts::Any => true,
        }
    }
}

#[cfg_attr(not(test), expect(dead_code, reason = "some fields are used by tests only"))]
pub(crate) struct UnaryRow {
    pub name: &'static str,
    pub accepts: Accepts,
    pub wgsl: &'static str,
    pub float: fn(f64) -> f64,
    pub int: fn(i64) -> i64,
    pub domain: Range<f64>,
    pub jumps: bool,
}

#[cfg_attr(not(test), expect(dead_code, reason = "some fields are used by tests only"))]
pub(crate) struct BinaryRow {
    pub name: &'static str,
    pub accepts: Accepts,
    /// Whether the result is a bool, whatever the operands' dtype.
    pub compares: bool,
    pub wgsl: &'static str,
    pub float: fn(f64, f64) -> f64,
    pub int: fn(i64, i64) -> i64,
    pub domain: Range<f64>,
    pub jumps: bool,
}

/// Placeholder function for dtypes that an operation does not accept.
fn never<T, R>(_: T) -> R {
    unreachable!("the row does not accept this dtype")
}

macro_rules! unary {
    ($($(#[$doc:meta])* $op:ident $method:ident $accepts:ident {
        wgsl: $wgsl:literal, float: $float:expr, int: $int:expr, grad: $grad:expr,
        domain: $domain:expr, jumps: $jumps:literal,
    })*) => {
        /// Elementwise operations with one operand.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Unary { $($op,)* }

        impl Unary {
            #[cfg(test)]
            pub const ALL: &[Unary] = &[$(Unary::$op),*];

            pub fn row(self) -> &'static UnaryRow {
                match self { $(Unary::$op => {
                    const ROW: UnaryRow = UnaryRow {
                        name: stringify!($method), accepts: Accepts::$accepts, wgsl: $wgsl, float: $float, int: $int,
                        domain: $domain, jumps: $jumps,
                    };
                    &ROW
                })* }
            }
        }
    };
}
unary_rows!(unary);

macro_rules! binary {
    ($($(#[$doc:meta])* $op:ident $method:ident $accepts:ident compares $compares:literal {
        wgsl: $wgsl:literal, float: $float:expr, int: $int:expr, grads: $grads:expr,
        domain: $domain:expr, jumps: $jumps:literal,
    })*) => {
        /// Elementwise operations with two operands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Binary { $($op,)* }

        impl Binary {
            #[cfg(test)]
            pub const ALL: &[Binary] = &[$(Binary::$op),*];

            pub fn row(self) -> &'static BinaryRow {
                match self { $(Binary::$op => {
                    const ROW: BinaryRow = BinaryRow {
                        name: stringify!($method), accepts: Accepts::$accepts, compares: $compares, wgsl: $wgsl,
                        float: $float, int: $int, domain: $domain, jumps: $jumps,
                    };
                    &ROW
                })* }
            }
        }
    };
}
binary_rows!(binary);
