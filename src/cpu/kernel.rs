//! Interpreter of one kernel of a plan, with plain loops over the operands.
//!
//! In: a kernel and the elements of its operands. Out: the elements of each result, each with a bound on its f32 error.
//! Independent of the kernel's generated WGSL.

use smallvec::SmallVec;

use super::bounded::{Bounded, ROUNDING, wrap};
use crate::core::dtype::DType;
use crate::core::random;
use crate::core::shape::Shape;
use crate::graph::{Op, Reduce, View};
use crate::ir::{Inst, Kernel, MatMul, Program, ReductionKernel};
use crate::schedule::PendingGraph;

/// Number of terms per block of a sum. A reduction sums each block, then the sums of the blocks
/// (`shaders/reduce.wgsl`).
const SUM_BLOCK_TERMS: usize = 32;

/// Number of tree-reduction steps over the 256 lanes of a workgroup.
const TREE_STEPS: usize = 8;

/// Computes the elements of each result. `reads` are the elements of the dispatch's operands; `graph` has the user's
/// scalars.
pub(crate) fn run(kernel: &Kernel, reads: &[&[Bounded]], graph: &PendingGraph) -> Vec<Vec<Bounded>> {
    match kernel {
        Kernel::Elementwise(program) => run_program(program, reads, graph, &[]),
        Kernel::Reduce(reduction) => {
            let (elementwise, results) = reduce(reduction, reads, graph);
            let results = match &reduction.epilogue {
                Some(epilogue) => run_program(epilogue, reads, graph, &results),
                None => results,
            };
            [elementwise, results].concat()
        }
        Kernel::MatMul(product, epilogue) => {
            let results = vec![matmul(product, reads)];
            match epilogue {
                Some(epilogue) => run_program(epilogue, reads, graph, &results),
                None => results,
            }
        }
        Kernel::Fused(_) => unreachable!("WGRAD_CHECK interprets the decomposition of a fused operation"),
    }
}

/// Runs a program over its iteration space. `accumulators` are the results of the reduction or product, if the program
/// is an epilogue.
fn run_program(
    program: &Program,
    reads: &[&[Bounded]],
    graph: &PendingGraph,
    accumulators: &[Vec<Bounded>],
) -> Vec<Vec<Bounded>> {
    let mut results = vec![Vec::with_capacity(program.space.numel()); program.results.len()];
    let mut interpreter = Interpreter { program, reads, graph, registers: Vec::new() };
    for (i, coords) in program.space.coords().enumerate() {
        let accumulators: SmallVec<[Bounded; 2]> = accumulators.iter().map(|elements| elements[i]).collect();
        interpreter.run(&coords, &accumulators);
        for (results, &register) in results.iter_mut().zip(&program.results) {
            results.push(interpreter.registers[register]);
        }
    }
    results
}

/// Computes the elementwise outputs, and the results of the reduction. The partial results of each split are
/// consecutive.
fn reduce(
    reduction: &ReductionKernel,
    reads: &[&[Bounded]],
    graph: &PendingGraph,
) -> (Vec<Vec<Bounded>>, Vec<Vec<Bounded>>) {
    let ReductionKernel { reduce_ops, program, splits, .. } = reduction;
    let (elementwise, reduced_registers) = reduction.results();
    let (outer, reduced) = program.space.split_at(reduction.inner());
    let (outer, reduced) = (Shape::from(outer), Shape::from(reduced));
    let part = reduction.part().max(1);
    let mut interpreter = Interpreter { program, reads, graph, registers: Vec::new() };
    let mut written = vec![vec![Bounded::exact(0.0); program.space.numel()]; elementwise.len()];
    let mut results = vec![vec![Vec::new(); *splits]; reduce_ops.len()];
    for outer in outer.coords() {
        let empty =
            || reduce_ops.iter().zip(reduced_registers).map(|(&op, &r)| Total::new(op, program.dtype(r)));
        let mut totals: Vec<Total> = (0..*splits).flat_map(|_| empty()).collect();
        for (r, inner) in reduced.coords().enumerate() {
            let coords: SmallVec<[usize; 4]> = outer.iter().chain(&inner).copied().collect();
            interpreter.run(&coords, &[]);
            for (written, &result) in written.iter_mut().zip(elementwise) {
                let layout = program.layout.as_ref().expect("elementwise outputs have a layout");
                written[linear(layout, &coords) as usize] = interpreter.registers[result];
            }
            let totals = &mut totals[r / part * reduce_ops.len()..][..reduce_ops.len()];
            totals
                .iter_mut()
                .zip(reduced_registers)
                .for_each(|(t, &result)| t.add(interpreter.registers[result]));
        }
        let steps = part.min(SUM_BLOCK_TERMS + part / SUM_BLOCK_TERMS + TREE_STEPS);
        for (i, total) in totals.iter().enumerate() {
            results[i % reduce_ops.len()][i / reduce_ops.len()].push(total.result(steps));
        }
    }
    (written, results.into_iter().map(|parts| parts.concat()).collect())
}

