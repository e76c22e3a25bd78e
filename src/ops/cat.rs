//! Many tensors one after the other along a dim, each element copied once. As a sum of padded tensors each element of the
//! result would look at all operands.

use std::borrow::Cow;

use super::{Buffer, Fused, Io, Launch, Word};
use crate::core::dtype::DType;
use crate::core::limits::Limits;
use crate::core::shape::{Dims, ShapeError, Spec, refuse};
use crate::graph::Move;
use crate::tensor::{Tensor, same_device};

/// At most this many tensors are concatenated by adding padded tensors, which fuses with other operations; each output
/// element checks all of them.
pub(super) const MAX_ADDED_TENSORS: usize = 8;

/// Operands of a dispatch: with the result as many storage buffers as every adapter binds.
const OPERANDS: usize = 7;

impl Tensor {
    /// The tensors one after the other along `dim`; all other sizes must agree.
    #[track_caller]
    pub fn cat(tensors: &[&Tensor], dim: i64) -> Tensor {
        same_device("cat", tensors);
        let first = tensors[0];
        let at = first.dim_of("cat", dim);
        for x in tensors {
            let fits = x.dtype() == first.dtype()
                && x.rank() == first.rank()
                && x.shape().with(at, 0) == first.shape().with(at, 0);
            if !fits {
                refuse!("cat", "{} and {} do not join along dim {dim}", first.spec(), x.spec());
            }
        }
        if tensors.len() > MAX_ADDED_TENSORS {
            return Tensor::fused(Cat { dim: at }, tensors).remove(0);
        }
        let total: usize = tensors.iter().map(|x| x.shape()[at]).sum();
        // Each operand in its place among zeros; the places do not overlap, so their sum (or, of bools) is the result.
        let mut before = 0;
        let placed = tensors.iter().map(|x| {
            let size = x.shape()[at];
            before += size;
            x.pad_dim(at, before - size, total - before)
        });
        let join = |a: Tensor, b: Tensor| if a.dtype() == DType::Bool { a.logical_or(b) } else { a + b };
        placed.reduce(join).expect("there is an operand")
    }

    /// The tensors, all of one shape, along a new dim.
    #[track_caller]
    pub fn stack(tensors: &[&Tensor], dim: i64) -> Tensor {
        same_device("stack", tensors);
        if let Some(other) = tensors.iter().find(|x| x.spec() != tensors[0].spec()) {
            refuse!("stack", "{} and {} are not of one shape and dtype", tensors[0].spec(), other.spec());
        }
        let rank = tensors[0].rank() as i64;
        if dim < -rank - 1 || dim > rank {
            refuse!("stack", "dim {dim} is out of range for {}", tensors[0].spec());
        }
        let columns: Vec<Tensor> = tensors.iter().map(|x| x.unsqueeze(dim)).collect();
        Tensor::cat(&columns.iter().collect::<Vec<_>>(), dim)
    }

    /// The elements moved on by `shifts[i]` along `dims[i]`; what falls out comes in again at the other end. Without
    /// dims the flattened tensor is rolled.
    #[track_caller]
    pub fn roll(&self, shifts: impl Into<Dims>, dims: impl Into<Dims>) -> Tensor {
        let (shifts, dims) = (shifts.into(), dims.into());
        if dims.0.is_empty() && shifts.0.len() == 1 {
            let flat = self.moved(Move::Reshape([self.numel()].into()));
            return flat.roll(shifts, 0).moved(Move::Reshape(self.shape().clone()));
        }
        if shifts.0.len() != dims.0.len() {
            refuse!("roll", "{shifts} is not a shift for each of the dims {dims} of {}", self.spec());
        }
        shifts.0.iter().zip(&dims.0).fold(self.clone(), |x, (&shift, &dim)| {
            let at = x.dim_of("roll", dim);
            let size = x.shape()[at];
            if size == 0 {
                return x;
            }
            let shift = shift.rem_euclid(size as i64) as usize;
            let (head, tail) =
                (x.narrow(at as i64, 0, size - shift), x.narrow(at as i64, (size - shift) as i64, shift));
            Tensor::cat(&[&tail, &head], at as i64)
        })
    }
}

