//! Evaluation of one node: computes its elements from the elements of its sources.

use smallvec::SmallVec;

use crate::core::array::Array;
use crate::core::dtype::DType;
use crate::core::error::Error;
use crate::core::random;
use crate::core::shape::{Shape, Spec};
use crate::graph::{Binary, Move, Node, Op, Reduce, Unary};

/// Applies an expression to the elements of an array of any dtype; the result has the same dtype.
macro_rules! on_elements {
    ($array:expr, $data:ident => $body:expr) => {
        match $array {
            Array::Float($data) => Array::Float($body),
            Array::Int($data) => Array::Int($body),
            Array::Uint($data) => Array::Uint($body),
            Array::Bool($data) => Array::Bool($body),
        }
    };
}

/// Computes the elements of the node's only output.
pub(super) fn eval(node: &Node, specs: &[Spec], sources: &[&Array]) -> Result<Array, Error> {
    let out = &node.outs[0];
    let n = out.shape.numel();
    Ok(match &node.op {
        Op::Input(_) => unreachable!("an input has its value from the start"),
        Op::Fused(_) => unreachable!("replaced by its decomposition"),
        &Op::Const(x) | &Op::Scalar(x) => fill(out, x),
        &Op::Iota(dim) => Array::Int(out.shape.coords().map(|coords| coords[dim] as i32).collect()),
        &Op::Random { seed, counter } => Array::Float(
            (0..n as u32).map(|i| f64::from(random::uniform(random::word(seed, counter, i)))).collect(),
        ),
        Op::Unary(op) => unary(*op, sources[0]),
        Op::Binary(op) => binary(*op, sources[0], sources[1]),
        Op::Where => choose(sources[0], sources[1], sources[2]),
        Op::Cast(dtype) => cast(sources[0], *dtype),
        Op::Move(movement) => move_array(movement, sources[0], &specs[0].shape),
        Op::Reduce(how, dims) => reduce(*how, sources[0], &specs[0].shape, &out.shape, dims),
        Op::MatMul => matmul(sources[0], sources[1], &specs[0].shape, out),
        &Op::Gather(dim) => gather(sources[0], sources[1], &specs[0].shape, &out.shape, dim)
            .ok_or_else(|| index_fault(node))?,
        &Op::ScatterAdd(dim, size) => scatter_add(sources[0], sources[1], &specs[1].shape, dim, size)
            .ok_or_else(|| index_fault(node))?,
    })
}

fn index_fault(node: &Node) -> Error {
    Error::Index { op: node.op.name(), at: node.at }
}

fn fill(out: &Spec, x: f64) -> Array {
    let n = out.shape.numel();
    match out.dtype {
        DType::F32 => Array::Float(vec![x; n]),
        DType::I32 => Array::Int(vec![x as i32; n]),
        DType::U32 => Array::Uint(vec![x as u32; n]),
        DType::Bool => Array::Bool(vec![x != 0.0; n]),
    }
}

fn unary(op: Unary, x: &Array) -> Array {
    let row = op.row();
    match x {
        Array::Float(x) => Array::Float(x.iter().map(|&x| (row.float)(x)).collect()),
        Array::Int(x) => Array::Int(x.iter().map(|&x| (row.int)(x.into()) as i32).collect()),
        Array::Uint(x) => Array::Uint(x.iter().map(|&x| (row.int)(x.into()) as u32).collect()),
        Array::Bool(x) => Array::Bool(x.iter().map(|&x| (row.int)(x.into()) != 0).collect()),
    }
}

fn binary(op: Binary, a: &Array, b: &Array) -> Array {
    let row = op.row();
    let ints = |a: i64, b: i64| (row.int)(a, b);
    match (a, b) {
        (Array::Float(a), Array::Float(b)) => {
            let results = a.iter().zip(b).map(|(&a, &b)| (row.float)(a, b));
            if row.compares {
                Array::Bool(results.map(|x| x != 0.0).collect())
            } else {
                Array::Float(results.collect())
            }
        }
        (Array::Int(a), Array::Int(b)) => {
            let results = a.iter().zip(b).map(|(&a, &b)| ints(a.into(), b.into()));
            if row.compares {
                Array::Bool(results.map(|x| x != 0).collect())
            } else {
                Array::Int(results.map(|x| x as i32).collect())
            }
        }
        (Array::Uint(a), Array::Uint(b)) => {
            let results = a.iter().zip(b).map(|(&a, &b)| ints(a.into(), b.into()));
            if row.compares {
                Array::Bool(results.map(|x| x != 0).collect())
            } else {
                Array::Uint(results.map(|x| x as u32).collect())
            }
        }
        (Array::Bool(a), Array::Bool(b)) => {
            Array::Bool(a.iter().zip(b).map(|(&a, &b)| ints(a.into(), b.into()) != 0).collect())
        }
        _ => unreachable!("the dtypes were checked when the node was built"),
    }
}

