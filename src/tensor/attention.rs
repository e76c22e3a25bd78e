//! Attention.

use super::{Const, Tensor, check_operands, same_device};
use crate::dtype::DType;
use crate::graph::Accepts;
use crate::shape::{Shape, refuse};

impl Tensor {
    /// `softmax(Q Kᵀ scale + mask) V` (Vaswani et al., 2017; PyTorch's definition): `self` is the queries
    /// `[.., queries, width]`, `key` `[.., keys, width]`, `value` `[.., keys, value width]`.
    ///
    /// A bool `mask` is true where a key takes part, a float one is added to the scores; both broadcast to
    /// `[.., queries, keys]`. With `is_causal` query `i` sees the keys 0 to `i`. `scale` is `1/√width` unless given. A
    /// query that may see no key gives zeros.
    #[track_caller]
    pub fn scaled_dot_product_attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        is_causal: bool,
        scale: Option<f64>,
    ) -> Tensor {
        let op = "scaled_dot_product_attention";
        check_operands(op, Accepts::Float, &[self, key, value]);
        let batch = |x: &Tensor| Shape::from(&x.shape()[..x.rank() - 2]);
        let fits = [self, key, value].iter().all(|x| x.rank() >= 2)
            && self.size(-1) == key.size(-1)
            && key.size(-2) == value.size(-2)
            && [(self, key), (self, value), (key, value)]
                .iter()
                .all(|(x, y)| Shape::broadcasts(&batch(x), &batch(y)));
        if !fits {
            refuse!(
                op,
                "queries {}, keys {} and values {} do not fit",
                self.spec(),
                key.spec(),
                value.spec()
            );
        }
        if is_causal && mask.is_some() {
            refuse!(op, "is_causal and a mask exclude each other");
        }
        let scores = batch(self).insert(self.rank() - 2, self.size(-2)).insert(self.rank() - 1, key.size(-2));
        if let Some(mask) = mask {
            same_device(op, &[self, mask]);
            let kind = mask.dtype().is_float() || mask.dtype() == DType::Bool;
            if !kind || !Shape::broadcasts(mask.shape(), &scores) {
                refuse!(op, "the mask {} is no bools or floats for the scores {scores}", mask.spec());
            }
        }
        let scale = scale.unwrap_or(1.0 / (self.size(-1) as f64).sqrt());
        let mut scores = (self * scale).matmul(&key.transpose(-2, -1));
        let causal = is_causal.then(|| {
            let along = |dim: usize| Tensor::iota([self.size(-2), key.size(-2)].into(), dim, self.device());
            along(1).le(along(0))
        });
        let seen = match (causal, mask) {
            (Some(causal), _) => Some(causal),
            (None, Some(mask)) if mask.dtype() == DType::Bool => Some(mask.clone()),
            (None, Some(mask)) => {
                scores = scores + mask;
                None
            }
            (None, None) => None,
        };
        let Some(seen) = seen else { return scores.softmax(-1).matmul(value) };
        // Finite, so that a query without keys is no NaN; what is not seen is cut out of the weights again.
        let lowest = Const(f64::from(f32::MIN) / 2.0);
        let weights = seen.where_(scores, lowest).softmax(-1);
        seen.where_(weights, Const(0.0)).matmul(value)
    }
}
