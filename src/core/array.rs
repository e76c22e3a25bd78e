//! A tensor's elements on the host.

/// Elements in row-major order. Floats are stored as f64, the precision of the CPU reference.
#[derive(Clone, Debug, PartialEq)]
#[doc(hidden)]
pub enum Array {
    Float(Vec<f64>),
    Int(Vec<i32>),
    Uint(Vec<u32>),
    Bool(Vec<bool>),
}
