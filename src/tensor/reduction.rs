//! Reductions. `dims` lists the dims to reduce (an empty list means all dims). With `keepdim` they stay with size 1.

use super::{Const, Tensor, check_operands};
use crate::core::dtype::DType;
use crate::core::shape::{Dims, Spec, refuse};
use crate::graph::{Accepts, Move, Op, Reduce};

impl Tensor {
    /// Sum of all elements. For a bool tensor it is the number of true elements, an i32.
    ///
    /// # Panics
    ///
    /// Panics if the result exceeds the device's storage binding limit (for a bool tensor: if the tensor as i32 does).
    #[track_caller]
    pub fn sum(&self) -> Tensor {
        self.sum_dim((), false)
    }

    /// Sum over `dims`.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let x = Tensor::new([1.0, 2.0, 3.0, 4.0], [2, 2], &Device::cpu());
    /// assert_eq!(x.sum_dim(0, false).to_vec::<f32>().unwrap(), [4.0, 6.0]);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if a dim is out of range or listed twice.
    #[track_caller]
    pub fn sum_dim(&self, dims: impl Into<Dims>, keepdim: bool) -> Tensor {
        let x = if self.dtype() == DType::Bool { self.to_dtype(DType::I32) } else { self.clone() };
        x.reduce("sum_dim", Reduce::Sum, &dims.into(), keepdim)
    }

    /// Mean of all elements.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32.
    #[track_caller]
    pub fn mean(&self) -> Tensor {
        self.average("mean", &().into(), false)
    }

    /// Mean over `dims`. The mean of no elements is NaN.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32, or if a dim is out of range or listed twice.
    #[track_caller]
    pub fn mean_dim(&self, dims: impl Into<Dims>, keepdim: bool) -> Tensor {
        self.average("mean_dim", &dims.into(), keepdim)
    }

    /// [`mean_dim`](Tensor::mean_dim). `op` is the method that the panic messages show.
    #[track_caller]
    fn average(&self, op: &str, dims: &Dims, keepdim: bool) -> Tensor {
        check_operands(op, Accepts::Float, &[self]);
        let sum = self.reduce(op, Reduce::Sum, dims, keepdim);
        let count = if sum.numel() == 0 { 1.0 } else { self.numel() as f64 / sum.numel() as f64 };
        sum.divided(count)
    }

    /// The maximum over `dims`; NaN if an element is NaN. Equal maxima share the gradient evenly.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is bool, if a dim is out of range or listed twice, or if a reduced dim has size 0.
    #[track_caller]
    pub fn amax(&self, dims: impl Into<Dims>, keepdim: bool) -> Tensor {
        let dims = dims.into();
        self.check_extreme("amax", &dims);
        self.reduce("amax", Reduce::Max, &dims, keepdim)
    }

    /// The minimum over `dims`; NaN if an element is NaN. Equal minima share the gradient evenly.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is bool, if a dim is out of range or listed twice, or if a reduced dim has size 0.
    #[track_caller]
    pub fn amin(&self, dims: impl Into<Dims>, keepdim: bool) -> Tensor {
        let dims = dims.into();
        self.check_extreme("amin", &dims);
        // The minimum is the maximum in reversed order: negated, or for integers with all bits inverted, because
        // i32::MIN and a u32 have no negative.
        let turned = |x: &Tensor| match self.dtype() {
            DType::I32 => Const(-1.0) - x,
            DType::U32 => Const(u32::MAX.into()) - x,
            _ => -x,
        };
        turned(&turned(self).reduce("amin", Reduce::Max, &dims, keepdim))
    }

    #[track_caller]
    fn check_extreme(&self, op: &str, dims: &Dims) {
        check_operands(op, Accepts::Numeric, &[self]);
        let reduced = self.shape().dims(op, dims);
        if reduced.iter().any(|&dim| self.shape()[dim] == 0) {
            refuse!(op, "{} has no elements along the dims {dims}", self.spec());
        }
    }

    #[track_caller]
    fn reduce(&self, op: &str, how: Reduce, dims: &Dims, keepdim: bool) -> Tensor {
        let dims = self.shape().dims(op, dims);
        let kept = self.shape().iter().enumerate().map(|(d, &size)| if dims.contains(&d) { 1 } else { size });
        let spec = Spec { shape: kept.collect(), dtype: self.dtype() };
        let trivial = dims.iter().all(|&dim| self.shape()[dim] == 1);
        let reduced = if trivial {
            self.unchanged()
        } else {
            Tensor::build(Op::Reduce(how, dims.clone()), &[self], spec)
        };
        if keepdim { reduced } else { reduced.moved(Move::Reshape(reduced.shape().without(&dims))) }
    }

