//! The pending graph: the nodes that the roots still need, in topological order.
//!
//! In: root nodes. Out: items, with the facts about handles and references on which plans depend. It is the form of the
//! first passes: `defer` and `simplify` rewrite an item's operation, its sources and its flags, never its index.

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

/// A pending node, or an input: a node that has its values.
#[derive(Clone)]
pub(crate) struct Item {
    pub node: Arc<Node>,
    /// What `simplify` replaced the node's operation by.
    pub replaced: Option<Box<Op>>,
    pub values: Option<Arc<[Value]>>,
    pub sources: SmallVec<[Output; 3]>,
    /// Output `i` is source `i`: a fused operation that was decomposed, or an item that `simplify` found to be another.
    /// No item has it for a source.
    pub is_alias: bool,
    /// Edges from pending items.
    pub uses: u32,
    /// The run was asked for its value.
    pub is_root: bool,
    /// A user holds a handle on it.
    pub is_held: bool,
    /// It must have a value afterwards: a root, or held and not deferred.
    pub is_output: bool,
    /// Something outside the graph refers to it.
    pub has_outside_refs: bool,
    /// It keeps its sources once computed: a backward pass may still come.
    pub keeps_sources: bool,
    /// An earlier run left it to be computed when it is read.
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
    /// What it computes.
    pub fn op(&self) -> &Op {
        self.replaced.as_deref().unwrap_or(&self.node.op)
    }

    pub fn spec(&self, out: u8) -> &Spec {
        &self.node.outs[out as usize]
    }

    /// Whether it has no value yet.
    pub fn is_pending(&self) -> bool {
        self.values.is_none()
    }

    /// The specs of its sources.
    pub fn specs(&self, graph: &PendingGraph) -> SmallVec<[Spec; 3]> {
        self.sources.iter().map(|source| graph.spec(*source).clone()).collect()
    }

    /// Whether it is an input whose storage is more than twice as large as itself.
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

/// A node whose sources are being listed: what it is computed from, and whether that is its decomposition.
struct Entered {
    edges: Edges,
    is_alias: bool,
}

impl PendingGraph {
    /// Walks from the roots to the nodes that have values, without recursion. A fused node for which `has_kernel` is
    /// false is replaced by its decomposition.
    pub fn collect(roots: Vec<Arc<Node>>, has_kernel: impl Fn(&Node) -> bool) -> PendingGraph {
        let mut graph = PendingGraph { items: Vec::new() };
        let mut indices: FxHashMap<u64, usize> = FxHashMap::default();
        // A node is entered when first met, and listed when all its sources are.
        let mut stack: Vec<(Arc<Node>, Option<Entered>)> =
            roots.iter().rev().map(|root| (root.clone(), None)).collect();
        // References to each item that its consumers in the graph hold.
        let mut inner_refs: Vec<usize> = Vec::new();
        // Whether a backward pass may walk from each item to a leaf: some path to one is not freed.
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
                // A decomposed node refers to its decomposition through `edges` alone, which are dropped here.
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
        // Last, when every reference that the walk itself held is gone.
        for (item, inner_refs) in graph.items.iter_mut().zip(inner_refs) {
            // Handles first: if one is cloned or dropped meanwhile, the value is kept rather than lost.
            let held = item.node.held() as usize;
            item.has_outside_refs = Arc::strong_count(&item.node) > 1 + held + inner_refs;
            item.is_held = held > 0;
            item.is_output = item.is_root || item.is_held;
        }
        graph
    }

    /// The output that consumers of an output read: that of the item behind an alias.
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

    /// Which items are still referred to after the run, if the pending items for which `has_value` is true get values:
    /// an item that gets one forgets its sources unless a backward pass needs them.
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

    /// Inputs whose storage nothing but this graph refers to: a kernel may overwrite them.
    pub fn donatable(&self) -> Vec<bool> {
        let unshared = |values: &Arc<[Value]>| {
            // The node's own reference and the graph's.
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

    /// The operation of an item and the user's line that built it.
    pub fn label(&self, item: usize) -> String {
        let node = &self.items[item].node;
        format!("{} at {}", node.op.name(), node.at)
    }
}

/// A line for each item that has a value or is still used, sources first.
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

/// The decomposition of a fused node into primitives, without handles on it.
fn decompose(node: &Arc<Node>) -> Edges {
    let Op::Fused(op) = &node.op else { unreachable!("only fused operations have a decomposition") };
    let outputs = with_recomputation(node.recomputation, || op.decompose(&node.sources()));
    // The decomposition must have the outputs of the operation; if not, the operation is defective.
    let specs: Vec<_> = outputs.iter().map(|edge| &edge.node.outs[edge.out as usize]).collect();
    assert!(
        specs.iter().copied().eq(&node.outs),
        "the decomposition of {} gives {specs:?}, not {:?}",
        op.name(),
        node.outs
    );
    outputs
}