fn choose(condition: &Array, a: &Array, b: &Array) -> Array {
    fn pick<T: Copy>(condition: &[bool], a: &[T], b: &[T]) -> Vec<T> {
        condition.iter().zip(a.iter().zip(b)).map(|(&c, (&a, &b))| if c { a } else { b }).collect()
    }
    let Array::Bool(condition) = condition else { unreachable!("a condition is bool") };
    match (a, b) {
        (Array::Float(a), Array::Float(b)) => Array::Float(pick(condition, a, b)),
        (Array::Int(a), Array::Int(b)) => Array::Int(pick(condition, a, b)),
        (Array::Uint(a), Array::Uint(b)) => Array::Uint(pick(condition, a, b)),
        (Array::Bool(a), Array::Bool(b)) => Array::Bool(pick(condition, a, b)),
        _ => unreachable!("the dtypes were checked when the node was built"),
    }
}

/// Converts the elements to `dtype`. Floats are truncated towards zero and clamped to the integer's range.
fn cast(x: &Array, dtype: DType) -> Array {
    macro_rules! to {
        ($target:ident, $x:ident => $convert:expr) => {
            Array::$target(match x {
                Array::Float(data) => data.iter().map(|&$x| $convert).collect(),
                Array::Int(data) => data.iter().map(|&$x| $convert).collect(),
                Array::Uint(data) => data.iter().map(|&$x| $convert).collect(),
                Array::Bool(data) => data.iter().map(|&x| u32::from(x)).map(|$x| $convert).collect(),
            })
        };
    }
    match dtype {
        DType::F32 => to!(Float, x => x as f64),
        DType::I32 => to!(Int, x => x as i32),
        DType::U32 => to!(Uint, x => x as u32),
        DType::Bool => to!(Bool, x => x as f64 != 0.0),
    }
}

/// Applies a movement operation to an array of shape `source`. Padding is filled with zeros.
pub(crate) fn move_array(movement: &Move, x: &Array, source: &Shape) -> Array {
    let strides = source.strides();
    let at = |coords: &[usize]| coords.iter().zip(&strides).map(|(x, stride)| x * stride).sum::<usize>();
    let from = |coords: &[usize]| -> Option<usize> {
        let mut coords: SmallVec<[usize; 4]> = SmallVec::from_slice(coords);
        match movement {
            Move::Reshape(_) => unreachable!("handled below"),
            Move::Permute(dims) => {
                let result = coords.clone();
                dims.iter().zip(result).for_each(|(&dim, x)| coords[dim] = x);
            }
            Move::Expand(_) => {
                coords
                    .iter_mut()
                    .zip(source.iter())
                    .filter(|(_, size)| **size == 1)
                    .for_each(|(x, _)| *x = 0);
            }
            Move::Slice(ranges) => coords.iter_mut().zip(ranges).for_each(|(x, (start, _))| *x += start),
            Move::Pad(pads) => {
                for (dim, x) in coords.iter_mut().enumerate() {
                    *x = x.checked_sub(pads[dim].0).filter(|&x| x < source[dim])?;
                }
            }
            Move::Flip(dims) => dims.iter().for_each(|&dim| coords[dim] = source[dim] - 1 - coords[dim]),
            Move::Windows(windows) => {
                let place = coords.pop().expect("windows have a last dim");
                coords[windows.dim] = coords[windows.dim] * windows.step + place * windows.dilation;
            }
        }
        Some(at(&coords))
    };
    if let Move::Reshape(_) = movement {
        return x.clone();
    }
    let shape = movement.shape(source);
    on_elements!(x, data => shape.coords().map(|coords| from(&coords).map_or(Default::default(), |i| data[i])).collect())
}

