//! Reading values: the only methods that wait for the device, and that return its errors.

use super::Tensor;
use crate::core::dtype::{DType, Element};
use crate::core::error::Error;
use crate::core::grad_mode::no_grad;
use crate::core::shape::refuse;
use crate::graph::{Op, Value};

impl Tensor {
    /// Computes the value, if it is not computed yet, and returns the tensor. It does not wait for the GPU.
    ///
    /// # Errors
    ///
    /// Returns an error if the value cannot be computed, for example because the device is lost or out of memory, or
    /// because an earlier run failed.
    pub fn realize(&self) -> Result<&Tensor, Error> {
        self.device().realize(std::slice::from_ref(self.node()))?;
        Ok(self)
    }

    /// Copies the elements to the host, in row-major order. Waits for the device.
    ///
    /// `T` must be the host type of the tensor's dtype. An f32 tensor can also be read as `f64`, which shows every bit
    /// of a value that the CPU reference computed.
    ///
    /// # Errors
    ///
    /// Returns an error if the value cannot be computed or read: the device is lost or out of memory, or an index was
    /// out of range ([`Error::Index`]).
    ///
    /// # Panics
    ///
    /// Panics if `T` is not the host type of the tensor's dtype.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, Error> {
        let tensor = self.readable::<T>("to_vec")?;
        self.device().read(&tensor.value())
    }

    /// [`to_vec`](Tensor::to_vec) for an async executor. It does not block the executor: the device's polling thread
    /// wakes the task.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`to_vec`](Tensor::to_vec).
    ///
    /// # Panics
    ///
    /// Panics if `T` is not the host type of the tensor's dtype.
    pub async fn to_vec_async<T: Element>(&self) -> Result<Vec<T>, Error> {
        let tensor = self.readable::<T>("to_vec_async")?;
        self.device().read_async(&tensor.value()).await
    }

    /// The value of a tensor with one element, of any dtype (a bool is 0 or 1). Waits for the device.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`to_vec`](Tensor::to_vec).
    ///
    /// # Panics
    ///
    /// Panics if the tensor does not have exactly one element.
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
    ///
    /// # Errors
    ///
    /// Returns the errors of [`to_vec`](Tensor::to_vec).
    ///
    /// # Panics
    ///
    /// Panics if the tensor does not have exactly one element.
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
            refuse!(op, "expects one element, got {} with {}", self.spec(), self.numel());
        }
    }

    /// The same value, in row-major order from the start of its storage.
    #[track_caller]
    fn readable<T: Element>(&self, op: &str) -> Result<Tensor, Error> {
        if T::DTYPE != self.dtype() {
            refuse!(op, "{} cannot be read as {}", self.spec(), T::DTYPE);
        }
        self.realize()?;
        if self.value().view.is_contiguous() {
            return Ok(self.clone());
        }
        // A cast to the same dtype copies the tensor, and a kernel always writes row-major.
        let copy = no_grad(|| Tensor::build(Op::Cast(self.dtype()), &[self], self.spec().clone()));
        copy.realize()?;
        Ok(copy)
    }

    /// The value of a realized tensor.
    pub(crate) fn value(&self) -> Value {
        self.node().value(self.out()).expect("the tensor is realized")
    }
}
