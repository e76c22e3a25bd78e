//! Collects the pending graph: the nodes without values that the roots depend on and their inputs, in topological
//! order.
//!
//! In: root nodes. Out: items, with flags for the handles and references that a plan depends on. The passes `defer` and
//! `simplify` work on the same form: they change an item's operation, sources and flags, but not its index.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::core::limits::Limits;
use crate::core::shape::Spec;
use crate::graph::{Edges, Launch, Node, Op, Value, with_recomputation};
use crate::ir::{Output, joined};

#[derive(Clone)]
pub(crate) struct PendingGraph {
    pub items: Vec<Item>,
}

/// A pending node, or an input (a node with values).
#[derive(Clone)]
pub(crate) struct Item {
    pub node: Arc<Node>,
    /// The operation with which `simplify` replaced the node's operation.
    pub replaced: Option<Box<Op>>,
    pub values: Option<Arc<[Value]>>,
    pub sources: SmallVec<[Output; 3]>,
    /// Whether output `i` of the item is source `i`: the item is a decomposed fused operation, or `simplify` replaced
    /// it by another item. No item has an alias as a source.
    pub is_alias: bool,
    /// The number of uses as a source of pending items.
    pub uses: u32,
    /// Whether the item is a root of the run.
    pub is_root: bool,
    /// Whether the user has a handle to the item.
    pub is_held: bool,
    /// Whether the item must have a value after the run: it is a root, or the user has a handle to it and it is not
    /// deferred.
    pub is_output: bool,
    /// Whether references to the item exist outside the pending graph, other than handles.
    pub has_outside_refs: bool,
    /// Whether the item keeps its sources for a later backward pass after it is computed.
    pub keeps_sources: bool,
    /// Whether an earlier run deferred the item.
    pub was_deferred: bool,
}

/// Whether a fused operation has a kernel for these shapes on this device.
pub(crate) fn has_kernel(node: &Node, limits: &Limits) -> bool {
    let Op::Fused(op) = &node.op else { return false };
    let inputs = node.sources();
    let specs = inputs.iter().map(|edge| edge.node.outs[edge.out as usize].clone());
    let specs: SmallVec<[Spec; 8]> = specs.chain(node.outs.iter().cloned()).collect();
    if specs.iter().any(|spec| spec.shape.numel() == 0) {
        return false;
    }
    let fits = |launch: &Launch| launch.buffers.len() <= limits.storage_buffers as usize;
    op.launch(&specs, limits).is_some_and(|launches| launches.iter().all(fits))
}

impl Item {
    /// The item's operation, after `simplify` if that pass has replaced it.
    pub fn op(&self) -> &Op {
        self.replaced.as_deref().unwrap_or(&self.node.op)
    }

    pub fn spec(&self, out: u8) -> &Spec {
        &self.node.outs[out as usize]
    }

    /// Whether the item has no value yet.
    pub fn is_pending(&self) -> bool {
        self.values.is_none()
    }

    /// The specs of the item's sources.
    pub fn specs(&self, graph: &PendingGraph) -> SmallVec<[Spec; 3]> {
        self.sources.iter().map(|source| graph.spec(*source).clone()).collect()
    }

    /// Whether the item is an input whose storage is more than twice as large as its value.
    pub fn is_small_part(&self) -> bool {
        let bytes = |out: usize| self.node.outs[out].bytes() as u64;
        let small = |(out, value): (usize, &Value)| value.storage.bytes() > 2 * bytes(out);
        self.values.iter().flat_map(|values| values.iter().enumerate()).any(small)
    }

    fn new(
        node: Arc<Node>,
        values: Option<Arc<[Value]>>,
        sources: SmallVec<[Output; 3]>,
        is_alias: bool,
        keeps_sources: bool,
    ) -> Item {
        Item {
            values,
            keeps_sources,
            was_deferred: node.was_deferred(),
            node,
            replaced: None,
            sources,
            is_alias,
            uses: 0,
            is_root: false,
            is_held: false,
            is_output: false,
            has_outside_refs: false,
        }
    }
}

/// A node whose sources are being listed: the edges to its sources, and whether these edges are its decomposition.
struct Entered {
    edges: Edges,
    is_alias: bool,
}

