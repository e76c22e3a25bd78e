//! What one kernel of a plan was asked for, by plain loops over its operands.
//!
//! In: a kernel, and its operands' elements. Out: for each of its results the elements, and how far f32 may be off
//! them. Knows nothing of the text that the kernel became.

use smallvec::SmallVec;

use super::ball::{Ball, ROUNDING, cut};
use crate::core::dtype::DType;
use crate::core::random;
use crate::core::shape::Shape;
use crate::graph::{Op, Reduce, View};
use crate::ir::{Inst, Kernel, MatMul, Program, Reduction};
use crate::schedule::PendingGraph;

/// Terms that a reduction adds up before it adds blocks of them (`shaders/reduce.wgsl`).
const BLOCK: usize = 32;

/// Halvings in which lanes join.
const LANES: usize = 8;

/// The elements of each result that it writes. `reads` are those of the step's operands; `graph` has the user's numbers.
pub(crate) fn run(kernel: &Kernel, reads: &[&[Ball]], graph: &PendingGraph) -> Vec<Vec<Ball>> {
    match kernel {
        Kernel::Elementwise(program) => after(program, reads, graph, &[]),
        Kernel::Reduce(reduction) => {
            let (here, results) = reduce(reduction, reads, graph);
            let results = match &reduction.epilogue {
                Some(epilogue) => after(epilogue, reads, graph, &results),
                None => results,
            };
            [here, results].concat()
        }
        Kernel::MatMul(product, epilogue) => {
            let results = vec![matmul(product, reads)];
            match epilogue {
                Some(epilogue) => after(epilogue, reads, graph, &results),
                None => results,
            }
        }
        Kernel::Fused(_) => unreachable!("its decomposition is run instead"),
    }
}

/// Every place of the program's space, where `core` has come to its n-th element.
fn after(program: &Program, reads: &[&[Ball]], graph: &PendingGraph, core: &[Vec<Ball>]) -> Vec<Vec<Ball>> {
    let mut results = vec![Vec::with_capacity(program.space.numel()); program.results.len()];
    let mut place = Place { program, reads, graph, registers: Vec::new() };
    for (i, coords) in program.space.coords().enumerate() {
        let core: SmallVec<[Ball; 2]> = core.iter().map(|core| core[i]).collect();
        place.run(&coords, &core);
        for (results, &register) in results.iter_mut().zip(&program.results) {
            results.push(place.registers[register]);
        }
    }
    results
}

/// What is written place by place, and what is reduced: partial results of the same part follow one another.
fn reduce(
    reduction: &Reduction,
    reads: &[&[Ball]],
    graph: &PendingGraph,
) -> (Vec<Vec<Ball>>, Vec<Vec<Ball>>) {
    let Reduction { reduce_ops: how, program, splits, .. } = reduction;
    let (here, combined) = reduction.results();
    let (outer, reduced) = program.space.split_at(reduction.inner());
    let (outer, reduced) = (Shape::from(outer), Shape::from(reduced));
    let part = reduction.part().max(1);
    let mut place = Place { program, reads, graph, registers: Vec::new() };
    let mut written = vec![vec![Ball::exact(0.0); program.space.numel()]; here.len()];
    let mut results = vec![vec![Vec::new(); *splits]; how.len()];
    for outer in outer.coords() {
        let empty = || how.iter().zip(combined).map(|(&how, &r)| Total::new(how, program.dtype(r)));
        let mut totals: Vec<Total> = (0..*splits).flat_map(|_| empty()).collect();
        for (r, inner) in reduced.coords().enumerate() {
            let coords: SmallVec<[usize; 4]> = outer.iter().chain(&inner).copied().collect();
            place.run(&coords, &[]);
            for (written, &result) in written.iter_mut().zip(here) {
                let layout = program.layout.as_ref().expect("results that are written lie somewhere");
                written[linear(layout, &coords) as usize] = place.registers[result];
            }
            let totals = &mut totals[r / part * how.len()..][..how.len()];
            totals.iter_mut().zip(combined).for_each(|(t, &result)| t.add(place.registers[result]));
        }
        let steps = part.min(BLOCK + part / BLOCK + LANES);
        for (i, total) in totals.iter().enumerate() {
            results[i % how.len()][i / how.len()].push(total.result(steps));
        }
    }
    (written, results.into_iter().map(|parts| parts.concat()).collect())
}

/// Partial products over parts of K follow one another.
fn matmul(product: &MatMul, reads: &[&[Ball]]) -> Vec<Ball> {
    let MatMul { batch, m, n, k, a, b, splits } = *product;
    let (left, right) = (reads[a.read], reads[b.read]);
    let part = product.part();
    let mut results = Vec::with_capacity(splits * batch[0] * batch[1] * m * n);
    for place in Shape::from([splits, batch[0], batch[1], m, n]).coords() {
        let [split, outer, inner, row, col] = place[..] else { unreachable!("five coordinates") };
        let at_a = a.offset + outer * a.batch[0] + inner * a.batch[1] + row * a.row;
        let at_b = b.offset + outer * b.batch[0] + inner * b.batch[1] + col * b.col;
        let mut total = Total::new(Reduce::Sum, DType::F32);
        for l in (split * part).min(k)..((split + 1) * part).min(k) {
            let (a, b) = (left[at_a + l * a.col], right[at_b + l * b.row]);
            total.add(Ball { x: a.x * b.x, off: a.off * b.x.abs() + b.off * (a.x.abs() + a.off) });
        }
        // A product is rounded, and added.
        results.push(total.result(part.min(k) + 1));
    }
    results
}

