//! Numbers that the library wrote, in a kernel's text or among its uniforms.

use super::{UniformWord, Writer};
use crate::core::dtype::DType;
use crate::graph::{Binary, Unary};
use crate::ir::{Inst, Program, Reg};

impl Writer<'_> {
    /// A number that the library wrote. Few are text; the others would make a kernel for every 1/n. A driver may take
    /// `x * 0.0` for 0 and `x + 0.0` for `x`, which they are not for NaN, infinities and -0: an `operand` of arithmetic
    /// that is 0 is a uniform.
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

/// Whether a register is added, subtracted, multiplied or divided.
pub(super) fn is_arithmetic_operand(program: &Program, register: Reg) -> bool {
    program.code.iter().any(|inst| match inst {
        Inst::Binary(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div, a, b, _) => {
            [*a, *b].contains(&register)
        }
        Inst::Unary(Unary::Recip, x, _) => *x == register,
        _ => false,
    })
}

/// A zero in a register.
pub(super) fn zero(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "0.0",
        DType::I32 => "0i",
        DType::U32 => "0u",
        DType::Bool => "false",
    }
}
