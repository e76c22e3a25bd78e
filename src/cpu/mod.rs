//! The CPU reference: computes node by node with plain loops and one array per node. It is simple enough to be
//! obviously correct.
//!
//! In: the pending nodes in order. Out: their values. Floats are f64; i32, u32 and bool have corresponding host types,
//! and integers wrap as in WGSL. Evaluation (`eval`) is independent of plans and kernels; the interpreter of kernels
//! (`kernel`) is for `WGRAD_CHECK`.

pub(crate) mod bounded;
mod eval;
pub(crate) mod kernel;

#[cfg(test)]
pub(crate) use eval::move_array;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::backend::{Backend, Executor, NodeExecutor};
use crate::core::array::Array;
use crate::core::error::Error;
use crate::core::host::{Download, Upload};
use crate::graph::{Storage, Transfers, Value, View};
use crate::ir::Output;
use crate::schedule::PendingGraph;

/// The rounding of float results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// No rounding: results are f64, for gradient checks and conformance tests.
    Exact,
    /// Rounds to f32 after every node, like a GPU.
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

/// The CPU reference.
pub(crate) struct Cpu(pub Rounding);

/// An array is in host memory, so it uses no device memory.
impl Storage for Array {
    fn bytes(&self) -> u64 {
        0
    }
}

/// Returns the elements of a storage.
pub(crate) fn array(storage: &dyn Storage) -> &Array {
    storage.downcast().expect("a storage of the CPU reference is an array")
}

impl Transfers for Cpu {
    fn upload(&self, data: &dyn Upload) -> Result<Arc<dyn Storage>, Error> {
        Ok(Arc::new(self.0.round(data.to_array())))
    }

    fn read<'a>(&'a self, storage: &'a dyn Storage, _bytes: usize) -> Result<Download<'a>, Error> {
        Ok(Download::Array(array(storage)))
    }
}

impl Backend for Cpu {
    fn describe(&self) -> String {
        let rounding = match self.0 {
            Rounding::Exact => "f64",
            Rounding::ToDtype => "rounded to f32",
        };
        format!("the CPU reference ({rounding})")
    }

    fn executor(&self) -> Executor<'_> {
        Executor::Nodes(self)
    }
}

/// The storages of a node's outputs. Each storage is dropped after its last use.
type Outputs = SmallVec<[Option<Arc<dyn Storage>>; 1]>;

impl NodeExecutor for Cpu {
    fn run(&self, graph: &PendingGraph) -> Result<(), Error> {
        let alive = graph.alive(|_| true);
        let mut left: Vec<u32> = graph.items.iter().map(|item| item.uses).collect();
        let mut arrays: Vec<Outputs> = Vec::with_capacity(graph.items.len());
        for (i, item) in graph.items.iter().enumerate() {
            if let Some(values) = &item.values {
                arrays.push(values.iter().map(|value| Some(value.storage.clone())).collect());
                continue;
            }
            let storages: SmallVec<[Arc<dyn Storage>; 3]> = item
                .sources
                .iter()
                .map(|&Output { item, out }| {
                    arrays[item][out as usize]
                        .clone()
                        .expect("sources are computed first and kept while they are used")
                })
                .collect();
            let storages: SmallVec<[Arc<dyn Storage>; 1]> = if item.is_alias {
                storages.into_iter().collect()
            } else {
                let sources: SmallVec<[&Array; 3]> =
                    storages.iter().map(|storage| array(&**storage)).collect();
                let array = self.0.round(eval::eval(&item.node, &item.specs(graph), &sources)?);
                let storage: Arc<dyn Storage> = Arc::new(array);
                SmallVec::from_elem(storage, 1)
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
}
