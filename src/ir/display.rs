//! The printed forms of kernels: one line per kernel for messages, and whole kernel graphs for `WGRAD_LOG=after:NAME`.

use std::fmt::{self, Write};

use super::{
    BufferId, Inst, Kernel, KernelGraph, KernelNode, MatMul, Matrix, Output, Placement, Plan, PlanSlot,
    Program, ReductionKernel,
};
use crate::graph::View;

/// Prints the names of the program's operations.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names = self.code.iter().filter_map(|inst| match inst {
            Inst::Unary(op, ..) => Some(op.row().name),
            Inst::Binary(op, ..) => Some(op.row().name),
            Inst::Where(..) => Some("where"),
            Inst::Cast(..) => Some("cast"),
            Inst::Gather { .. } => Some("gather"),
            Inst::Random(..) => Some("random"),
            _ => None,
        });
        f.write_str(&names.collect::<Vec<_>>().join(" "))
    }
}

/// Prints one line: the kind of kernel, its sizes, and the names of its operations.
impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let parts = |splits: usize| if splits > 1 { format!(" in {splits} parts") } else { String::new() };
        match self {
            Kernel::Elementwise(program) => write!(f, "elementwise {:?}", program.space)?,
            Kernel::Reduce(ReductionKernel { reduce_ops, program, dims, splits, .. }) => {
                write!(f, "reduce {reduce_ops:?} dims {dims:?} of {:?}{}", program.space, parts(*splits))?;
            }
            Kernel::MatMul(MatMul { batch, m, n, k, splits, .. }, _) => {
                let batches = batch[0] * batch[1];
                write!(f, "matmul {batches} x [{m}, {k}] x [{k}, {n}]{}", parts(*splits))?;
            }
            Kernel::Fused(launch) => write!(f, "fused, workgroups: {}", launch.workgroups)?,
        }
        if let Some((program, outputs)) = self.elementwise_outputs() {
            let names = program.to_string();
            write!(f, "{}{names}", if names.is_empty() { "" } else { ": " })?;
            if let (Kernel::Reduce(_), 1..) = (self, outputs) {
                write!(f, ", elementwise outputs: {outputs}")?;
            }
        }
        self.epilogue().map_or(Ok(()), |epilogue| write!(f, "; epilogue: {epilogue}"))
    }
}

/// Prints `%3` for the first output of item 3 and `%3.1` for its second output.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "%{}", self.item)?;
        if self.out > 0 { write!(f, ".{}", self.out) } else { Ok(()) }
    }
}

/// Prints `%3` for the output of an item and `s0` for a scratch buffer.
impl fmt::Display for BufferId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            BufferId::Item(output) => output.fmt(f),
            BufferId::Scratch(i) => write!(f, "s{i}"),
        }
    }
}

/// Prints a summary in one line.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let fresh = self.slots.iter().filter(|slot| matches!(slot, PlanSlot::Fresh { .. })).count();
        let (kernels, dispatches) = (self.steps.len(), self.dispatches().count());
        let (results, bytes) = (self.results.len(), self.fresh_bytes());
        write!(f, "{kernels} kernels in {dispatches} dispatches, ")?;
        write!(f, "{results} results, {fresh} buffers of {bytes} bytes in all")
    }
}

impl Plan {
    /// Returns each kernel with its slots and the `label` of its item, then the memory of each slot, the slots of the
    /// results, and the deferred items.
    pub fn listing(&self, label: &dyn Fn(usize) -> String) -> String {
        let mut text = String::new();
        if let Some(constants) = &self.constants {
            push(&mut text, format_args!("computed once, in slots of its own:"));
            constants.listing(label).lines().for_each(|line| push(&mut text, format_args!("  {line}")));
        }
        for step in &self.steps {
            let shares = if step.shares_dispatch { "same dispatch: " } else { "" };
            push(&mut text, format_args!("{shares}{}  # {}", step.kernel, label(step.item)));
            push(&mut text, format_args!("  slots {} to {}", joined(&step.reads), joined(&step.writes)));
        }
        for (i, slot) in self.slots.iter().enumerate() {
            let memory = match slot {
                PlanSlot::Input(output) => format!("{output}"),
                PlanSlot::Fresh { bytes } => format!("{bytes} bytes"),
                PlanSlot::Constant(constant) => format!("slot {constant} of what is computed once"),
            };
            push(&mut text, format_args!("slot {i}: {memory}"));
        }
        for Placement { item, outs } in &self.results {
            for (slot, view) in outs {
                push(&mut text, format_args!("%{item} in slot {slot} {}", Strides(view)));
            }
        }
        for item in &self.deferred {
            push(&mut text, format_args!("%{item} is computed when it is read  # {}", label(*item)));
        }
        text
    }
}

impl KernelGraph {
    /// Returns each kernel with its buffers, its code, and the `label` of its item, producers first.
    pub fn listing(&self, label: &dyn Fn(usize) -> String) -> String {
        let mut text = String::new();
        let mut listed: Vec<&KernelNode> = self.kernels.iter().collect();
        if !self.is_ordered {
            listed.reverse();
        }
        for node in listed {
            let shares = if node.shares_dispatch { "same dispatch: " } else { "" };
            push(&mut text, format_args!("{shares}{}  # {}", node.kernel, label(node.item)));
            push(&mut text, format_args!("  reads {} writes {}", joined(&node.reads), joined(&node.writes)));
            text += &code(node);
        }
        let mut aliases: Vec<_> = self.aliases.iter().collect();
        aliases.sort_unstable_by_key(|(item, _)| **item);
        for (item, outs) in aliases {
            for (source, view) in outs {
                push(&mut text, format_args!("alias %{item} = {source} {}", Strides(view)));
            }
        }
        text
    }
}

