//! Matrix products.

use smallvec::SmallVec;

use super::{Tensor, check_operands, same_device};
use crate::core::shape::{Shape, Spec, refuse};
use crate::graph::{Accepts, Move, Op};

impl Tensor {
    /// Matrix product with PyTorch's rules: a vector is a row on the left and a column on the right; leading dims are
    /// batch dims and broadcast.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// let dev = Device::cpu();
    /// let a = Tensor::new([1.0, 2.0, 3.0, 4.0], [2, 2], &dev);
    /// let b = Tensor::new([5.0, 6.0], [2], &dev);
    /// assert_eq!(a.matmul(&b).to_vec::<f32>().unwrap(), [17.0, 39.0]);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32 or is a scalar, if the inner dims differ, if the batch dims do not broadcast, or
    /// if the tensors are on different devices.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        same_device("matmul", &[self, other]);
        let (a, b) = (self.spec(), other.spec());
        if !(a.dtype.is_float() && b.dtype == a.dtype) {
            refuse!("matmul", "expects two f32 tensors, got {a} and {b}");
        }
        if self.rank() == 0 || other.rank() == 0 {
            refuse!("matmul", "expects rank >= 1: {a} x {b}");
        }
        let inner = (self.size(-1), if other.rank() == 1 { other.size(0) } else { other.size(-2) });
        if inner.0 != inner.1 {
            refuse!("matmul", "inner dims differ: {a} x {b} ({} against {})", inner.0, inner.1);
        }
        // A vector gets a dim of size 1: in front on the left, at the end on the right. The result drops it again.
        let left = if self.rank() == 1 { self.unsqueeze(0) } else { self.clone() };
        let right = if other.rank() == 1 { other.unsqueeze(1) } else { other.clone() };
        let product = left.matmul_batched(&right);
        let mut shape = product.shape().clone();
        if other.rank() == 1 {
            shape = shape.without(&[shape.rank() - 1]);
        }
        if self.rank() == 1 {
            shape = shape.without(&[product.rank() - 2]);
        }
        product.moved(Move::Reshape(shape))
    }

    /// [`matmul`](Tensor::matmul) where both operands have rank >= 2.
    #[track_caller]
    fn matmul_batched(&self, other: &Tensor) -> Tensor {
        let (m, k, n) = (self.size(-2), self.size(-1), other.size(-1));
        // One matrix on the right is shared by all batches, so the batches become rows of one product.
        if other.rank() == 2 && self.rank() > 2 {
            let rows = self.shape()[..self.rank() - 1].iter().product();
            let product = self.moved(Move::Reshape([rows, k].into())).matmul_batched(other);
            let shape = self.shape().with(self.rank() - 1, n);
            return product.moved(Move::Reshape(shape));
        }
        let batch = |x: &Tensor| Shape::from(&x.shape()[..x.rank() - 2]);
        if !Shape::broadcasts(&batch(self), &batch(other)) {
            refuse!("matmul", "batch dims do not broadcast: {} x {}", self.spec(), other.spec());
        }
        let batch = Shape::broadcast("matmul", &batch(self), &batch(other));
        let with = |rows: usize, cols: usize| batch.insert(batch.rank(), rows).insert(batch.rank() + 1, cols);
        let spec = Spec { shape: with(m, n), dtype: self.dtype() };
        spec.check_size("matmul", self.device());
        let (a, b) = (self.broadcast_to(&with(m, k)), other.broadcast_to(&with(k, n)));
        if k == 0 {
            // The sum over an empty dim: zeros that keep the history.
            return a.sum_dim(-1, true) + b.sum_dim(-2, true);
        }
        Tensor::build(Op::MatMul, &[&a, &b], spec)
    }

    /// `x W^T + b`, where the last dim of `x` is `in`, `weight` is `[out, in]` and `bias` is `[out]` (PyTorch's
    /// `linear`).
    ///
    /// # Panics
    ///
    /// Panics if an operand is not f32, if `weight` is not `[out, in]` or `bias` not `[out]`, or if the tensors are on
    /// different devices.
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let operands: SmallVec<[&Tensor; 3]> = [self, weight].into_iter().chain(bias).collect();
        check_operands("linear", Accepts::Float, &operands);
        let fits = weight.rank() == 2 && self.rank() > 0 && self.size(-1) == weight.size(1);
        if !fits {
            refuse!("linear", "{} does not fit the weight {} ([out, in])", self.spec(), weight.spec());
        }
        if let Some(bias) = bias
            && bias.shape()[..] != [weight.size(0)]
        {
            refuse!(
                "linear",
                "the bias {} does not fit the weight {} ([out, in])",
                bias.spec(),
                weight.spec()
            );
        }
        let product = self.matmul(&weight.t());
        match bias {
            Some(bias) => product + bias,
            None => product,
        }
    }
}