/// Computes the product. If K is split, concatenates the partial products of the splits.
fn matmul(product: &MatMul, reads: &[&[Bounded]]) -> Vec<Bounded> {
    let MatMul { batch, m, n, k, a, b, splits } = *product;
    let (left, right) = (reads[a.read], reads[b.read]);
    let part = product.part();
    let mut results = Vec::with_capacity(splits * batch[0] * batch[1] * m * n);
    for coords in Shape::from([splits, batch[0], batch[1], m, n]).coords() {
        let [split, outer, inner, row, col] = coords[..] else { unreachable!("five coordinates") };
        let at_a = a.offset + outer * a.batch[0] + inner * a.batch[1] + row * a.row;
        let at_b = b.offset + outer * b.batch[0] + inner * b.batch[1] + col * b.col;
        let mut total = Total::new(Reduce::Sum, DType::F32);
        for l in (split * part).min(k)..((split + 1) * part).min(k) {
            let (a, b) = (left[at_a + l * a.col], right[at_b + l * b.row]);
            let error = a.error * b.value.abs() + b.error * (a.value.abs() + a.error);
            total.add(Bounded { value: a.value * b.value, error });
        }
        // The additional rounding occurs in each term's product.
        results.push(total.result(part.min(k) + 1));
    }
    results
}

/// The accumulated result of a reduction, with its error bound.
struct Total {
    op: Reduce,
    dtype: DType,
    value: f64,
    error: f64,
    /// For sums: the sum of the terms' magnitudes, to which rounding errors are proportional.
    magnitude: f64,
    /// For maxima: the minimum and the maximum possible result.
    range: [f64; 2],
}

impl Total {
    fn new(op: Reduce, dtype: DType) -> Total {
        let lowest = match dtype {
            DType::F32 => f64::NEG_INFINITY,
            DType::I32 => i32::MIN.into(),
            DType::U32 | DType::Bool => 0.0,
        };
        let value = if op == Reduce::Sum { 0.0 } else { lowest };
        Total { op, dtype, value, error: 0.0, magnitude: 0.0, range: [lowest; 2] }
    }

    fn add(&mut self, term: Bounded) {
        match (self.op, self.dtype) {
            (Reduce::Sum, DType::F32) => {
                self.value += term.value;
                self.error += term.error;
                self.magnitude += term.value.abs();
            }
            (Reduce::Sum, dtype) => {
                self.value = wrap((self.value as i64).wrapping_add(term.value as i64), dtype);
                self.error += term.error;
            }
            (Reduce::Max, _) => {
                if self.value.is_nan() || term.value.is_nan() {
                    self.value = f64::NAN;
                }
                self.value = if self.value.is_nan() { self.value } else { self.value.max(term.value) };
                // If any term has an infinite error, the maximum has one too.
                self.error += if term.error.is_infinite() { term.error } else { 0.0 };
                self.range[0] = self.range[0].max(term.value - term.error);
                self.range[1] = self.range[1].max(term.value + term.error);
            }
        }
    }

