//! The cone: everything that roots still need, in an order in which each node follows its sources.
//!
//! In: root nodes. Out: plain items, with the facts about handles and references on which plans depend.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::graph::{Edges, Node, Op, Value};
use crate::no_grad;
use crate::shape::Spec;
use crate::tensor::Tensor;

pub(crate) struct Cone {
    pub items: Vec<Item>,
}

/// One node of the cone: pending, or an input that has its values.
pub(crate) struct Item {
    pub node: Arc<Node>,
    pub values: Option<Arc<[Value]>>,
    pub sources: SmallVec<[Source; 3]>,
    /// A fused operation without a kernel here: output `i` is source `i`, its meaning in primitives.
    pub expanded: bool,
    /// Edges from pending items of the cone.
    pub uses: u32,
    /// It must have a value afterwards: asked for, or a user holds a handle on it.
    pub wanted: bool,
    /// Something outside the cone refers to it.
    pub external: bool,
    /// It does not forget its sources once computed: a backward pass may still come.
    pub keeps_sources: bool,
}

/// An output of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    pub item: usize,
    pub out: u8,
}

impl Item {
    pub fn spec(&self, out: u8) -> &Spec {
        &self.node.outs[out as usize]
    }

    /// Whether it has no value yet.
    pub fn is_pending(&self) -> bool {
        self.values.is_none()
    }

    /// The specs of its sources.
    pub fn specs(&self, cone: &Cone) -> SmallVec<[Spec; 3]> {
        self.sources.iter().map(|source| cone.spec(*source).clone()).collect()
    }
}

/// What a node is made of, and whether it was expanded to that.
type Entered = (Edges, bool);

impl Cone {
    /// Walks from the roots to what has a value, without recursion. `kernel` tells whether a fused node has a kernel;
    /// one that has none is expanded into its reference.
    pub fn collect(roots: Vec<Arc<Node>>, kernel: impl Fn(&Node) -> bool) -> Cone {
        let mut cone = Cone { items: Vec::new() };
        let mut indices: FxHashMap<u64, usize> = FxHashMap::default();
        // A node is entered when first met, and listed when all its sources are.
        let mut stack: Vec<(Arc<Node>, Option<Entered>)> =
            roots.iter().rev().map(|root| (root.clone(), None)).collect();
        // References to each item from edges of items: they will be gone.
        let mut ours: Vec<usize> = Vec::new();
        while let Some((node, entered)) = stack.pop() {
            if indices.contains_key(&node.id) {
                continue;
            }
            let Some((edges, expanded)) = entered else {
                let pending = !node.is_computed();
                let expanded = pending && matches!(&node.op, Op::Fused(_)) && !kernel(&node);
                let edges = match pending {
                    true if expanded => expand(&node),
                    true => node.sources(),
                    false => Edges::new(),
                };
                let unlisted: SmallVec<[Arc<Node>; 3]> = edges
                    .iter()
                    .rev()
                    .filter(|edge| !indices.contains_key(&edge.node.id))
                    .map(|edge| edge.node.clone())
                    .collect();
                stack.push((node, Some((edges, expanded))));
                stack.extend(unlisted.into_iter().map(|node| (node, None)));
                continue;
            };
            let mut sources = SmallVec::new();
            for edge in &edges {
                let index = indices[&edge.node.id];
                // An expanded node refers to its reference only through `edges`, which are dropped here.
                ours[index] += usize::from(!expanded);
                let source = cone.resolve(index, edge.out);
                cone.items[source.item].uses += 1;
                sources.push(source);
            }
            indices.insert(node.id, cone.items.len());
            ours.push(0);
            cone.items.push(Item::new(node, sources, expanded));
        }
        for root in roots {
            cone.items[indices[&root.id]].wanted = true;
        }
        // Last, when every reference that the walk itself held is gone.
        for (item, ours) in cone.items.iter_mut().zip(ours) {
            // Handles first: one that is cloned or dropped meanwhile then errs on the side of keeping.
            let held = item.node.held() as usize;
            item.external = Arc::strong_count(&item.node) > 1 + held + ours;
            item.wanted |= held > 0;
        }
        cone
    }

    /// Consumers of an expanded node consume its reference.
    fn resolve(&self, item: usize, out: u8) -> Source {
        match self.items[item].expanded {
            true => self.items[item].sources[out as usize],
            false => Source { item, out },
        }
    }

    pub fn spec(&self, source: Source) -> &Spec {
        self.items[source.item].spec(source.out)
    }

    /// Which items are still referred to once the cone has been computed, where `valued` tells which pending items
    /// will have a value: one that has, and that no backward pass needs, forgets its sources.
    pub fn alive(&self, valued: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut alive: Vec<bool> = self.items.iter().map(|item| item.wanted || item.external).collect();
        for (i, item) in self.items.iter().enumerate().rev() {
            if alive[i] && item.is_pending() && (item.keeps_sources || !valued(i)) {
                item.sources.iter().for_each(|source| alive[source.item] = true);
            }
        }
        alive
    }
}

impl Item {
    fn new(node: Arc<Node>, sources: SmallVec<[Source; 3]>, expanded: bool) -> Item {
        let values = node.state().values.clone();
        let keeps_sources = node.keeps_sources();
        Item { node, values, sources, expanded, uses: 0, wanted: false, external: false, keeps_sources }
    }
}

/// The meaning of a fused node in primitives, without handles on it.
fn expand(node: &Arc<Node>) -> Edges {
    let Op::Fused(op) = &node.op else { unreachable!("only fused operations have a reference") };
    let inputs: Vec<Tensor> =
        node.sources().iter().map(|edge| Tensor::from_node(edge.node.clone(), edge.out)).collect();
    let outputs = no_grad(|| op.reference(&inputs));
    // What a kernel writes and what the reference means must agree: a mismatch is a defect of the operation's.
    let specs: Vec<_> = outputs.iter().map(Tensor::spec).collect();
    assert!(
        specs.iter().copied().eq(&node.outs),
        "the reference of {} gives {specs:?}, not {:?}",
        op.name(),
        node.outs
    );
    outputs.iter().map(Tensor::edge).collect()
}
