//! Algebraic simplification: rewrite rules (the table `RULES`), constant folding, and common subexpression elimination.
//!
//! A rule preserves the bits of the result for every operand, including NaN, infinities and -0: there is no rule for
//! `x * 0`, which is NaN for x = NaN, and none for `x + 0`, which is 0 for x = -0. Subnormals may differ, because a device
//! may flush them. Rules match only `Const`, a constant of the library. A user's scalar is a uniform: it may be 1 in
//! this step and 2 in the next step with the same plan.
//!
//! In: the pending graph. Out: the same items. A rewritten item is an alias of another item, a cast or a constant.
//! Items that no output depends on have a use count of 0.

use std::hash::Hash;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::key::{KeyWriter, has_uniforms, write_op};
use super::pending::PendingGraph;
use crate::core::dtype::DType;
use crate::core::shape::Spec;
use crate::graph::{Binary, Move, Op, Reduce, Unary};
use crate::ir::Output;

pub(super) fn simplify(mut graph: PendingGraph) -> PendingGraph {
    let backs_output = backs_output(&graph);
    let mut known: FxHashMap<Vec<u8>, Known> = FxHashMap::default();
    let mut key = KeyWriter::default();
    for (i, backs_output) in backs_output.into_iter().enumerate() {
        for source in 0..graph.items[i].sources.len() {
            graph.items[i].sources[source] = graph.resolve(graph.items[i].sources[source]);
        }
        if !graph.items[i].is_pending() || graph.items[i].is_alias {
            continue;
        }
        match RULES.iter().find_map(|(_, rule)| rule(&Operation { graph: &graph, item: i })) {
            Some(Rewrite::Constant(x)) => {
                graph.items[i].replaced = Some(Box::new(Op::Const(x)));
                graph.items[i].sources.clear();
            }
            Some(Rewrite::Cast(from, to)) => {
                graph.items[i].replaced = Some(Box::new(Op::Cast(to)));
                graph.items[i].sources[0] = from;
            }
            Some(Rewrite::Same(other)) => make_alias(&mut graph, i, [other]),
            None => {}
        }
        merge_with_equal(&mut graph, i, backs_output, &mut known, &mut key);
    }
    count_uses(&mut graph);
    graph
}

/// The replacement of an item.
enum Rewrite {
    Same(Output),
    Constant(f64),
    Cast(Output, DType),
}

type RewriteRule = fn(&Operation) -> Option<Rewrite>;

/// The rules with their names. `tests/simplify.rs` tests each of them.
const RULES: &[(&str, RewriteRule)] = &[
    ("x * 1, x / 1", times_one),
    ("x - 0, x + -0", plus_zero),
    ("--x, !!x", double_negation),
    ("a cast of a cast", cast_of_cast),
    ("a choice that is made", choice),
    ("constants are folded", fold),
    ("a reduction of a constant is a constant", reduced_constant),
];

/// The item that a rule is applied to.
struct Operation<'a> {
    graph: &'a PendingGraph,
    item: usize,
}

impl Operation<'_> {
    fn op(&self) -> &Op {
        self.graph.items[self.item].op()
    }

    fn spec(&self) -> &Spec {
        self.graph.items[self.item].spec(0)
    }

    fn source(&self, i: usize) -> Output {
        self.graph.items[self.item].sources[i]
    }

    /// Returns the item of source `i` if it is pending.
    fn behind(&self, i: usize) -> Option<Operation<'_>> {
        let item = self.graph.items[self.item].sources.get(i)?.item;
        self.graph.items[item].is_pending().then_some(Operation { graph: self.graph, item })
    }

    /// Returns the constant that all elements of a source are equal to, also if movement items are in between. (A
    /// movement item of a constant is not replaced by a constant, because a matrix product reads an expanded constant
    /// from one element.)
    fn constant(&self, i: usize) -> Option<f64> {
        let source = self.behind(i)?;
        match source.op() {
            Op::Const(x) => Some(*x),
            // Padding adds zeros, so only +0 remains a constant.
            Op::Move(Move::Pad(_)) => source.constant(0).filter(|x| x.to_bits() == 0),
            Op::Move(_) => source.constant(0),
            _ => None,
        }
    }

    fn source_dtype(&self, i: usize) -> DType {
        self.graph.spec(self.source(i)).dtype
    }

    /// Whether a source is the constant `x`, including the sign of zero.
    fn is(&self, i: usize, x: f64) -> bool {
        self.constant(i).is_some_and(|constant| constant.to_bits() == x.to_bits())
    }
}