    /// Returns the result, if each term took part in at most `additions` rounded additions.
    fn result(&self, additions: usize) -> Bounded {
        let Total { value, error, .. } = *self;
        match (self.op, self.dtype) {
            (Reduce::Sum, DType::F32) => {
                let rounding = additions as f64 * ROUNDING * self.magnitude;
                // A partial sum may overflow although the total does not.
                let may_overflow = self.magnitude > f32::MAX.into() && value.is_finite();
                Bounded::float(value, if may_overflow { f64::INFINITY } else { error }, rounding)
            }
            (Reduce::Sum, _) => Bounded { value, error },
            (Reduce::Max, _) if value.is_finite() => {
                Bounded { value, error: (self.range[1] - value).max(value - self.range[0]) }
            }
            (Reduce::Max, _) => Bounded { value, error },
        }
    }
}

/// Runs a program at one index at a time.
struct Interpreter<'a> {
    program: &'a Program,
    reads: &'a [&'a [Bounded]],
    graph: &'a PendingGraph,
    registers: Vec<Bounded>,
}

impl Interpreter<'_> {
    /// Sets `registers` to the values at these coordinates.
    fn run(&mut self, coords: &[usize], accumulators: &[Bounded]) {
        self.registers.clear();
        for inst in &self.program.code {
            let value = self.value(inst, coords, accumulators);
            self.registers.push(value);
        }
    }

    fn value(&self, inst: &Inst, coords: &[usize], accumulators: &[Bounded]) -> Bounded {
        let at = |register: usize| self.registers[register];
        let op = |item: usize| &self.graph.items[item].node.op;
        match inst {
            Inst::Load(i) => {
                let load = &self.program.loads[*i];
                exists(&load.view, coords)
                    .map_or(Bounded::exact(0.0), |offset| self.reads[load.read][offset as usize])
            }
            Inst::Accumulator(n, _) => accumulators[*n],
            Inst::Gather { load, index, size, stride, .. } => {
                let load = &self.program.loads[*load];
                let (index, offset) = (at(*index), exists(&load.view, coords));
                let missing = if load.dtype.is_float() { f64::NAN } else { 0.0 };
                match offset {
                    _ if index.error > 0.0 => Bounded { value: missing, error: f64::INFINITY },
                    Some(offset) if (0.0..*size as f64).contains(&index.value) => {
                        self.reads[load.read][(offset + index.value as isize * stride) as usize]
                    }
                    _ => Bounded { value: missing, error: 0.0 },
                }
            }
            Inst::Const(x, dtype) => Bounded::number(*x, *dtype),
            Inst::Scalar(item, dtype) => match op(*item) {
                Op::Scalar(x) => Bounded::number(*x, *dtype),
                op => unreachable!("{} is no scalar", op.name()),
            },
            Inst::Index(view) => Bounded::exact(linear(view, coords) as f64),
            Inst::Random(item, view) => match op(*item) {
                Op::Random { seed, counter } => {
                    let word = random::word(*seed, *counter, linear(view, coords) as u32);
                    Bounded::exact(random::uniform(word).into())
                }
                op => unreachable!("{} is not random", op.name()),
            },
            Inst::Unary(op, x, dtype) => Bounded::unary(*op, at(*x), *dtype),
            Inst::Binary(op, a, b, dtype) => Bounded::binary(*op, at(*a), at(*b), *dtype),
            Inst::Where(condition, a, b) => Bounded::choose(at(*condition), at(*a), at(*b)),
            Inst::Cast(x, to) => Bounded::cast(at(*x), self.program.dtype(*x), *to),
            Inst::Mask(view, x, _) => exists(view, coords).map_or(Bounded::exact(0.0), |_| at(*x)),
            Inst::Check { .. } => Bounded::exact(0.0),
        }
    }
}

/// Returns the buffer offset of a view's element.
fn linear(view: &View, coords: &[usize]) -> isize {
    view.offset + coords.iter().zip(&view.strides).map(|(&x, stride)| x as isize * stride).sum::<isize>()
}

/// Returns the buffer offset of a view's element ([`linear`]), or `None` if the element is padding.
fn exists(view: &View, coords: &[usize]) -> Option<isize> {
    let inside = |mask: &SmallVec<[(usize, usize); 4]>| {
        !mask.is_empty() && mask.iter().zip(coords).all(|(&(low, high), &x)| low <= x && x < high)
    };
    view.mask.as_ref().is_none_or(inside).then(|| linear(view, coords))
}