    /// The index of the first maximum along `dim`, as i32. NaN counts as the maximum.
    ///
    /// Without a dim (`()`) it is the index in the flattened tensor.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is bool, if more than one dim is given, if the dim is out of range, or if it has size 0.
    #[track_caller]
    pub fn argmax(&self, dim: impl Into<Dims>, keepdim: bool) -> Tensor {
        self.arg_extreme("argmax", &dim.into(), keepdim, |x, dim| x.amax(dim, true))
    }

    /// The index of the first minimum along `dim`, as i32. NaN counts as the minimum.
    ///
    /// Without a dim (`()`) it is the index in the flattened tensor.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is bool, if more than one dim is given, if the dim is out of range, or if it has size 0.
    #[track_caller]
    pub fn argmin(&self, dim: impl Into<Dims>, keepdim: bool) -> Tensor {
        self.arg_extreme("argmin", &dim.into(), keepdim, |x, dim| x.amin(dim, true))
    }

    #[track_caller]
    fn arg_extreme(
        &self,
        op: &str,
        dim: &Dims,
        keepdim: bool,
        extreme: fn(&Tensor, i64) -> Tensor,
    ) -> Tensor {
        self.check_extreme(op, dim);
        let dim = match dim.0[..] {
            [dim] => dim,
            [] => {
                let flat = self.moved(Move::Reshape([self.numel()].into()));
                let index = flat.arg_extreme(op, &0.into(), false, extreme);
                let kept = if keepdim { self.rank() } else { 0 };
                return index.moved(Move::Reshape((0..kept).map(|_| 1).collect()));
            }
            _ => refuse!(op, "expects at most one dim, got {dim} for {}", self.spec()),
        };
        let at = self.shape().dim(op, dim);
        if self.rank() == 0 {
            return self.zeros_like().to_dtype(DType::I32);
        }
        let extreme = extreme(self, dim);
        let hit = self.eq(&extreme).logical_or(self.ne(self));
        let size = self.shape()[at] as f64;
        let index = Tensor::iota(self.shape().clone(), at, self.device());
        hit.where_(index, Const(size)).amin(dim, keepdim)
    }

    /// Variance over `dims`, `Σ (x - mean)² / (n - correction)`. A correction of 1 is Bessel's.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32, or if a dim is out of range or listed twice.
    #[track_caller]
    pub fn var(&self, dims: impl Into<Dims>, correction: f64, keepdim: bool) -> Tensor {
        self.variance("var", dims.into(), correction, keepdim)
    }

    #[track_caller]
    fn variance(&self, op: &str, dims: Dims, correction: f64, keepdim: bool) -> Tensor {
        let mean = self.average(op, &dims, true);
        let sum = (self - &mean).square().sum_dim(dims, keepdim);
        let count = if mean.numel() == 0 { 0.0 } else { self.numel() as f64 / mean.numel() as f64 };
        let freedom = count - correction;
        if freedom > 0.0 {
            return sum * Const(1.0 / freedom);
        }
        // Written as a product with infinity, because a WGSL compiler may evaluate 0 times infinity as 0.
        &sum * f64::INFINITY + sum.gt(Const(0.0)).where_(Const(0.0), f64::NAN)
    }

    /// Divides by a number of elements; NaN if the number is 0. It does not compute 0 / 0 or 0 times infinity, because
    /// a driver may evaluate both as 0.
    #[track_caller]
    fn divided(&self, count: f64) -> Tensor {
        if count == 0.0 { self + Const(f64::NAN) } else { self * Const(1.0 / count) }
    }

    /// Standard deviation over `dims`, the square root of [`var`](Tensor::var).
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32, or if a dim is out of range or listed twice.
    #[track_caller]
    pub fn std(&self, dims: impl Into<Dims>, correction: f64, keepdim: bool) -> Tensor {
        self.variance("std", dims.into(), correction, keepdim).sqrt()
    }

    /// `log Σ e^x` over `dims`, computed without overflow.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is not f32, or if a dim is out of range or listed twice.
    #[track_caller]
    pub fn logsumexp(&self, dims: impl Into<Dims>, keepdim: bool) -> Tensor {
        let dims = dims.into();
        check_operands("logsumexp", Accepts::Float, &[self]);
        let gone = self.shape().dims("logsumexp", &dims);
        if gone.iter().any(|&dim| self.shape()[dim] == 0) {
            return self.exp().sum_dim(dims, keepdim).log(); // no elements: log 0
        }
        let max = self.amax(dims.clone(), true).detach();
        // Infinity minus infinity would be NaN.
        let max = max.abs().eq(f64::INFINITY).where_(Const(0.0), max);
        let sum = (self - &max).exp().sum_dim(dims, true).log() + &max;
        if keepdim { sum } else { sum.moved(Move::Reshape(self.shape().without(&gone))) }
    }
}
