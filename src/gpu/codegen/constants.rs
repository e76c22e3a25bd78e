//! The constants of a program, as literals in a kernel's text or as uniforms.

use super::{UniformWord, Writer};
use crate::core::dtype::DType;
use crate::graph::{Binary, Unary};
use crate::ir::{Inst, Program, Reg};

impl Writer<'_> {
    /// The expression of a constant. Only a few constants are literals: the others are uniforms, so that 1/n does not
    /// need a new kernel for each n. A driver may fold `x * 0.0` to 0 and `x + 0.0` to `x`, which is wrong for NaN,
    /// infinities and negative zero, so a 0 that is an `operand` of arithmetic is a uniform too.
    pub(super) fn number(&mut self, x: f64, dtype: DType, operand: bool) -> String {
        let name = format!("c{}", self.words.len());
        let is_text = match x {
            0.0 => x.is_sign_positive() && !operand,
            _ => [0.5, 1.0, 2.0].contains(&x),
        };
        match dtype {
            DType::Bool => (x != 0.0).to_string(),
            DType::F32 if is_text => format!("{x:?}"),
            DType::F32 => self.param(&name, "f32", UniformWord::Fixed((x as f32).to_bits())),
            DType::I32 => self.param(&name, "i32", UniformWord::Fixed(x as i32 as u32)),
            DType::U32 => self.param(&name, "u32", UniformWord::Fixed(x as u32)),
        }
    }
}

/// Whether a register is an operand of an addition, subtraction, multiplication, division or reciprocal.
pub(super) fn is_arithmetic_operand(program: &Program, register: Reg) -> bool {
    program.code.iter().any(|inst| match inst {
        Inst::Binary(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div, a, b, _) => {
            [*a, *b].contains(&register)
        }
        Inst::Unary(Unary::Recip, x, _) => *x == register,
        _ => false,
    })
}

/// The literal 0 of a register's type.
pub(super) fn zero(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "0.0",
        DType::I32 => "0i",
        DType::U32 => "0u",
        DType::Bool => "false",
    }
}
