//! The key of a plan: all properties of a graph that its plan depends on, serialized as bytes. Graphs with equal keys
//! have the same plan.
//!
//! The key contains: operations with their attributes, shapes, dtypes, the layouts of inputs, the edges of the graph
//! (items, storages and recomputations are numbered by first appearance), whether handles and other references to each
//! item exist, and whether each input may be overwritten. The key does not contain: the user's scalars, seeds and
//! counters, which are uniforms; node ids; the user's source lines.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::pending::PendingGraph;
use crate::graph::Op;

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct PlanKey(Vec<u8>);

/// A `Hasher` that stores the bytes written to it.
#[derive(Default)]
pub(super) struct KeyWriter(pub Vec<u8>);

impl Hasher for KeyWriter {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the bytes themselves are the key")
    }
}

pub(crate) fn key(graph: &PendingGraph, donatable: &[bool]) -> PlanKey {
    let mut key = KeyWriter::default();
    let mut storages: FxHashMap<*const (), usize> = FxHashMap::default();
    let mut recomputations: FxHashMap<u64, usize> = FxHashMap::default();
    for (item, donatable) in graph.items.iter().zip(donatable) {
        let flags = [
            item.is_pending(),
            item.is_root,
            item.is_held,
            item.has_outside_refs,
            item.keeps_sources,
            item.is_alias,
            item.was_deferred,
            item.node.recomputation != 0,
            *donatable,
        ];
        flags.into_iter().fold(0u16, |bits, flag| bits << 1 | u16::from(flag)).hash(&mut key);
        match &item.values {
            Some(values) => {
                (&item.node.outs, item.is_small_part()).hash(&mut key);
                for value in values.iter() {
                    let next = storages.len();
                    storages.entry(Arc::as_ptr(&value.storage).cast()).or_insert(next).hash(&mut key);
                    value.view.hash(&mut key);
                }
            }
            None => {
                if item.node.recomputation != 0 {
                    let next = recomputations.len();
                    recomputations.entry(item.node.recomputation).or_insert(next).hash(&mut key);
                }
                write_op(item.op(), &mut key);
                item.node.outs.hash(&mut key);
                item.sources.hash(&mut key);
            }
        }
    }
    PlanKey(key.0)
}

/// Writes an operation and its attributes, without the numbers that are passed as uniforms ([`has_uniforms`]).
pub(super) fn write_op(op: &Op, key: &mut KeyWriter) {
    std::mem::discriminant(op).hash(key);
    match op {
        Op::Input(_) | Op::Scalar(_) | Op::Random { .. } | Op::Where | Op::MatMul => {}
        Op::Const(x) => x.to_bits().hash(key),
        Op::Iota(dim) | Op::Gather(dim) => dim.hash(key),
        Op::Unary(op) => op.hash(key),
        Op::Binary(op) => op.hash(key),
        Op::Cast(dtype) => dtype.hash(key),
        Op::Move(movement) => movement.hash(key),
        Op::Reduce(reduce_op, dims) => (reduce_op, dims).hash(key),
        Op::ScatterAdd(dim, size) => (dim, size).hash(key),
        Op::Fused(op) => {
            (op.op_type(), op.attributes()).hash(key);
        }
    }
}

/// Whether the operation uses numbers that are passed as uniforms and are not in the key. Two such operations are never
/// merged as equal.
pub(super) fn has_uniforms(op: &Op) -> bool {
    match op {
        Op::Scalar(_) | Op::Random { .. } => true,
        Op::Fused(op) => !op.scalars().is_empty(),
        _ => false,
    }
}