fn reduce(how: Reduce, x: &Array, source: &Shape, out: &Shape, dims: &[usize]) -> Array {
    let strides = out.strides();
    let at = |coords: &[usize]| -> usize {
        (0..coords.len()).filter(|dim| !dims.contains(dim)).map(|dim| coords[dim] * strides[dim]).sum()
    };
    fn fold<T: Copy>(
        data: &[T],
        places: impl Iterator<Item = usize>,
        n: usize,
        first: T,
        combine: impl Fn(T, T) -> T,
    ) -> Vec<T> {
        let mut results = vec![first; n];
        data.iter().zip(places).for_each(|(&x, i)| results[i] = combine(results[i], x));
        results
    }
    let places = source.coords().map(|coords| at(&coords));
    let n = out.numel();
    match (how, x) {
        (Reduce::Sum, Array::Float(x)) => Array::Float(fold(x, places, n, 0.0, |a, b| a + b)),
        (Reduce::Sum, Array::Int(x)) => Array::Int(fold(x, places, n, 0, i32::wrapping_add)),
        (Reduce::Sum, Array::Uint(x)) => Array::Uint(fold(x, places, n, 0, u32::wrapping_add)),
        (Reduce::Max, Array::Float(x)) => {
            Array::Float(fold(
                x,
                places,
                n,
                f64::NEG_INFINITY,
                |a, b| if a.is_nan() || a > b { a } else { b },
            ))
        }
        (Reduce::Max, Array::Int(x)) => Array::Int(fold(x, places, n, i32::MIN, i32::max)),
        (Reduce::Max, Array::Uint(x)) => Array::Uint(fold(x, places, n, u32::MIN, u32::max)),
        (_, Array::Bool(_)) => unreachable!("bools are counted as integers"),
    }
}

fn matmul(a: &Array, b: &Array, left: &Shape, out: &Spec) -> Array {
    let (Array::Float(a), Array::Float(b)) = (a, b) else { unreachable!("matrices are floats") };
    let rank = out.shape.rank();
    let (m, n, k) = (out.shape[rank - 2], out.shape[rank - 1], left[rank - 1]);
    let mut c = vec![0.0; out.shape.numel()];
    // The inner loop runs over contiguous elements of a row.
    for (row, c) in c.chunks_exact_mut(n.max(1)).enumerate() {
        let b = &b[row / m * k * n..];
        for (l, &a) in a[row * k..(row + 1) * k].iter().enumerate() {
            c.iter_mut().zip(&b[l * n..(l + 1) * n]).for_each(|(c, b)| *c += a * b);
        }
    }
    Array::Float(c)
}

/// Returns the indices in row-major order, or `None` if an index is outside `0..size`.
fn indices(index: &Array, size: usize) -> Option<Vec<usize>> {
    let checked = |x: i64| usize::try_from(x).ok().filter(|&x| x < size);
    match index {
        Array::Int(data) => data.iter().map(|&x| checked(x.into())).collect(),
        Array::Uint(data) => data.iter().map(|&x| checked(x.into())).collect(),
        _ => unreachable!("indices are integers"),
    }
}

fn gather(x: &Array, index: &Array, source: &Shape, out: &Shape, dim: usize) -> Option<Array> {
    let strides = source.strides();
    let picked = indices(index, source[dim])?;
    let from = out.coords().zip(picked).map(|(mut coords, index)| {
        coords[dim] = index;
        coords.iter().zip(&strides).map(|(x, stride)| x * stride).sum::<usize>()
    });
    Some(on_elements!(x, data => from.map(|i| data[i]).collect()))
}

fn scatter_add(index: &Array, src: &Array, source: &Shape, dim: usize, size: usize) -> Option<Array> {
    let out = source.with(dim, size);
    let strides = out.strides();
    let places = source.coords().zip(indices(index, size)?).map(|(mut coords, index)| {
        coords[dim] = index;
        coords.iter().zip(&strides).map(|(x, stride)| x * stride).sum::<usize>()
    });
    let n = out.numel();
    macro_rules! add {
        ($data:ident, $zero:expr, $add:expr) => {{
            let mut sums = vec![$zero; n];
            $data.iter().zip(places).for_each(|(&x, i)| sums[i] = $add(sums[i], x));
            sums
        }};
    }
    Some(match src {
        Array::Float(data) => Array::Float(add!(data, 0.0, |a: f64, b: f64| a + b)),
        Array::Int(data) => Array::Int(add!(data, 0, i32::wrapping_add)),
        Array::Uint(data) => Array::Uint(add!(data, 0, u32::wrapping_add)),
        Array::Bool(_) => unreachable!("bools cannot be added"),
    })
}
