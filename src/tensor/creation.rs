//! Constructors of tensors: from host data, constants, ranges and random numbers.

use super::Tensor;
use crate::core::array::Array;
use crate::core::dtype::{DType, Element};
use crate::core::extremes::Extremes;
use crate::core::grad_mode::no_grad;
use crate::core::random;
use crate::core::shape::{Dims, Shape, Spec, refuse};
use crate::graph::Device;
use crate::graph::{Move, Node, Op};

impl Tensor {
    /// Creates a tensor from host data in row-major order.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let x = Tensor::new([1, 2, 3, 4], [2, 2], &Device::cpu());
    /// assert_eq!(x.to_string(), "i32[2, 2]");
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if a size is negative, if `data.len()` is not the product of the sizes, or if the tensor exceeds the
    /// device's storage binding limit.
    #[track_caller]
    pub fn new<T: Element>(data: impl AsRef<[T]>, shape: impl Into<Dims>, device: &Device) -> Tensor {
        let (data, shape) = (data.as_ref(), shape.into().sizes("tensor"));
        if data.len() != shape.numel() {
            refuse!("tensor", "{} elements do not fill the shape {shape} ({})", data.len(), shape.numel());
        }
        let spec = Spec { shape, dtype: T::DTYPE };
        spec.check_size("tensor", device);
        let extremes = match T::to_array(if T::DTYPE.is_float() { &[] } else { data }) {
            Array::Int(ints) => Extremes::of(ints.iter().map(|&x| x.into())),
            Array::Uint(ints) => Extremes::of(ints.iter().map(|&x| x.into())),
            Array::Float(_) | Array::Bool(_) => None,
        };
        Tensor::from_node(Node::input(spec, device.upload(data), extremes, device), 0)
    }

    /// Creates a scalar: a tensor of rank 0.
    #[track_caller]
    pub fn scalar<T: Element>(value: T, device: &Device) -> Tensor {
        Tensor::new([value], (), device)
    }

    /// Creates an f32 tensor with every element equal to `value`.
    ///
    /// # Panics
    ///
    /// Panics if a size is negative, or if the tensor exceeds the device's storage binding limit.
    #[track_caller]
    pub fn full(shape: impl Into<Dims>, value: f64, device: &Device) -> Tensor {
        Tensor::fill(Op::Scalar(value), shape.into().sizes("full"), device)
    }

    /// Creates an f32 tensor of zeros.
    ///
    /// # Panics
    ///
    /// Panics if a size is negative, or if the tensor exceeds the device's storage binding limit.
    #[track_caller]
    pub fn zeros(shape: impl Into<Dims>, device: &Device) -> Tensor {
        Tensor::fill(Op::Const(0.0), shape.into().sizes("zeros"), device)
    }

    /// Creates an f32 tensor of ones.
    ///
    /// # Panics
    ///
    /// Panics if a size is negative, or if the tensor exceeds the device's storage binding limit.
    #[track_caller]
    pub fn ones(shape: impl Into<Dims>, device: &Device) -> Tensor {
        Tensor::fill(Op::Const(1.0), shape.into().sizes("ones"), device)
    }

    #[track_caller]
    fn fill(op: Op, shape: Shape, device: &Device) -> Tensor {
        Tensor::leaf(op, Spec { shape, dtype: DType::F32 }, device)
    }

    /// Creates zeros with the shape, dtype and device of this tensor.
    ///
    /// # Panics
    ///
    /// Panics if the tensor exceeds the device's storage binding limit.
    #[track_caller]
    pub fn zeros_like(&self) -> Tensor {
        self.const_like(0.0)
    }

    /// Creates ones with the shape, dtype and device of this tensor.
    ///
    /// # Panics
    ///
    /// Panics if the tensor exceeds the device's storage binding limit.
    #[track_caller]
    pub fn ones_like(&self) -> Tensor {
        self.const_like(1.0)
    }

    #[track_caller]
    fn const_like(&self, value: f64) -> Tensor {
        Tensor::leaf(Op::Const(value), self.spec().clone(), self.device())
    }

    /// The integers `0..n`, as an i32 tensor of shape `[n]`.
    ///
    /// # Panics
    ///
    /// Panics if the tensor exceeds the device's storage binding limit.
    #[track_caller]
    pub fn arange(n: usize, device: &Device) -> Tensor {
        Tensor::iota([n].into(), 0, device)
    }

    /// For each element of `shape`, its index along `dim`.
    #[track_caller]
    pub(crate) fn iota(shape: Shape, dim: usize, device: &Device) -> Tensor {
        Tensor::leaf(Op::Iota(dim), Spec { shape, dtype: DType::I32 }, device)
    }

    /// Draws f32 numbers uniformly from [0, 1), on the device. The same [`manual_seed`](crate::manual_seed) gives the
    /// same numbers on every device.
    ///
    /// # Panics
    ///
    /// Panics if a size is negative, or if the tensor exceeds the device's storage binding limit.
    #[track_caller]
    pub fn rand(shape: impl Into<Dims>, device: &Device) -> Tensor {
        let stream = random::next_stream();
        let op = Op::Random { seed: stream.seed, counter: stream.counter };
        Tensor::fill(op, shape.into().sizes("rand"), device)
    }

    /// Draws f32 numbers from the normal distribution with mean 0 and standard deviation 1. They are drawn on the host,
    /// so they are the same on every device.
    ///
    /// # Panics
    ///
    /// Panics if a size is negative, or if the tensor exceeds the device's storage binding limit.
    #[track_caller]
    pub fn randn(shape: impl Into<Dims>, device: &Device) -> Tensor {
        let shape = shape.into().sizes("randn");
        let data = random::next_stream().normal(shape.numel());
        Tensor::new(data, shape, device)
    }

    /// Copies the tensor to another device. Waits for its value.
    ///
    /// # Errors
    ///
    /// Returns an error if the value cannot be computed or read, for example because its device is lost or out of
    /// memory.
    ///
    /// # Panics
    ///
    /// Panics if the tensor exceeds the storage binding limit of `device`.
    pub fn to_device(&self, device: &Device) -> Result<Tensor, crate::Error> {
        let shape = self.shape().clone();
        Ok(match self.dtype() {
            DType::F32 => Tensor::new(self.to_vec::<f64>()?, shape, device),
            DType::I32 => Tensor::new(self.to_vec::<i32>()?, shape, device),
            DType::U32 => Tensor::new(self.to_vec::<u32>()?, shape, device),
            DType::Bool => Tensor::new(self.to_vec::<bool>()?, shape, device),
        })
    }

    /// The same value on a new node that keeps the history.
    #[track_caller]
    pub(crate) fn alias(&self) -> Tensor {
        Tensor::build(Op::Move(Move::Reshape(self.shape().clone())), &[self], self.spec().clone())
    }

    /// The same value without history: no gradient flows through the result.
    ///
    /// # Panics
    ///
    /// Panics if the tensor exceeds the device's storage binding limit (a tensor that `expand` made can).
    #[track_caller]
    pub fn detach(&self) -> Tensor {
        no_grad(|| self.alias())
    }
}

impl std::fmt::Display for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}", self.spec())
    }
}