impl PendingGraph {
    /// Collects the nodes from the roots back to nodes with values, without recursion. A fused node for which
    /// `has_kernel` returns false becomes an alias of its decomposition.
    pub fn collect(roots: Vec<Arc<Node>>, has_kernel: impl Fn(&Node) -> bool) -> PendingGraph {
        let mut graph = PendingGraph { items: Vec::new() };
        let mut indices: FxHashMap<u64, usize> = FxHashMap::default();
        // A node is listed after all its sources.
        let mut stack: Vec<(Arc<Node>, Option<Entered>)> =
            roots.iter().rev().map(|root| (root.clone(), None)).collect();
        // The number of references to each item from its consumers in the graph.
        let mut inner_refs: Vec<usize> = Vec::new();
        // Whether a backward pass can reach a leaf from each item: the graph between them has not been freed.
        let mut reaches_leaf: Vec<bool> = Vec::new();
        while let Some((node, entered)) = stack.pop() {
            if indices.contains_key(&node.id) {
                continue;
            }
            let Some(Entered { edges, is_alias }) = entered else {
                let pending = !node.is_computed();
                let is_alias = pending && matches!(&node.op, Op::Fused(_)) && !has_kernel(&node);
                let edges = match pending {
                    true if is_alias => decompose(&node),
                    true => node.sources(),
                    false => Edges::new(),
                };
                let unlisted: SmallVec<[Arc<Node>; 3]> = edges
                    .iter()
                    .rev()
                    .filter(|edge| !indices.contains_key(&edge.node.id))
                    .map(|edge| edge.node.clone())
                    .collect();
                stack.push((node, Some(Entered { edges, is_alias })));
                stack.extend(unlisted.into_iter().map(|node| (node, None)));
                continue;
            };
            let mut sources = SmallVec::new();
            let mut source_reaches_leaf = false;
            for edge in &edges {
                let index = indices[&edge.node.id];
                source_reaches_leaf |= reaches_leaf[index];
                // A decomposed node refers to its decomposition only through `edges`, which is dropped after this loop.
                inner_refs[index] += usize::from(!is_alias);
                let source = graph.resolve(Output { item: index, out: edge.out });
                graph.items[source.item].uses += 1;
                sources.push(source);
            }
            let values = node.state().values.clone();
            let pending = values.is_none();
            let keeps_sources = match is_alias {
                true => node.keeps_sources(),
                false => pending && node.tracks && !node.is_released() && source_reaches_leaf,
            };
            reaches_leaf.push(match pending {
                true => keeps_sources || node.is_leaf(),
                false => node.needs_grad() && !node.is_released(),
            });
            indices.insert(node.id, graph.items.len());
            inner_refs.push(0);
            graph.items.push(Item::new(node, values, sources, is_alias, keeps_sources));
        }
        for root in roots {
            graph.items[indices[&root.id]].is_root = true;
        }
        // References are counted last, after this function has dropped its own references.
        for (item, inner_refs) in graph.items.iter_mut().zip(inner_refs) {
            // Handles are counted before references, so that the value is kept if another thread clones or drops a
            // handle between the two counts.
            let held = item.node.held() as usize;
            item.has_outside_refs = Arc::strong_count(&item.node) > 1 + held + inner_refs;
            item.is_held = held > 0;
            item.is_output = item.is_root || item.is_held;
        }
        graph
    }

    /// Resolves aliases: returns the output that consumers of `output` read.
    pub fn resolve(&self, output: Output) -> Output {
        let item = &self.items[output.item];
        if item.is_alias { item.sources[output.out as usize] } else { output }
    }

    pub fn spec(&self, output: Output) -> &Spec {
        self.items[output.item].spec(output.out)
    }

    pub fn has_pending(&self) -> bool {
        self.items.iter().any(Item::is_pending)
    }

    /// Returns for each item whether it is referenced after the run, if the pending items for which `has_value` returns
    /// true get values. An item with a value drops its sources unless a backward pass needs them.
    pub fn alive(&self, has_value: impl Fn(usize) -> bool) -> Vec<bool> {
        let is_alive = |item: &Item| item.is_root || item.is_held || item.has_outside_refs;
        let mut alive: Vec<bool> = self.items.iter().map(is_alive).collect();
        for (i, item) in self.items.iter().enumerate().rev() {
            if alive[i] && item.is_pending() && (item.keeps_sources || !has_value(i)) {
                item.sources.iter().for_each(|source| alive[source.item] = true);
            }
        }
        alive
    }

    /// Returns for each item whether it is an input whose storage only this graph references, so that a kernel may
    /// overwrite it.
    pub fn donatable(&self) -> Vec<bool> {
        let unshared = |values: &Arc<[Value]>| {
            // One reference from the node, and one from the graph.
            Arc::strong_count(values) == 2
                && values.iter().all(|value| Arc::strong_count(&value.storage) == 1)
        };
        let is_donatable = |item: &Item| {
            !item.is_held
                && !item.is_root
                && !item.has_outside_refs
                && item.values.as_ref().is_some_and(unshared)
        };
        self.items.iter().map(is_donatable).collect()
    }

    /// Returns the name of an item's operation and the user's source line that created it.
    pub fn label(&self, item: usize) -> String {
        let node = &self.items[item].node;
        format!("{} at {}", node.op.name(), node.at)
    }
}

/// Prints one line per item that is an output, has uses or has a handle, sources first.
impl fmt::Display for PendingGraph {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (i, item) in self.items.iter().enumerate() {
            if item.uses == 0 && !item.is_output && !item.is_held {
                continue;
            }
            let outs: Vec<String> = item.node.outs.iter().map(ToString::to_string).collect();
            let sources = joined(&item.sources);
            let computed = match item.op() {
                _ if item.is_alias => format!("alias {sources}"),
                _ if !item.is_pending() => "input".to_owned(),
                Op::Const(x) => format!("const {x:?}"),
                Op::Reduce(_, dims) => format!("{} {sources} over {dims:?}", item.op().name()),
                op if item.sources.is_empty() => op.name().to_owned(),
                op => format!("{} {sources}", op.name()),
            };
            write!(f, "%{i} = {computed} : {}", outs.join(", "))?;
            match (item.is_output, item.is_held) {
                _ if !item.is_pending() => {}
                (true, _) => f.write_str("  output")?,
                (false, true) => f.write_str("  deferred")?,
                (false, false) => {}
            }
            writeln!(f, "  # {}", item.node.at)?;
        }
        Ok(())
    }
}

/// Returns the decomposition of a fused node into primitives. No handles to it exist.
fn decompose(node: &Arc<Node>) -> Edges {
    let Op::Fused(op) = &node.op else { unreachable!("only fused operations have a decomposition") };
    let outputs = with_recomputation(node.recomputation, || op.decompose(&node.sources()));
    // If the decomposition has other outputs, the operation has a bug.
    let specs: Vec<_> = outputs.iter().map(|edge| &edge.node.outs[edge.out as usize]).collect();
    assert!(
        specs.iter().copied().eq(&node.outs),
        "the decomposition of {} gives {specs:?}, not {:?}",
        op.name(),
        node.outs
    );
    outputs
}