/// Rounds a constant to f32.
fn float(x: f64) -> f64 {
    f64::from(x as f32)
}

/// Wraps an integer constant to 32 bits. Converts a bool to 0 or 1.
fn integer(x: i64, dtype: DType) -> f64 {
    match dtype {
        DType::I32 => f64::from(x as i32),
        DType::U32 => f64::from(x as u32),
        DType::Bool => f64::from(u8::from(x != 0)),
        DType::F32 => unreachable!("the dtype is an integer or bool"),
    }
}

/// Whether WGSL defines the operation's result exactly. The results of other operations may differ between devices in
/// the last bit or in the sign of zero.
fn is_exact(op: &Op) -> bool {
    match op {
        Op::Unary(op) => {
            matches!(op, Unary::Neg | Unary::Abs | Unary::Sign | Unary::Floor | Unary::Relu | Unary::Not)
        }
        Op::Binary(op) => !matches!(op, Binary::Div | Binary::Pow | Binary::Max | Binary::Min),
        Op::Cast(_) => true,
        _ => false,
    }
}

/// Computes an operation whose sources are all constants.
fn fold(at: &Operation) -> Option<Rewrite> {
    if !is_exact(at.op()) {
        return None;
    }
    let (dtype, operands) = (at.spec().dtype, at.source_dtype(0));
    let result = match at.op() {
        Op::Unary(op) if operands.is_float() => float((op.row().float)(float(at.constant(0)?))),
        Op::Unary(op) => integer((op.row().int)(at.constant(0)? as i64), dtype),
        Op::Binary(op) if operands.is_float() => {
            float((op.row().float)(float(at.constant(0)?), float(at.constant(1)?)))
        }
        Op::Binary(op) => integer((op.row().int)(at.constant(0)? as i64, at.constant(1)? as i64), dtype),
        Op::Cast(_) => {
            let x = at.constant(0)?;
            // The result of converting a float that is out of the integer's range depends on the device.
            let fits = x.abs() < f64::from(i32::MAX) && (x >= 0.0 || dtype == DType::I32);
            match dtype {
                DType::F32 => float(x),
                DType::Bool => f64::from(u8::from(x != 0.0)),
                DType::I32 | DType::U32 => fits.then(|| integer(x as i64, dtype))?,
            }
        }
        _ => return None,
    };
    Some(Rewrite::Constant(result))
}

fn reduced_constant(at: &Operation) -> Option<Rewrite> {
    let Op::Reduce(reduce_op, dims) = at.op() else { return None };
    let (x, source) = (at.constant(0)?, at.graph.spec(at.source(0)));
    let count: usize = dims.iter().map(|&dim| source.shape[dim]).product();
    let dtype = at.spec().dtype;
    let sum = match reduce_op {
        Reduce::Max => return (count > 0).then_some(Rewrite::Constant(x)),
        Reduce::Sum if count == 0 => 0.0,
        Reduce::Sum if dtype.is_float() => {
            // The partial sums are integers. They are exact up to 2^24, because f32 represents all of these integers.
            let sum = x * count as f64;
            (x.fract() == 0.0 && sum.abs() < f64::from(1 << 24) && x.to_bits() != (-0.0f64).to_bits())
                .then_some(sum)?
        }
        Reduce::Sum => integer((x as i64).wrapping_mul(count as i64), dtype),
    };
    Some(Rewrite::Constant(sum))
}

fn times_one(at: &Operation) -> Option<Rewrite> {
    match at.op() {
        Op::Binary(Binary::Mul | Binary::Div) if at.is(1, 1.0) => Some(Rewrite::Same(at.source(0))),
        Op::Binary(Binary::Mul) if at.is(0, 1.0) => Some(Rewrite::Same(at.source(1))),
        _ => None,
    }
}

fn plus_zero(at: &Operation) -> Option<Rewrite> {
    // -0 + 0 is 0, so the neutral element of float addition is -0. Integers have only one zero.
    let nothing =
        |i: usize| if at.spec().dtype.is_float() { at.is(i, -0.0) } else { at.constant(i) == Some(0.0) };
    match at.op() {
        Op::Binary(Binary::Add) if nothing(1) => Some(Rewrite::Same(at.source(0))),
        Op::Binary(Binary::Add) if nothing(0) => Some(Rewrite::Same(at.source(1))),
        Op::Binary(Binary::Sub) if at.is(1, 0.0) => Some(Rewrite::Same(at.source(0))),
        _ => None,
    }
}

