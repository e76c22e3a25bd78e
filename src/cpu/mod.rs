//! The reference: every node by itself, with plain loops, one array a node. Obviously right before anything else.
//!
//! In: the pending nodes in order. Out: their values. Floats are f64; i32, u32 and bool are themselves, and wrap as
//! WGSL does. Knows nothing of plans, kernels or fusing.

pub(crate) mod ball;
mod eval;
pub(crate) mod kernel;

#[cfg(test)]
pub(crate) use eval::move_array;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::core::array::Array;
use crate::core::error::Error;
use crate::device::{Data, Storage};
use crate::graph::{Value, View};
use crate::ir::Output;
use crate::schedule::PendingGraph;

/// What becomes of a float result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// It stays f64 throughout: gradient checks, conformance.
    Exact,
    /// It is rounded to its dtype at every node: what a GPU computes.
    ToDtype,
}

impl Rounding {
    pub fn round(self, array: Array) -> Array {
        match (self, array) {
            (Rounding::ToDtype, Array::Float(data)) => {
                Array::Float(data.into_iter().map(|x| f64::from(x as f32)).collect())
            }
            (_, array) => array,
        }
    }
}

/// Computes every pending node of the graph and gives those that live on their values.
pub(crate) fn run(graph: &PendingGraph, rounding: Rounding) -> Result<(), Error> {
    let alive = graph.alive(|_| true);
    let mut left: Vec<u32> = graph.items.iter().map(|item| item.uses).collect();
    let mut arrays: Vec<SmallVec<[Option<Arc<Storage>>; 1]>> = Vec::with_capacity(graph.items.len());
    for (i, item) in graph.items.iter().enumerate() {
        if let Some(values) = &item.values {
            arrays.push(values.iter().map(|value| Some(value.storage.clone())).collect());
            continue;
        }
        let storages: SmallVec<[Arc<Storage>; 3]> = item
            .sources
            .iter()
            .map(|&Output { item, out }| {
                arrays[item][out as usize].clone().expect("computed, and still used")
            })
            .collect();
        let storages: SmallVec<[Arc<Storage>; 1]> = if item.is_alias {
            storages.into_iter().collect()
        } else {
            let sources: SmallVec<[&Array; 3]> = storages
                .iter()
                .map(|storage| storage.array().expect("a CPU tensor holds an array"))
                .collect();
            let array = rounding.round(eval::eval(&item.node, &item.specs(graph), &sources)?);
            SmallVec::from_elem(Arc::new(Storage::new(Data::Cpu(array))), 1)
        };
        if alive[i] {
            let values = storages.iter().zip(&item.node.outs);
            item.node.complete(
                values
                    .map(|(storage, spec)| Value {
                        storage: storage.clone(),
                        view: View::contiguous(&spec.shape),
                    })
                    .collect(),
                item.keeps_sources,
            );
        }
        arrays.push(storages.into_iter().map(Some).collect());
        for &Output { item, .. } in &item.sources {
            left[item] -= 1;
            if left[item] == 0 {
                arrays[item].iter_mut().for_each(|array| *array = None);
            }
        }
    }
    Ok(())
}
