//! The gradients of the elementwise operations, as defined in the table of operations.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::graph::{Binary, Unary, binary_rows, unary_rows};
use crate::tensor::{Const, Tensor};

/// Computes the gradient of the operand from the operand, the result and the gradient of the result.
type UnaryRule = fn(&Tensor, &Tensor, &Tensor) -> Tensor;

/// Computes the gradient of one operand from both operands, the result and the gradient of the result.
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

/// Computes the gradient of an operand of a maximum or minimum: the whole gradient where the operand was selected, and
/// half of the gradient for a tie.
fn share(won: Tensor, tied: Tensor, g: &Tensor) -> Tensor {
    won.where_(g, tied.where_(g * Const(0.5), Const(0.0)))
}