/// What elements have come to, and between what they may have.
struct Total {
    how: Reduce,
    dtype: DType,
    x: f64,
    off: f64,
    /// Of sums: the sum of magnitudes, each of which each rounding is a part of.
    size: f64,
    /// Of maxima: the least and the largest it can be.
    range: [f64; 2],
}

impl Total {
    fn new(how: Reduce, dtype: DType) -> Total {
        let lowest = match dtype {
            DType::F32 => f64::NEG_INFINITY,
            DType::I32 => i32::MIN.into(),
            DType::U32 | DType::Bool => 0.0,
        };
        let x = if how == Reduce::Sum { 0.0 } else { lowest };
        Total { how, dtype, x, off: 0.0, size: 0.0, range: [lowest; 2] }
    }

    fn add(&mut self, term: Ball) {
        match (self.how, self.dtype) {
            (Reduce::Sum, DType::F32) => {
                self.x += term.x;
                self.off += term.off;
                self.size += term.x.abs();
            }
            (Reduce::Sum, dtype) => {
                self.x = cut((self.x as i64).wrapping_add(term.x as i64), dtype);
                self.off += term.off;
            }
            (Reduce::Max, _) => {
                if self.x.is_nan() || term.x.is_nan() {
                    self.x = f64::NAN;
                }
                self.x = if self.x.is_nan() { self.x } else { self.x.max(term.x) };
                // Of a term of which nothing is known, nothing is known of the maximum.
                self.off += if term.off.is_infinite() { term.off } else { 0.0 };
                self.range[0] = self.range[0].max(term.x - term.off);
                self.range[1] = self.range[1].max(term.x + term.off);
            }
        }
    }

    /// After additions one behind another, each rounded.
    fn result(&self, additions: usize) -> Ball {
        match (self.how, self.dtype) {
            (Reduce::Sum, DType::F32) => {
                let rounding = additions as f64 * ROUNDING * self.size;
                // On the way it may have been larger than in the end.
                let off =
                    if self.size > f32::MAX.into() && self.x.is_finite() { f64::INFINITY } else { self.off };
                Ball::float(self.x, off, rounding)
            }
            (Reduce::Sum, _) => Ball { x: self.x, off: self.off },
            (Reduce::Max, _) => {
                let off = (self.range[1] - self.x).max(self.x - self.range[0]);
                Ball { x: self.x, off: if self.x.is_finite() { off } else { self.off } }
            }
        }
    }
}

/// A program at one place after another.
struct Place<'a> {
    program: &'a Program,
    reads: &'a [&'a [Ball]],
    graph: &'a PendingGraph,
    registers: Vec<Ball>,
}

impl Place<'_> {
    /// The program at these coordinates.
    fn run(&mut self, coords: &[usize], core: &[Ball]) {
        self.registers.clear();
        for inst in &self.program.code {
            let value = self.value(inst, coords, core);
            self.registers.push(value);
        }
    }

    fn value(&self, inst: &Inst, coords: &[usize], core: &[Ball]) -> Ball {
        let at = |register: usize| self.registers[register];
        let op = |item: usize| &self.graph.items[item].node.op;
        match inst {
            Inst::Load(i) => {
                let load = &self.program.loads[*i];
                exists(&load.view, coords)
                    .map_or(Ball::exact(0.0), |place| self.reads[load.read][place as usize])
            }
            Inst::Accumulator(n, _) => core[*n],
            Inst::Gather { load, index, size, stride, .. } => {
                let load = &self.program.loads[*load];
                let (index, place) = (at(*index), exists(&load.view, coords));
                let missing = if load.dtype.is_float() { f64::NAN } else { 0.0 };
                match place {
                    _ if index.off > 0.0 => Ball { x: missing, off: f64::INFINITY },
                    Some(place) if (0.0..*size as f64).contains(&index.x) => {
                        self.reads[load.read][(place + index.x as isize * stride) as usize]
                    }
                    _ => Ball { x: missing, off: 0.0 },
                }
            }
            Inst::Const(x, dtype) => Ball::number(*x, *dtype),
            Inst::Scalar(item, dtype) => match op(*item) {
                Op::Scalar(x) => Ball::number(*x, *dtype),
                op => unreachable!("{} is no scalar", op.name()),
            },
            Inst::Index(view) => Ball::exact(linear(view, coords) as f64),
            Inst::Random(item, view) => match op(*item) {
                Op::Random { seed, counter } => {
                    let word = random::word(*seed, *counter, linear(view, coords) as u32);
                    Ball::exact(random::uniform(word).into())
                }
                op => unreachable!("{} is not random", op.name()),
            },
            Inst::Unary(op, x, dtype) => Ball::unary(*op, at(*x), *dtype),
            Inst::Binary(op, a, b, dtype) => Ball::binary(*op, at(*a), at(*b), *dtype),
            Inst::Where(condition, a, b) => Ball::choose(at(*condition), at(*a), at(*b)),
            Inst::Cast(x, to) => Ball::cast(at(*x), self.program.dtype(*x), *to),
            Inst::Mask(view, x, _) => exists(view, coords).map_or(Ball::exact(0.0), |_| at(*x)),
            Inst::Check { .. } => Ball::exact(0.0),
        }
    }
}

/// Where a view points.
fn linear(view: &View, coords: &[usize]) -> isize {
    view.offset + coords.iter().zip(&view.strides).map(|(&x, stride)| x as isize * stride).sum::<isize>()
}

/// Where a view points, if that is inside its mask.
fn exists(view: &View, coords: &[usize]) -> Option<isize> {
    let inside = |mask: &SmallVec<[(usize, usize); 4]>| {
        !mask.is_empty() && mask.iter().zip(coords).all(|(&(low, high), &x)| low <= x && x < high)
    };
    view.mask.as_ref().is_none_or(inside).then(|| linear(view, coords))
}
