//! Concatenation of many tensors along a dim, with one copy per element. In a sum of padded tensors, each element of
//! the result would read all operands.

use super::{Buffer, Fused, Io, Launch, Word};
use crate::core::dtype::DType;
use crate::core::limits::Limits;
use crate::core::shape::{Dims, ShapeError, Spec, refuse};
use crate::graph::{Move, ShaderSource};
use crate::tensor::{Tensor, same_device};

/// Maximum number of tensors that are concatenated by adding padded tensors. The addition fuses with other operations,
/// but each output element tests all tensors.
pub(super) const MAX_ADDED_TENSORS: usize = 8;

/// Maximum number of operands per dispatch. Together with the result, it is the number of storage buffers that every
/// adapter can bind.
const OPERANDS: usize = 7;

impl Tensor {
    /// Concatenates tensors along `dim`. The other sizes must agree.
    ///
    /// # Panics
    ///
    /// Panics if `tensors` is empty, if the tensors are scalars, if `dim` is out of range, if dtypes, ranks or the
    /// other sizes differ, or if the tensors are on different devices.
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
                refuse!("cat", "{} and {} cannot be concatenated along dim {dim}", first.spec(), x.spec());
            }
        }
        if tensors.len() > MAX_ADDED_TENSORS {
            return Tensor::fused(Cat { dim: at }, tensors).remove(0);
        }
        let total: usize = tensors.iter().map(|x| x.shape()[at]).sum();
        // Pads each operand with zeros to the size of the result. The padded operands do not overlap, so their sum (for
        // bools: their logical or) is the result.
        let mut before = 0;
        let placed = tensors.iter().map(|x| {
            let size = x.shape()[at];
            before += size;
            x.pad_dim(at, before - size, total - before)
        });
        let join = |a: Tensor, b: Tensor| if a.dtype() == DType::Bool { a.logical_or(b) } else { a + b };
        placed.reduce(join).expect("there is at least one tensor")
    }

    /// Stacks tensors of one shape along a new dim.
    ///
    /// # Panics
    ///
    /// Panics if `tensors` is empty, if shapes or dtypes differ, if `dim` is out of range, or if the tensors are on
    /// different devices.
    #[track_caller]
    pub fn stack(tensors: &[&Tensor], dim: i64) -> Tensor {
        same_device("stack", tensors);
        if let Some(other) = tensors.iter().find(|x| x.spec() != tensors[0].spec()) {
            refuse!(
                "stack",
                "expects tensors of one shape and dtype, got {} and {}",
                tensors[0].spec(),
                other.spec()
            );
        }
        let rank = tensors[0].rank() as i64;
        if dim < -rank - 1 || dim > rank {
            refuse!("stack", "dim {dim} is out of range for {}", tensors[0].spec());
        }
        let columns: Vec<Tensor> = tensors.iter().map(|x| x.unsqueeze(dim)).collect();
        Tensor::cat(&columns.iter().collect::<Vec<_>>(), dim)
    }

    /// Shifts the elements by `shifts[i]` along `dims[i]`. Elements shifted past one end wrap around to the other end.
    /// Without dims, the flattened tensor is rolled.
    ///
    /// # Panics
    ///
    /// Panics if the numbers of shifts and dims differ, or if a dim is out of range.
    #[track_caller]
    pub fn roll(&self, shifts: impl Into<Dims>, dims: impl Into<Dims>) -> Tensor {
        let (shifts, dims) = (shifts.into(), dims.into());
        if dims.0.is_empty() && shifts.0.len() == 1 {
            let flat = self.moved(Move::Reshape([self.numel()].into()));
            return flat.roll(shifts, 0).moved(Move::Reshape(self.shape().clone()));
        }
        if shifts.0.len() != dims.0.len() {
            refuse!(
                "roll",
                "expects one shift per dim, got shifts {shifts} and dims {dims} for {}",
                self.spec()
            );
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

/// `x, y, .. -> concatenation along dim`, for tensors with equal dtypes, and with equal shapes except in the dim.
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

    /// Concatenates two halves recursively, so that the CPU reference copies an element `log2(n)` times.
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
        let source = ShaderSource::new(include_str!("../../shaders/cat.wgsl"));
        let (width, source) = match operands.iter().all(|x| length(x) % 4 == 0) {
            true => (4, source.fill("word", "alias Word = vec4<u32>;\n")),
            false => (1, source),
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
            let launch = Launch::from_source(source.clone())
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
        tolerance: Tolerance { atol: 0.0, rtol: 1e-6 }, // only the inputs are rounded
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
