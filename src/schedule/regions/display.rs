//! The printed form of regions.

use std::fmt::Write;

use super::{Body, Region, Regions};
use crate::ir::{Output, Strides, joined};
use crate::schedule::pending::PendingGraph;

impl Regions {
    /// Returns one entry per region, producers first, labelled with the user's source lines.
    pub fn listing(&self, graph: &PendingGraph) -> String {
        let mut text = String::new();
        let mut push = |line: String| writeln!(text, "{line}").expect("a string takes text");
        for region in self.list.iter().rev() {
            let line = graph.label(region.item());
            match region {
                Region::Elementwise { body, writes } => {
                    push(format!("elementwise {:?} writes {}  # {line}", body.space, names(writes)));
                    push(computes("  ", body, graph));
                }
                Region::Reduce { accumulators, prologue, .. } => {
                    push(format!("reduce {:?} to {}  # {line}", prologue.space, names(accumulators)));
                    push(computes("  ", prologue, graph));
                }
                Region::MatMul { item, operands: [(a, view_a), (b, view_b)], .. } => {
                    let (a, b) = (format!("{a} {}", Strides(view_a)), format!("{b} {}", Strides(view_b)));
                    push(format!("matmul {:?} to %{item}  # {line}", graph.items[*item].spec(0).shape));
                    push(format!("  a = {a}, b = {b}"));
                }
                Region::Fused { item, inputs } => {
                    push(format!("fused to %{item}  # {line}"));
                    push(format!("  reads {}", joined(inputs)));
                }
                Region::Copy { source, view, to } => push(format!("copy {source} {} to {to}", Strides(view))),
            }
            if let Some(epilogue) = region.epilogue() {
                let transposed = if epilogue.body.access.transposed { "transposed " } else { "" };
                push(format!("  {transposed}epilogue writes {}", names(&epilogue.writes)));
                push(computes("    ", &epilogue.body, graph));
            }
        }
        let mut aliases: Vec<_> = self.aliases.iter().collect();
        aliases.sort_unstable_by_key(|(item, _)| **item);
        for (item, outs) in aliases {
            outs.iter()
                .for_each(|(source, view)| push(format!("alias %{item} = {source} {}", Strides(view))));
        }
        text
    }
}

/// Returns the operations of a body and the items that it reads.
fn computes(indent: &str, body: &Body, graph: &PendingGraph) -> String {
    let mut items: Vec<usize> = body.computed.items.iter().copied().collect();
    items.sort_unstable();
    let items = items.into_iter().map(|item| format!("%{item} {}", graph.items[item].op().name()));
    let items: Vec<String> = items.collect();
    let items = if items.is_empty() { "-".to_owned() } else { items.join(", ") };
    format!("{indent}computes {items}\n{indent}reads {}", joined(&body.access.reads))
}

fn names(items: &[usize]) -> String {
    joined(&items.iter().map(|&item| Output { item, out: 0 }).collect::<Vec<_>>())
}
