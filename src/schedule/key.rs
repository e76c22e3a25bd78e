//! A plan's key: all that a plan depends on, written out as bytes, so that two keys are equal only if they are.
//!
//! In the key: operations with their attributes, shapes, dtypes, the layouts of inputs, the wiring (items and storages
//! numbered by first appearance), who is wanted or referred to, which inputs may be taken over. Not in the key: the
//! user's scalars, seeds and counters, which are uniforms; node ids; the user's lines.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::cone::{Cone, Item};
use crate::device::Storage;
use crate::graph::Op;

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(Vec<u8>);

/// Writes down what `Hash` implementations feed to it.
#[derive(Default)]
struct Recorder(Vec<u8>);

impl Hasher for Recorder {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the bytes themselves are the key")
    }
}

pub(crate) fn key(cone: &Cone, donatable: &[bool]) -> Key {
    let mut key = Recorder::default();
    let mut storages: FxHashMap<*const Storage, usize> = FxHashMap::default();
    for (item, donatable) in cone.items.iter().zip(donatable) {
        (item.wanted, item.external, item.keeps_sources, item.expanded, donatable).hash(&mut key);
        match &item.values {
            Some(values) => {
                item.node.outs.hash(&mut key);
                for value in values.iter() {
                    let next = storages.len();
                    storages.entry(Arc::as_ptr(&value.storage)).or_insert(next).hash(&mut key);
                    value.view.hash(&mut key);
                }
            }
            None => pending(item, &mut key),
        }
    }
    Key(key.0)
}

fn pending(item: &Item, key: &mut Recorder) {
    std::mem::discriminant(&item.node.op).hash(key);
    match &item.node.op {
        Op::Input | Op::Scalar(_) | Op::Random { .. } | Op::Where | Op::MatMul => {}
        Op::Const(x) => x.to_bits().hash(key),
        Op::Iota(dim) | Op::Gather(dim) => dim.hash(key),
        Op::Unary(op) => op.hash(key),
        Op::Binary(op) => op.hash(key),
        Op::Cast(dtype) => dtype.hash(key),
        Op::Move(movement) => movement.hash(key),
        Op::Reduce(how, dims) => (how, dims).hash(key),
        Op::ScatterAdd(dim, size) => (dim, size).hash(key),
        Op::Fused(op) => {
            // The type, not the name: a user's operation may be called like another.
            let any: &dyn Any = op.as_ref();
            (any.type_id(), op.attributes()).hash(key);
        }
    }
    item.node.outs.hash(key);
    item.sources.hash(key);
}
