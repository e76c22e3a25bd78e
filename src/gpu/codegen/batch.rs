//! Dispatches of generated kernels: of one kernel, or of several small ones from the same template.
//!
//! In: kernels with distinct declaration names. Out: one program, in which each workgroup selects its kernel by the
//! workgroup index, so that control flow is uniform. That costs a GPU nothing; a CPU adapter may also execute the other
//! branches, but not their loops.

use std::fmt::Write;

use super::{GeneratedKernel, UniformWord};
use crate::graph::ShaderSource;

/// A generated kernel, which may share its dispatch with others.
pub(crate) struct KernelPart {
    /// The template, with hooks `bindings`, `kernel` and `call`.
    pub template: ShaderSource,
    /// The suffix of the names of this kernel's declarations.
    pub suffix: String,
    /// Its text for the hook `kernel`.
    pub code: String,
    /// The members of its uniform block; `words` are their values.
    pub params: String,
    pub words: Vec<UniformWord>,
    /// Its storage variables, without attributes; `bindings` has the slot of each, and whether it is written.
    pub storage: Vec<String>,
    pub bindings: Vec<(usize, bool)>,
    pub faults: bool,
}

/// The suffix of kernel `k` of a batch. A single kernel has an empty suffix.
pub(crate) fn suffix(k: usize, kernels: usize) -> String {
    if kernels == 1 { String::new() } else { format!("_{k}") }
}

/// A template's text for one kernel: replaces `_0`, which ends the names of a kernel's declarations in a template.
pub(crate) fn with_suffix(text: &str, suffix: &str) -> String {
    text.replace("_0", suffix)
}

/// One program with all kernels. If there are several, its uniforms begin with the index at which each kernel's
/// workgroups end.
pub(crate) fn batch_kernels(kernels: Vec<KernelPart>, workgroups: &[usize]) -> GeneratedKernel {
    let template = kernels[0].template.clone();
    assert!(kernels.iter().all(|kernel| kernel.template == template), "kernels of one template");
    let (mut params, mut words, mut end) = (String::new(), Vec::new(), 0);
    if kernels.len() > 1 {
        for (k, count) in workgroups.iter().enumerate() {
            end += *count as u32;
            write!(params, "end{k}: u32, ").expect("a string takes text");
            words.push(UniformWord::Fixed(end));
        }
    }
    params.extend(kernels.iter().map(|kernel| &kernel.params[..]));
    words.extend(kernels.iter().flat_map(|kernel| kernel.words.iter().copied()));
    let storage = kernels.iter().flat_map(|kernel| kernel.storage.iter());
    let declared =
        format!("struct Params {{ {params}}}\n@group(0) @binding(0) var<uniform> params: Params;\n");
    let declared = declared + &bind(storage, 1);
    let call = call(&kernels);
    let code: String = kernels.iter().map(|kernel| &kernel.code[..]).collect();
    GeneratedKernel {
        source: template.fill("bindings", declared).fill("kernel", code).fill("call", call),
        words,
        bindings: kernels.iter().flat_map(|kernel| kernel.bindings.iter().copied()).collect(),
        faults: kernels.iter().any(|kernel| kernel.faults),
    }
}

/// Storage variables at consecutive bindings.
pub(super) fn bind<'a>(storage: impl Iterator<Item = &'a String>, first: usize) -> String {
    storage.zip(first..).map(|(variable, n)| format!("@group(0) @binding({n}) {variable};\n")).collect()
}

/// Calls the kernel that the workgroup belongs to.
fn call(kernels: &[KernelPart]) -> String {
    let call =
        |k: usize, group: &str| format!("kernel{}({group}, workgroup, invocation);", kernels[k].suffix);
    if kernels.len() == 1 {
        return format!("    {}\n", call(0, "group"));
    }
    let branch = |k: usize| {
        let group = match k.checked_sub(1) {
            None => "group".to_owned(),
            Some(before) => format!("group - params.end{before}"),
        };
        format!("if (group < params.end{k}) {{\n        {}\n    }}", call(k, &group))
    };
    let branches: Vec<String> = (0..kernels.len()).map(branch).collect();
    format!("    {}\n", branches.join(" else "))
}
