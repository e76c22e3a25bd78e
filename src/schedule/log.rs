//! `WGRAD_LOG`: what a plan does, for which lines, and why it is not fewer kernels.
//!
//! In: a plan and its cone. Out: text.

use std::fmt::Write;
use std::time::Duration;

use super::Cone;
use super::absorb::MAX_CODE;
use super::plan::{Kernel, Plan, Reduction, Step};
use crate::graph::Op;
use crate::limits::Limits;

/// A line a kernel, with the user's lines that it computes; below it why what it writes is not computed where it is
/// read; and at last for whom each result is kept.
pub(super) fn plan(plan: &Plan, cone: &Cone, limits: &Limits) -> String {
    let mut text = String::new();
    let kept = |slot: usize| plan.results.iter().any(|placed| placed.outs.iter().any(|(at, _)| *at == slot));
    for (i, step) in plan.steps.iter().enumerate() {
        let _ = writeln!(
            text,
            "  {}{} {:?} -> {:?}  for {}",
            if step.shares { "in the same dispatch: " } else { "" },
            step.kernel,
            step.reads,
            step.writes,
            lines(step, cone)
        );
        for (&item, &slot) in step.items.iter().zip(&step.writes) {
            let later = &plan.steps[i + 1..];
            let over = later.iter().position(|other| other.writes.contains(&slot));
            let until = over.map_or(later.len(), |last| last + 1);
            let readers: Vec<&Step> =
                later[..until].iter().filter(|other| other.reads.contains(&slot)).collect();
            if !readers.is_empty() && (over.is_some() || !kept(slot)) {
                let name = cone.items[item].node.op.name();
                let _ = writeln!(text, "    {name} in memory: {}", reason(step, &readers, cone, limits));
            }
        }
    }
    for placed in &plan.results {
        let item = &cone.items[placed.item];
        let name = item.node.op.name();
        let whose =
            if item.wanted { format!("handle from {}", item.node.at) } else { "for backward".to_owned() };
        let _ = writeln!(text, "  kept: {whose} ({name}, slot {})", placed.outs[0].0);
    }
    text
}

/// The kernels of a dispatch that has run.
pub(super) fn kernels(
    steps: &[Step],
    cone: &Cone,
    workgroups: [u32; 3],
    bytes: u64,
    time: Duration,
) -> String {
    let groups: u32 = workgroups.iter().product();
    let kernels: Vec<String> =
        steps.iter().map(|step| format!("{} for {}", step.kernel, lines(step, cone))).collect();
    format!("{}: {groups} workgroups, {bytes} bytes, {time:.1?}", kernels.join("; "))
}

/// The operations whose values a kernel writes, and where each was called.
fn lines(step: &Step, cone: &Cone) -> String {
    let mut lines: Vec<String> = Vec::new();
    for &item in &step.items {
        let node = &cone.items[item].node;
        let line = format!("{} at {}", node.op.name(), node.at);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join(", ")
}

/// Why `readers` read what `step` writes instead of computing it.
fn reason(step: &Step, readers: &[&Step], cone: &Cone, limits: &Limits) -> String {
    let operand =
        readers.iter().find(|reader| matches!(reader.kernel, Kernel::MatMul(..) | Kernel::Fused(_)));
    if readers[0].item == step.item {
        return "the next stage reads it".to_owned();
    }
    if let Some(reader) = operand {
        return format!("{} reads memory", cone.items[reader.item].node.op.name());
    }
    if readers.len() > 1 {
        return format!("{} kernels read it", readers.len());
    }
    let reader = readers[0];
    let mut slots: Vec<usize> =
        [step, reader].iter().flat_map(|s| s.reads.iter().chain(&s.writes)).copied().collect();
    slots.sort_unstable();
    slots.dedup();
    // Room is left for a result more and for the error word.
    if slots.len() + 2 > limits.storage_buffers as usize {
        return format!("one kernel would bind {} buffers of {}", slots.len(), limits.storage_buffers);
    }
    if code(step) + code(reader) > MAX_CODE {
        return format!("one kernel would have over {MAX_CODE} operations");
    }
    match &cone.items[step.item].node.op {
        Op::Reduce(..) | Op::ScatterAdd(..) | Op::MatMul | Op::Fused(_) => {
            "it is read in another index space".to_owned()
        }
        _ => "recomputing it would read more".to_owned(),
    }
}

fn code(step: &Step) -> usize {
    match &step.kernel {
        Kernel::Map(program) | Kernel::MatMul(_, Some(program)) => program.code.len(),
        Kernel::Reduce(Reduction { program, epilogue, .. }) => {
            program.code.len() + epilogue.as_ref().map_or(0, |epilogue| epilogue.code.len())
        }
        Kernel::MatMul(_, None) | Kernel::Fused(_) => 0,
    }
}