/// Returns the instructions of a kernel, one per line, and its results.
fn code(node: &KernelNode) -> String {
    let mut text = String::new();
    let program = |text: &mut String, program: &Program| {
        for (register, inst) in program.code.iter().enumerate() {
            push(text, format_args!("    v{register} = {}", InstDisplay(inst, program)));
        }
    };
    if let Kernel::MatMul(MatMul { a, b, .. }, _) = &node.kernel {
        push(&mut text, format_args!("    a = {}, b = {}", MatrixDisplay(a), MatrixDisplay(b)));
    }
    let mut writes = node.writes.iter();
    if let Some((main, outputs)) = node.kernel.elementwise_outputs() {
        program(&mut text, main);
        let (elementwise, reduced) = main.results.split_at(outputs);
        for (buffer, result) in writes.by_ref().take(outputs).zip(elementwise) {
            push(&mut text, format_args!("    {buffer} = v{result}"));
        }
        let Kernel::Reduce(ReductionKernel { reduce_ops, epilogue, .. }) = &node.kernel else { return text };
        for (n, (how, result)) in reduce_ops.iter().zip(reduced).enumerate() {
            match writes.clone().next().filter(|_| epilogue.is_none()) {
                Some(buffer) => push(&mut text, format_args!("    {buffer} = {how:?} of v{result}")),
                None => push(&mut text, format_args!("    accumulator {n} = {how:?} of v{result}")),
            }
            if epilogue.is_none() {
                writes.next();
            }
        }
    }
    if let Some(epilogue) = node.kernel.epilogue() {
        push(&mut text, format_args!("    epilogue over {:?}", epilogue.space));
        program(&mut text, epilogue);
        for (buffer, result) in writes.zip(&epilogue.results) {
            push(&mut text, format_args!("    {buffer} = v{result}"));
        }
    }
    text
}

fn push(text: &mut String, line: fmt::Arguments) {
    writeln!(text, "{line}").expect("a string takes text");
}

/// Joins entries with spaces. Returns `-` if there are none.
pub(crate) fn joined<T: fmt::Display>(entries: &[T]) -> String {
    let words: Vec<String> = entries.iter().map(T::to_string).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

/// Prints an instruction of a program.
struct InstDisplay<'a>(&'a Inst, &'a Program);

impl fmt::Display for InstDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let loaded = |i: usize| {
            let load = &self.1.loads[i];
            format!("r{} {}", load.read, Strides(&load.view))
        };
        match self.0 {
            Inst::Load(i) => write!(f, "load {}", loaded(*i)),
            Inst::Accumulator(n, _) => write!(f, "accumulator {n}"),
            Inst::Gather { load, index, size, stride, .. } => {
                write!(f, "gather {} at v{index} of {size}, stride {stride}", loaded(*load))
            }
            Inst::Const(x, dtype) => write!(f, "const {x:?} {dtype}"),
            Inst::Scalar(item, _) => write!(f, "scalar of %{item}"),
            Inst::Index(view) => write!(f, "index {}", Strides(view)),
            Inst::Random(item, view) => write!(f, "random of %{item} {}", Strides(view)),
            Inst::Unary(op, x, _) => write!(f, "{} v{x}", op.row().name),
            Inst::Binary(op, a, b, _) => write!(f, "{} v{a} v{b}", op.row().name),
            Inst::Where(condition, a, b) => write!(f, "where v{condition} v{a} v{b}"),
            Inst::Cast(x, to) => write!(f, "cast v{x} to {to}"),
            Inst::Mask(view, x, _) => write!(f, "mask v{x} {}", Strides(view)),
            Inst::Check { index, size, .. } => write!(f, "check v{index} below {size}"),
        }
    }
}

/// Prints a view as `contiguous` or as `+offset [strides] where mask`.
pub(crate) struct Strides<'a>(pub &'a View);

impl fmt::Display for Strides<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let View { strides, offset, mask, .. } = self.0;
        if self.0.is_contiguous() {
            return f.write_str("contiguous");
        }
        if *offset != 0 {
            write!(f, "{offset:+} ")?;
        }
        write!(f, "{strides:?}")?;
        mask.as_ref().map_or(Ok(()), |mask| write!(f, " where {mask:?}"))
    }
}

/// Prints an operand of a matrix product: the index of its buffer, and the strides of its rows, columns and batches.
struct MatrixDisplay<'a>(&'a Matrix);

impl fmt::Display for MatrixDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Matrix { read, offset, batch, row, col } = self.0;
        write!(f, "r{read} rows {row} apart, cols {col}")?;
        if *batch != [0, 0] {
            write!(f, ", batches {batch:?}")?;
        }
        if *offset > 0 { write!(f, ", from {offset}") } else { Ok(()) }
    }
}
