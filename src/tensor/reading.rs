//! Reading values back: the only place where a program waits for the device, and where its failures come out.

use super::Tensor;
use crate::core::dtype::{DType, Element};
use crate::core::error::Error;
use crate::core::grad_mode::no_grad;
use crate::core::shape::refuse;
use crate::graph::{Op, Value};

impl Tensor {
    /// Computes the value if nothing has yet, without waiting for the GPU, and returns the tensor.
    pub fn realize(&self) -> Result<&Tensor, Error> {
        self.device().realize(std::slice::from_ref(self.node()))?;
        Ok(self)
    }

    /// The elements in row-major order. Waits for the device.
    ///
    /// `T` must be the host's type of the tensor's dtype; `f64` reads an f32 tensor too, and sees every bit of what
    /// the CPU reference computed.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, Error> {
        let tensor = self.readable::<T>("to_vec")?;
        self.device().read(&tensor.value())
    }

    /// [`to_vec`](Tensor::to_vec) for an async executor, which is never blocked: the device's polling thread wakes it.
    pub async fn to_vec_async<T: Element>(&self) -> Result<Vec<T>, Error> {
        let tensor = self.readable::<T>("to_vec_async")?;
        self.device().read_async(&tensor.value()).await
    }

    /// The value of a tensor with one element, of any dtype (a bool is 0 or 1). Waits for the device.
    #[track_caller]
    pub fn item(&self) -> Result<f64, Error> {
        self.check_one("item");
        Ok(match self.dtype() {
            DType::F32 => self.to_vec::<f64>()?[0],
            DType::I32 => self.to_vec::<i32>()?[0].into(),
            DType::U32 => self.to_vec::<u32>()?[0].into(),
            DType::Bool => self.to_vec::<bool>()?[0].into(),
        })
    }

    /// [`item`](Tensor::item) for an async executor.
    pub async fn item_async(&self) -> Result<f64, Error> {
        self.check_one("item_async");
        Ok(match self.dtype() {
            DType::F32 => self.to_vec_async::<f64>().await?[0],
            DType::I32 => self.to_vec_async::<i32>().await?[0].into(),
            DType::U32 => self.to_vec_async::<u32>().await?[0].into(),
            DType::Bool => self.to_vec_async::<bool>().await?[0].into(),
        })
    }

    #[track_caller]
    fn check_one(&self, op: &str) {
        if self.numel() != 1 {
            refuse!(op, "{} has {} elements, not one", self.spec(), self.numel());
        }
    }

    /// This tensor with a value in row-major order from the start of its storage.
    #[track_caller]
    fn readable<T: Element>(&self, op: &str) -> Result<Tensor, Error> {
        if T::DTYPE != self.dtype() {
            refuse!(op, "{} cannot be read as {}", self.spec(), T::DTYPE);
        }
        self.realize()?;
        if self.value().view.is_contiguous() {
            return Ok(self.clone());
        }
        // A cast to its own dtype is a copy, and a kernel always writes row-major.
        let copy = no_grad(|| Tensor::build(Op::Cast(self.dtype()), &[self], self.spec().clone()));
        copy.realize()?;
        Ok(copy)
    }

    /// The value, once realised.
    pub(crate) fn value(&self) -> Value {
        self.node().value(self.out()).expect("the tensor was realised")
    }
}
