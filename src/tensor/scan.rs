//! Products and running sums, from multiplications and additions alone: their gradients are right where elements are 0.

use super::{Const, Tensor, check_operands};
use crate::graph::{Accepts, Move};

impl Tensor {
    /// Product of all elements; of none, 1.
    #[track_caller]
    pub fn prod(&self) -> Tensor {
        check_operands("prod", Accepts::Numeric, &[self]);
        self.moved(Move::Reshape([self.numel()].into())).prod_dim(0, false)
    }

    /// Product along `dim`, by halves: `log2(n)` multiplications deep.
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
            halves = halves.sum_dim(at, true) + Const(1.0); // the product of nothing, with a history
        }
        let product = odd.map_or_else(|| halves.clone(), |odd| &halves * odd);
        if keepdim { product } else { product.squeeze(at as i64) }
    }

    /// Running sum along `dim`: element `i` is the sum of the elements 0 to `i`. Shifted sums, twice as far each time
    /// (Hillis and Steele, 1986).
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
