//! The gradients of the elementwise operations: those of the table's rows.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::graph::{Binary, Unary, binary_rows, unary_rows};
use crate::tensor::{Const, Tensor};

/// Of the operand, the result and the gradient of the result: the gradient of the operand.
type UnaryRule = fn(&Tensor, &Tensor, &Tensor) -> Tensor;

/// Of both operands, the result and the gradient of the result: the gradient of one operand.
type BinaryRule = fn(&Tensor, &Tensor, &Tensor, &Tensor) -> Tensor;

macro_rules! rules {
    ($($(#[$doc:meta])* $op:ident $method:ident $accepts:ident {
        wgsl: $wgsl:literal, float: $float:expr, int: $int:expr, grad: $grad:expr,
        domain: $domain:expr, jumps: $jumps:literal,
    })*) => {
        pub(super) fn unary_rule(op: Unary) -> UnaryRule {
            match op { $(Unary::$op => $grad,)* }
        }
    };
    ($($(#[$doc:meta])* $op:ident $method:ident $accepts:ident compares $compares:literal {
        wgsl: $wgsl:literal, float: $float:expr, int: $int:expr, grads: $grads:expr,
        domain: $domain:expr, jumps: $jumps:literal,
    })*) => {
        pub(super) fn binary_rules(op: Binary) -> [BinaryRule; 2] {
            match op { $(Binary::$op => $grads,)* }
        }
    };
}
unary_rows!(rules);
binary_rows!(rules);

/// The gradient of the operand that won: all of it, or half where both are equal.
fn share(won: Tensor, tied: Tensor, g: &Tensor) -> Tensor {
    won.where_(g, tied.where_(g * Const(0.5), Const(0.0)))
}