fn double_negation(at: &Operation) -> Option<Rewrite> {
    let Op::Unary(op @ (Unary::Neg | Unary::Not)) = at.op() else { return None };
    let inner = at.behind(0)?;
    matches!(inner.op(), Op::Unary(other) if other == op).then(|| Rewrite::Same(inner.source(0)))
}

/// Merges two casts into one, or removes both. The first cast must be lossless: from bool, or between integers, which
/// preserves the bits.
fn cast_of_cast(at: &Operation) -> Option<Rewrite> {
    let Op::Cast(to) = *at.op() else { return None };
    let inner = at.behind(0)?;
    let Op::Cast(_) = inner.op() else { return None };
    let (from, between) = (inner.source_dtype(0), inner.spec().dtype);
    let is_integer = |dtype: DType| matches!(dtype, DType::I32 | DType::U32);
    let lossless = from == DType::Bool || [from, between, to].into_iter().all(is_integer);
    match lossless {
        true if from == to => Some(Rewrite::Same(inner.source(0))),
        true => Some(Rewrite::Cast(inner.source(0), to)),
        false => None,
    }
}

fn choice(at: &Operation) -> Option<Rewrite> {
    let Op::Where = at.op() else { return None };
    match at.constant(0) {
        Some(x) => Some(Rewrite::Same(at.source(if x != 0.0 { 1 } else { 2 }))),
        None => (at.source(1) == at.source(2)).then(|| Rewrite::Same(at.source(1))),
    }
}

/// Makes an item an alias of other items' outputs.
fn make_alias(graph: &mut PendingGraph, item: usize, others: impl IntoIterator<Item = Output>) {
    graph.items[item].is_alias = true;
    graph.items[item].sources = others.into_iter().collect();
}

/// Returns for each item whether it shares the memory of an output of the run: it is an output, or an output is an
/// alias or view of it.
fn backs_output(graph: &PendingGraph) -> Vec<bool> {
    let mut backs: Vec<bool> = graph.items.iter().map(|item| item.is_output).collect();
    for (i, item) in graph.items.iter().enumerate().rev() {
        if backs[i] && item.is_pending() && (item.is_alias || matches!(item.op(), Op::Move(_))) {
            item.sources.iter().for_each(|source| backs[source.item] = true);
        }
    }
    backs
}

/// The first item that computes an expression.
struct Known {
    item: usize,
    backs_output: bool,
}

/// Makes an item an alias of an earlier item that computes the same expression. Two items that both share the memory of
/// an output of the run are not merged: with common memory neither could be updated in place. Nodes that
/// `autograd::checkpoint` recomputes are not merged with nodes of the forward pass, because the latter would have to
/// stay in memory.
fn merge_with_equal(
    graph: &mut PendingGraph,
    i: usize,
    backs_output: bool,
    known: &mut FxHashMap<Vec<u8>, Known>,
    key: &mut KeyWriter,
) {
    let item = &graph.items[i];
    if item.is_alias || has_uniforms(item.op()) {
        return;
    }
    key.0.clear();
    write_op(item.op(), key);
    let sources: SmallVec<[Output; 3]> =
        item.sources.iter().map(|&source| behind_renaming(graph, source)).collect();
    (&item.node.outs, sources, item.node.recomputation).hash(key);
    match known.get_mut(&key.0) {
        Some(first) if first.backs_output && backs_output => {}
        Some(first) => {
            first.backs_output |= backs_output;
            let (outs, item) = (0..item.node.outs.len() as u8, first.item);
            make_alias(graph, i, outs.map(|out| Output { item, out }));
        }
        None => {
            known.insert(key.0.clone(), Known { item: i, backs_output });
        }
    }
}

/// Follows reshapes that do not change the shape. `detach` and the operands of decompositions create such nodes.
fn behind_renaming(graph: &PendingGraph, mut source: Output) -> Output {
    loop {
        let item = &graph.items[source.item];
        match item.op() {
            Op::Move(Move::Reshape(shape))
                if item.is_pending() && *shape == graph.spec(item.sources[0]).shape =>
            {
                source = item.sources[0];
            }
            _ => return source,
        }
    }
}

/// Counts the uses of each item by items that outputs depend on. Uses by other items are not counted.
fn count_uses(graph: &mut PendingGraph) {
    graph.items.iter_mut().for_each(|item| item.uses = 0);
    for i in (0..graph.items.len()).rev() {
        let item = &graph.items[i];
        if item.is_pending() && (item.is_output || item.uses > 0) {
            for Output { item, .. } in item.sources.clone() {
                graph.items[item].uses += 1;
            }
        }
    }
}
