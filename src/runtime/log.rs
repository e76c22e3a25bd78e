//! `WGRAD_LOG`: prints the kernels of a plan, the user's lines that each kernel computes, and the reasons why kernels
//! were not merged.
//!
//! In: a plan and its graph. Out: text.

use std::fmt::Write;

use crate::backend::Dispatched;
use crate::core::limits::Limits;
use crate::graph::Op;
use crate::ir::{Kernel, Plan, Step};
use crate::schedule::{MAX_REGION_ITEMS, PendingGraph, logs};

/// Prints the intermediate form after a pass, if `WGRAD_LOG` contains `after:all` or `after:` and the pass's name.
pub(super) fn observe(pass: &str, form: &dyn Fn() -> String) {
    if logs("after:all") || logs(&format!("after:{pass}")) {
        eprintln!("wgrad: after {pass}\n{}", form());
    }
}

/// Describes a plan. Each kernel has a line with the user's lines that it computes, followed by the likely reasons why
/// it was not merged with the readers of its results. Then each kept result has a line with the reason.
pub(super) fn plan(plan: &Plan, graph: &PendingGraph, limits: &Limits) -> String {
    let mut text = String::new();
    let kept =
        |slot: usize| plan.results.iter().any(|placement| placement.outs.iter().any(|(at, _)| *at == slot));
    for (i, step) in plan.steps.iter().enumerate() {
        let _ = writeln!(
            text,
            "  {}{} {:?} -> {:?}  for {}",
            if step.shares_dispatch { "in the same dispatch: " } else { "" },
            step.kernel,
            step.reads,
            step.writes,
            lines(step, graph)
        );
        for (&item, &slot) in step.items.iter().zip(&step.writes) {
            let later = &plan.steps[i + 1..];
            let over = later.iter().position(|other| other.writes.contains(&slot));
            let until = over.map_or(later.len(), |last| last + 1);
            let readers: Vec<&Step> =
                later[..until].iter().filter(|other| other.reads.contains(&slot)).collect();
            if !readers.is_empty() && (over.is_some() || !kept(slot)) {
                let name = graph.items[item].node.op.name();
                let _ = writeln!(text, "    {name} in memory: {}", reason(step, &readers, graph, limits));
            }
        }
    }
    for placement in &plan.results {
        let item = &graph.items[placement.item];
        let name = item.node.op.name();
        let whose =
            if item.is_output { format!("handle from {}", item.node.at) } else { "for backward".to_owned() };
        let _ = writeln!(text, "  kept: {whose} ({name}, slot {})", placement.outs[0].0);
    }
    text
}

/// Describes a dispatch after its run: kernels, workgroups, bytes and time.
pub(super) fn kernels(steps: &[Step], graph: &PendingGraph, dispatched: &Dispatched) -> String {
    let Dispatched { workgroups, bytes, time } = dispatched;
    let groups: u32 = workgroups.iter().product();
    let kernels: Vec<String> =
        steps.iter().map(|step| format!("{} for {}", step.kernel, lines(step, graph))).collect();
    format!("{}: {groups} workgroups, {bytes} bytes, {time:.1?}", kernels.join("; "))
}

/// Lists the operations whose values a kernel writes, with the user's lines that called them.
fn lines(step: &Step, graph: &PendingGraph) -> String {
    let mut lines: Vec<String> = Vec::new();
    for &item in &step.items {
        let node = &graph.items[item].node;
        let line = format!("{} at {}", node.op.name(), node.at);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join(", ")
}

/// Returns the likely reason why the results of `step` are materialized for `readers`.
fn reason(step: &Step, readers: &[&Step], graph: &PendingGraph, limits: &Limits) -> String {
    let operand =
        readers.iter().find(|reader| matches!(reader.kernel, Kernel::MatMul(..) | Kernel::Fused(_)));
    if readers[0].item == step.item {
        return "the next stage reads it".to_owned();
    }
    if let Some(reader) = operand {
        return format!("{} reads memory", graph.items[reader.item].node.op.name());
    }
    if readers.len() > 1 {
        return format!("{} kernels read it", readers.len());
    }
    let reader = readers[0];
    let mut slots: Vec<usize> =
        [step, reader].iter().flat_map(|s| s.reads.iter().chain(&s.writes)).copied().collect();
    slots.sort_unstable();
    slots.dedup();
    // Two bindings are reserved: one for another result and one for the fault flag buffer.
    if slots.len() + 2 > limits.storage_buffers as usize {
        return format!("one kernel would bind {} buffers of {}", slots.len(), limits.storage_buffers);
    }
    if code(step) + code(reader) > MAX_REGION_ITEMS {
        return format!("one kernel would have over {MAX_REGION_ITEMS} operations");
    }
    match &graph.items[step.item].node.op {
        Op::Reduce(..) | Op::ScatterAdd(..) | Op::MatMul | Op::Fused(_) => {
            "it is read over another iteration space".to_owned()
        }
        _ => "recomputing it would read more".to_owned(),
    }
}

fn code(step: &Step) -> usize {
    step.kernel.programs().map(|program| program.code.len()).sum()
}