/// `x, y, .. -> all of them along dim`, of one dtype and, but for the dim, one shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cat {
    pub dim: usize,
}

impl Fused for Cat {
    fn name(&self) -> &'static str {
        "cat"
    }

    fn attributes(&self) -> Vec<u64> {
        vec![self.dim as u64]
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let size = inputs.iter().map(|x| x.shape[self.dim]).sum();
        Ok(vec![Spec { shape: inputs[0].shape.with(self.dim, size), dtype: inputs[0].dtype }])
    }

    /// By halves, so that the reference looks at an element as often as they are halved.
    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let (head, tail) = inputs.split_at(inputs.len() / 2);
        let cat = |parts: &[&Tensor]| Tensor::cat(parts, self.dim as i64);
        let [head, tail] = [head, tail].map(|half| cat(&half.iter().collect::<Vec<_>>()));
        vec![cat(&[&head, &tail])]
    }

    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        let sizes: Vec<usize> = io.inputs.iter().map(|x| x.shape()[self.dim]).collect();
        let parts = grads[0].as_ref()?.split_with_sizes(&sizes, self.dim as i64);
        Some(parts.into_iter().map(Some).collect())
    }

    fn launch(&self, io: &[Spec], _limits: &Limits) -> Option<Vec<Launch>> {
        let (y, operands) = io.split_last()?;
        let rows: usize = y.shape[..self.dim].iter().product();
        let length = |x: &Spec| x.shape.numel() / rows;
        let fours = operands.iter().all(|x| length(x) % 4 == 0);
        let (width, source) = match include_str!("../../shaders/cat.wgsl") {
            text if fours => (4, Cow::from(text.replace("alias Word = u32", "alias Word = vec4<u32>"))),
            text => (1, Cow::from(text)),
        };
        let mut start = 0;
        let launch = |(group, operands): (usize, &[Spec])| {
            let mut end = 0;
            let ends = operands.iter().map(|x| {
                end += length(x) / width;
                end
            });
            let mut ends: Vec<usize> = ends.collect();
            ends.resize(OPERANDS, end);
            let words = [rows, length(y) / width, start].into_iter().chain(ends);
            let words = words.map(|word| u32::try_from(word).ok().map(Word::Size));
            start += end;
            let last = io.len() - 2;
            let inputs = (0..OPERANDS).map(|i| Buffer::Input((group * OPERANDS + i).min(last)));
            let launch = Launch::new(source.clone())
                .trusted()
                .buffers(inputs.chain([Buffer::Output(0)]))
                .uniforms(words.collect::<Option<Vec<Word>>>()?)
                .workgroups(u32::try_from((rows * end).div_ceil(64)).ok()?)
                .work((rows * end * width) as u64);
            Some(launch)
        };
        operands.chunks(OPERANDS).enumerate().map(launch).collect()
    }
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    use super::{Draw, Sample, Tolerance};

    let sample = |dim: usize, inputs: Vec<Draw>| Sample {
        op: std::sync::Arc::new(Cat { dim }),
        inputs,
        tolerance: Tolerance { atol: 0.0, rtol: 1e-6 }, // nothing is rounded but the numbers themselves
    };
    let floats = |shape: [usize; 3]| Draw::Floats(shape[..].into(), -1.0..1.0);
    let shape = |i: usize| [3, 1 + i % 3, 5];
    vec![
        sample(1, (0..9).map(|i| floats(shape(i))).collect()),
        sample(0, vec![floats([1, 1, 1]); 15]),
        sample(2, vec![floats([2, 33, 4]); 14]),
        sample(1, (0..10).map(|i| Draw::Bools(shape(i)[..].into())).collect()),
        sample(1, (0..7).map(|i| Draw::Below(shape(i)[..].into(), 9)).collect()),
    ]
}
