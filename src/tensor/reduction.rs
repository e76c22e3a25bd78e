//! Reductions: fewer elements from more. `dims` lists the dims that go (all, if the list is empty); with `keepdim`
//! they stay with size 1.

use super::{Const, Tensor, check_operands};
use crate::core::dtype::DType;
use crate::core::shape::{Dims, Spec, refuse};
use crate::graph::{Accepts, Move, Op, Reduce};

impl Tensor {
    /// Sum of all elements; of bools, how many are true (an i32).
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
    #[track_caller]
    pub fn sum_dim(&self, dims: impl Into<Dims>, keepdim: bool) -> Tensor {
        let x = if self.dtype() == DType::Bool { self.to_dtype(DType::I32) } else { self.clone() };
        x.reduce("sum_dim", Reduce::Sum, &dims.into(), keepdim)
    }

    /// Mean of all elements.
    #[track_caller]
    pub fn mean(&self) -> Tensor {
        self.average("mean", &().into(), false)
    }

    /// Mean over `dims`; of no elements, NaN.
    #[track_caller]
    pub fn mean_dim(&self, dims: impl Into<Dims>, keepdim: bool) -> Tensor {
        self.average("mean_dim", &dims.into(), keepdim)
    }

    /// [`mean_dim`](Tensor::mean_dim), also as a part of another method, which the messages name.
    #[track_caller]
    fn average(&self, op: &str, dims: &Dims, keepdim: bool) -> Tensor {
        check_operands(op, Accepts::Float, &[self]);
        let sum = self.reduce(op, Reduce::Sum, dims, keepdim);
        let count = if sum.numel() == 0 { 1.0 } else { self.numel() as f64 / sum.numel() as f64 };
        sum.divided(count)
    }

    /// The largest element over `dims`; NaN if there is one. Equal largest elements share the gradient evenly.
    #[track_caller]
    pub fn amax(&self, dims: impl Into<Dims>, keepdim: bool) -> Tensor {
        let dims = dims.into();
        self.check_extreme("amax", &dims);
        self.reduce("amax", Reduce::Max, &dims, keepdim)
    }

    /// The smallest element over `dims`; NaN if there is one. Equal smallest elements share the gradient evenly.
    #[track_caller]
    pub fn amin(&self, dims: impl Into<Dims>, keepdim: bool) -> Tensor {
        let dims = dims.into();
        self.check_extreme("amin", &dims);
        // The order turned round: by the sign, or for integers by all bits, since the least i32 and a u32 have no negative.
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

    /// The index of the first largest element along `dim`, an i32; a NaN counts as largest.
    ///
    /// Without a dim (`()`) it is the index among all elements in row-major order.
    #[track_caller]
    pub fn argmax(&self, dim: impl Into<Dims>, keepdim: bool) -> Tensor {
        self.arg_extreme("argmax", &dim.into(), keepdim, |x, dim| x.amax(dim, true))
    }

    /// The index of the first smallest element along `dim`, an i32; a NaN counts as smallest.
    ///
    /// Without a dim (`()`) it is the index among all elements in row-major order.
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
            _ => refuse!(op, "one dim or none, not {dim} of {}", self.spec()),
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

    /// Variance over `dims`, `Σ (x - mean)² / (n - correction)`: a correction of 1 is Bessel's.
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
        // A division by 0, said outright: a compiler of WGSL may take 0 times infinity for 0.
        &sum * f64::INFINITY + sum.gt(Const(0.0)).where_(Const(0.0), f64::NAN)
    }

    /// Divided by a number of elements; NaN if there are none. Not as 0 / 0, nor as 0 times infinity: a driver may take
    /// either for 0.
    #[track_caller]
    fn divided(&self, count: f64) -> Tensor {
        if count == 0.0 { self + Const(f64::NAN) } else { self * Const(1.0 / count) }
    }

    /// Standard deviation over `dims`, the root of [`var`](Tensor::var).
    #[track_caller]
    pub fn std(&self, dims: impl Into<Dims>, correction: f64, keepdim: bool) -> Tensor {
        self.variance("std", dims.into(), correction, keepdim).sqrt()
    }

    /// `log Σ e^x` over `dims`, without overflow.
    #[track_caller]
    pub fn logsumexp(&self, dims: impl Into<Dims>, keepdim: bool) -> Tensor {
        let dims = dims.into();
        check_operands("logsumexp", Accepts::Float, &[self]);
        let gone = self.shape().dims("logsumexp", &dims);
        if gone.iter().any(|&dim| self.shape()[dim] == 0) {
            return self.exp().sum_dim(dims, keepdim).log(); // of nothing: log 0
        }
        let max = self.amax(dims.clone(), true).detach();
        // Infinities less an infinity would be NaN.
        let max = max.abs().eq(f64::INFINITY).where_(Const(0.0), max);
        let sum = (self - &max).exp().sum_dim(dims, true).log() + &max;
        if keepdim { sum } else { sum.moved(Move::Reshape(self.shape().without(&gone))) }
    }
}
