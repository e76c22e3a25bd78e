//! Products and cumulative sums, built from multiplications and additions only. Their gradients are correct where
//! elements are 0.

use super::{Const, Tensor, check_operands};
use crate::graph::{Accepts, Move};

impl Tensor {
    /// Product of all elements. The product of no elements is 1.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is bool.
    #[track_caller]
    pub fn prod(&self) -> Tensor {
        check_operands("prod", Accepts::Numeric, &[self]);
        self.moved(Move::Reshape([self.numel()].into())).prod_dim(0, false)
    }

    /// Product along `dim`. It multiplies the two halves repeatedly, in `log2(n)` steps.
    ///
    /// # Panics
    ///
    /// Panics if the tensor is bool, or if `dim` is out of range.
    #[track_caller]
    pub fn prod_dim(&self, dim: i64, keepdim: bool) -> Tensor {
        check_operands("prod_dim", Accepts::Numeric, &[self]);
        let at = self.shape().dim("prod_dim", dim);
        if self.rank() == 0 {
            return self.unchanged();
        }
        let (mut halves, mut odd) = (self.clone(), None::<Tensor>);
        while halves.shape()[at] > 1 {
            let (n, half) = (halves.shape()[at], halves.shape()[at] / 2);
            let part = |start: usize, length: usize| halves.narrow(at as i64, start as i64, length);
            if n % 2 == 1 {
                let last = part(n - 1, 1);
                odd = Some(odd.map_or_else(|| last.clone(), |odd| odd * &last));
            }
            halves = part(0, half) * part(half, half);
        }
        if halves.shape()[at] == 0 {
            halves = halves.sum_dim(at, true) + Const(1.0); // no elements: 1, with a history
        }
        let product = odd.map_or_else(|| halves.clone(), |odd| &halves * odd);
        if keepdim { product } else { product.squeeze(at as i64) }
    }

    /// Cumulative sum along `dim`: element `i` is the sum of the elements 0 to `i`. It adds shifted copies, doubling
    /// the shift in each step (Hillis and Steele, 1986).
    ///
    /// # Panics
    ///
    /// Panics if the tensor is bool, or if `dim` is out of range.
    #[track_caller]
    pub fn cumsum(&self, dim: i64) -> Tensor {
        check_operands("cumsum", Accepts::Numeric, &[self]);
        let at = self.shape().dim("cumsum", dim);
        if self.rank() == 0 {
            return self.unchanged();
        }
        let n = self.shape()[at];
        let (mut sums, mut shift) = (self.clone(), 1);
        while shift < n {
            sums = &sums + sums.pad_or_crop(at, shift, n);
            shift *= 2;
        }
        sums
    }
}
