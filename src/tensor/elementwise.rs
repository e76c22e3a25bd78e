//! Elementwise methods: broadcasting, the operators, and methods composed of the table's rows.

use std::ops;

use super::{Tensor, check_operands, same_device};
use crate::core::dtype::DType;
use crate::core::shape::{Shape, Spec, refuse};
use crate::graph::{Accepts, Binary, Op, Unary, binary_rows, unary_rows};

/// The second operand of an elementwise method: a tensor or a number.
#[derive(Clone, Debug)]
pub enum Operand {
    /// A tensor. It broadcasts with the other operand.
    Tensor(Tensor),
    /// A number from the user. It is passed to kernels as a uniform, so a new value needs no new plan and no new
    /// kernel.
    Scalar(f64),
    #[doc(hidden)]
    Const(f64),
}

/// A constant written by the library. Unlike a user's number it is part of the plan and can be folded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Const(pub f64);

impl Operand {
    /// This operand as a tensor. A number becomes a tensor with the shape, dtype and device of `like`.
    #[track_caller]
    fn like(self, op: &str, like: &Tensor) -> Tensor {
        let (leaf, number) = match self {
            Operand::Tensor(tensor) => return tensor,
            Operand::Scalar(x) => (Op::Scalar(x), x),
            Operand::Const(x) => (Op::Const(x), x),
        };
        let whole = number.fract() == 0.0 && number.is_finite();
        match like.dtype() {
            dtype if dtype.is_float() || (dtype != DType::Bool && whole) => {
                Tensor::leaf(leaf, like.spec().clone(), like.device())
            }
            _ => refuse!(op, "the number {number} is not representable in {}", like.spec()),
        }
    }
}

impl From<&Tensor> for Operand {
    fn from(tensor: &Tensor) -> Operand {
        Operand::Tensor(tensor.clone())
    }
}

impl From<Tensor> for Operand {
    fn from(tensor: Tensor) -> Operand {
        Operand::Tensor(tensor)
    }
}

impl From<Const> for Operand {
    fn from(number: Const) -> Operand {
        Operand::Const(number.0)
    }
}

macro_rules! operand_from {
    ($($number:ty)*) => {$(
        impl From<$number> for Operand {
            fn from(number: $number) -> Operand {
                Operand::Scalar(number as f64)
            }
        }
    )*};
}
operand_from!(f32 f64 i32 u32 usize);

/// Builds the node of a unary operation.
#[track_caller]
pub(crate) fn unary(op: Unary, x: &Tensor) -> Tensor {
    let row = op.row();
    check_operands(row.name, row.accepts, &[x]);
    Tensor::build(Op::Unary(op), &[x], x.spec().clone())
}

/// Broadcasts the operands and builds the node of a binary operation.
#[track_caller]
pub(crate) fn binary(op: Binary, a: Operand, b: Operand) -> Tensor {
    binary_as(op.row().name, op, a, b)
}

/// [`binary`], with the name of the method that the panic messages show.
#[track_caller]
pub(crate) fn binary_as(name: &str, op: Binary, a: Operand, b: Operand) -> Tensor {
    let row = op.row();
    let (a, b) = broadcast(name, a, b);
    if !row.accepts.dtype(a.dtype()) {
        refuse!(name, "not defined for {} and {}", a.spec(), b.spec());
    }
    let dtype = if row.compares { DType::Bool } else { a.dtype() };
    Tensor::build(Op::Binary(op), &[&a, &b], Spec::new(a.shape().clone(), dtype))
}

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $op:ident $method:ident $accepts:ident { $($row:tt)* })*) => {
        /// Elementwise operations with one operand.
        impl Tensor { $(
            $(#[$doc])*
            ///
            /// # Panics
            ///
            /// Panics if the operation does not support the tensor's dtype.
            #[track_caller]
            pub fn $method(&self) -> Tensor {
                unary(Unary::$op, self)
            }
        )* }
    };
}
unary_rows!(unary_methods);

macro_rules! binary_methods {
    ($($(#[$doc:meta])* $op:ident $method:ident $accepts:ident compares $compares:literal { $($row:tt)* })*) => {
        /// Elementwise operations with two operands, which broadcast. The second operand may be a number.
        impl Tensor { $(
            $(#[$doc])*
            ///
            /// # Panics
            ///
            /// Panics if the shapes do not broadcast, if the dtypes differ or are not supported by the operation, if a
            /// number is not representable in the tensor's dtype, or if the tensors are on different devices.
            #[track_caller]
            pub fn $method(&self, other: impl Into<Operand>) -> Tensor {
                binary(Binary::$op, self.into(), other.into())
            }
        )* }
    };
}
binary_rows!(binary_methods);

/// `a <= b`. `name` is the method that the panic messages show.
#[track_caller]
fn at_most(name: &str, a: Operand, b: Operand) -> Tensor {
    binary_as(name, Binary::Lt, a.clone(), b.clone()).logical_or(binary_as(name, Binary::Eq, a, b))
}

/// Both operands as tensors. Checks that they have the same dtype and device.
#[track_caller]
fn pair(op: &str, a: Operand, b: Operand) -> (Tensor, Tensor) {
    let (a, b) = match (a, b) {
        (Operand::Tensor(a), b) => {
            let b = b.like(op, &a);
            (a, b)
        }
        (a, Operand::Tensor(b)) => (a.like(op, &b), b),
        _ => unreachable!("every method has at least one tensor operand"),
    };
    same_device(op, &[&a, &b]);
    if a.dtype() != b.dtype() {
        refuse!(op, "dtypes differ: {} and {} (convert one with to_dtype)", a.spec(), b.spec());
    }
    (a, b)
}

/// [`pair`], broadcast to one shape.
#[track_caller]
fn broadcast(op: &str, a: Operand, b: Operand) -> (Tensor, Tensor) {
    let (a, b) = pair(op, a, b);
    let shape = Shape::broadcast(op, a.shape(), b.shape());
    Spec::new(shape.clone(), a.dtype()).check_size(op, a.device());
    (a.broadcast_to(&shape), b.broadcast_to(&shape))
}

/// Comparisons and selection.
impl Tensor {
    /// `self > other`, as a bool tensor.
    ///
    /// # Panics
    ///
    /// Panics if the shapes do not broadcast, if the dtypes differ or are bool, or if the tensors are on different
    /// devices.
    #[track_caller]
    pub fn gt(&self, other: impl Into<Operand>) -> Tensor {
        binary_as("gt", Binary::Lt, other.into(), self.into())
    }

    /// `self >= other`, as a bool tensor; false where an operand is NaN.
    ///
    /// # Panics
    ///
    /// Panics if the shapes do not broadcast, if the dtypes differ or are bool, or if the tensors are on different
    /// devices.
    #[track_caller]
    pub fn ge(&self, other: impl Into<Operand>) -> Tensor {
        at_most("ge", other.into(), self.into())
    }

    /// `self <= other`, as a bool tensor; false where an operand is NaN.
    ///
    /// # Panics
    ///
    /// Panics if the shapes do not broadcast, if the dtypes differ or are bool, or if the tensors are on different
    /// devices.
    #[track_caller]
    pub fn le(&self, other: impl Into<Operand>) -> Tensor {
        at_most("le", self.into(), other.into())
    }

    /// `self != other`, as a bool tensor; true where an operand is NaN.
    ///
    /// # Panics
    ///
    /// Panics if the shapes do not broadcast, if the dtypes differ, or if the tensors are on different devices.
    #[track_caller]
    pub fn ne(&self, other: impl Into<Operand>) -> Tensor {
        binary_as("ne", Binary::Eq, self.into(), other.into()).logical_not()
    }

    /// Selects `a` where this bool tensor is true and `b` where it is false. All three broadcast.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let x = Tensor::new([-1.0, 2.0], [2], &Device::cpu());
    /// assert_eq!(x.gt(0.0).where_(&x, 0.5).to_vec::<f32>().unwrap(), [0.5, 2.0]);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if this tensor is not bool, if the shapes do not broadcast, if the dtypes of `a` and `b` differ, or if
    /// the tensors are on different devices.
    #[track_caller]
    pub fn where_(&self, a: impl Into<Operand>, b: impl Into<Operand>) -> Tensor {
        self.choose("where", a.into(), b.into())
    }

    /// Implements [`where_`](Tensor::where_). `op` is the method that the panic messages show.
    #[track_caller]
    pub(crate) fn choose(&self, op: &str, a: Operand, b: Operand) -> Tensor {
        if self.dtype() != DType::Bool {
            refuse!(op, "the condition must be bool, but is {}", self.spec());
        }
        let (a, b) = match (a, b) {
            (a @ (Operand::Scalar(_) | Operand::Const(_)), b @ (Operand::Scalar(_) | Operand::Const(_))) => {
                let like =
                    Tensor::leaf(Op::Const(0.0), Spec::new(self.shape().clone(), DType::F32), self.device());
                (a.like(op, &like), b.like(op, &like))
            }
            (a, b) => pair(op, a, b),
        };
        same_device(op, &[self, &a]);
        let fits = [(self, &a), (self, &b), (&a, &b)];
        if !fits.iter().all(|(x, y)| Shape::broadcasts(x.shape(), y.shape())) {
            let [condition, a, b] = [self, &a, &b].map(|x| x.shape());
            refuse!(op, "shapes do not broadcast: condition {condition}, {a} and {b}");
        }
        let shape = Shape::broadcast(op, &Shape::broadcast(op, self.shape(), a.shape()), b.shape());
        Spec::new(shape.clone(), a.dtype()).check_size(op, self.device());
        let (condition, a, b) = (self.broadcast_to(&shape), a.broadcast_to(&shape), b.broadcast_to(&shape));
        Tensor::build(Op::Where, &[&condition, &a, &b], a.spec().clone())
    }

    /// A copy of the tensor with `value` where `mask` is true. The mask broadcasts.
    ///
    /// # Panics
    ///
    /// Panics if `mask` is not bool, if the shapes do not broadcast, if `value` is not representable in the tensor's
    /// dtype, or if the tensors are on different devices.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: impl Into<Operand>) -> Tensor {
        mask.choose("masked_fill", value.into(), self.into())
    }

    /// Converts the elements to another dtype. Floats are rounded towards zero; a bool becomes 0 or 1; a number becomes
    /// true unless it is 0.
    ///
    /// # Panics
    ///
    /// Panics if the result exceeds the device's storage binding limit.
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Tensor {
        if dtype == self.dtype() {
            return self.unchanged();
        }
        if dtype == DType::Bool {
            let zero = Tensor::leaf(Op::Const(0.0), self.spec().clone(), self.device());
            return self.ne(&zero);
        }
        Tensor::build(Op::Cast(dtype), &[self], Spec::new(self.shape().clone(), dtype))
    }

    /// Limits the elements to `[min, max]`. The gradient is 0 at the limits and outside them.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is bool, if a limit is not representable in its dtype, or if a limit is a tensor that does
    /// not broadcast with it.
    #[track_caller]
    pub fn clamp(&self, min: impl Into<Operand>, max: impl Into<Operand>) -> Tensor {
        self.raised("clamp", min.into()).lowered("clamp", max.into())
    }

    /// Replaces the elements below `min` with `min`.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is bool, if `min` is not representable in its dtype, or if `min` is a tensor that does not
    /// broadcast with it.
    #[track_caller]
    pub fn clamp_min(&self, min: impl Into<Operand>) -> Tensor {
        self.raised("clamp_min", min.into())
    }

    /// Replaces the elements above `max` with `max`.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is bool, if `max` is not representable in its dtype, or if `max` is a tensor that does not
    /// broadcast with it.
    #[track_caller]
    pub fn clamp_max(&self, max: impl Into<Operand>) -> Tensor {
        self.lowered("clamp_max", max.into())
    }

    #[track_caller]
    fn raised(&self, op: &str, min: Operand) -> Tensor {
        at_most(op, self.into(), min.clone()).choose(op, min, self.into())
    }

    #[track_caller]
    fn lowered(&self, op: &str, max: Operand) -> Tensor {
        at_most(op, max.clone(), self.into()).choose(op, max, self.into())
    }
}

/// Powers.
impl Tensor {
    /// `x * x`
    ///
    /// # Panics
    ///
    /// Panics if the tensor is bool.
    #[track_caller]
    pub fn square(&self) -> Tensor {
        binary_as("square", Binary::Mul, self.into(), self.into())
    }

    /// `1 / √x`
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32.
    #[track_caller]
    pub fn rsqrt(&self) -> Tensor {
        check_operands("rsqrt", Accepts::Float, &[self]);
        self.sqrt().reciprocal()
    }

    /// `x` to the power `exponent`. An integer with magnitude 1 to 16 is computed by repeated multiplication, any other
    /// exponent by [`powf`](Self::powf).
    ///
    /// # Panics
    ///
    /// Panics if the tensor is bool, if it is an integer tensor and the exponent is not an integer from 1 to 16, or if
    /// the exponent is a tensor that does not broadcast with it.
    #[track_caller]
    pub fn pow(&self, exponent: impl Into<Operand>) -> Tensor {
        match exponent.into() {
            Operand::Scalar(n) if n.fract() == 0.0 && n != 0.0 && n.abs() <= 16.0 => {
                check_operands("pow", if n < 0.0 { Accepts::Float } else { Accepts::Numeric }, &[self]);
                self.powi(n as i32)
            }
            exponent => binary_as("pow", Binary::Pow, self.into(), exponent),
        }
    }

    /// Repeated squaring: `x^13 = x * x^4 * x^8`.
    #[track_caller]
    fn powi(&self, n: i32) -> Tensor {
        if n < 0 {
            return self.powi(-n).reciprocal();
        }
        let (mut square, mut power, mut left) = (self.clone(), None::<Tensor>, n);
        while left > 0 {
            if left % 2 == 1 {
                power = Some(power.map_or_else(|| square.clone(), |power| &power * &square));
            }
            left /= 2;
            if left > 0 {
                square = square.square();
            }
        }
        power.expect("the exponent is not 0")
    }
}

/// The operators, between two tensors and between a tensor and a number.
macro_rules! operators {
    ($($trait:ident $method:ident $row:ident;)*) => {$(
        impl<T: Into<Operand>> ops::$trait<T> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: T) -> Tensor {
                binary(Binary::$row, self.into(), other.into())
            }
        }
        impl<T: Into<Operand>> ops::$trait<T> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: T) -> Tensor {
                binary(Binary::$row, self.into(), other.into())
            }
        }
        // f64 is the only float type here: so the 1.0 of `(1.0 - &x).square()` has one possible type and needs no
        // suffix.
        operators!(@number $trait $method $row f64 i32 Const);
    )*};
    (@number $trait:ident $method:ident $row:ident $($number:ty)*) => {$(
        impl ops::$trait<&Tensor> for $number {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                binary(Binary::$row, self.into(), other.into())
            }
        }
        impl ops::$trait<Tensor> for $number {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                binary(Binary::$row, self.into(), other.into())
            }
        }
    )*};
}
operators! {
    Add add Add;
    Sub sub Sub;
    Mul mul Mul;
    Div div Div;
}

impl ops::Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        unary(Unary::Neg, self)
    }
}

impl ops::Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        unary(Unary::Neg, &self)
    }
}
