//! Dispatches of generated kernels: of one, or of several small ones from the same template.
//!
//! In: kernels whose own names differ. Out: one program, in which each workgroup selects its kernel by its index, so that all
//! of a workgroup take the same branch. That costs a GPU nothing; a CPU adapter may walk through the other branches too, but not
//! through their loops.

use std::fmt::Write;

use super::{GeneratedKernel, UniformWord};
use crate::graph::ShaderSource;

/// A kernel that was generated, and may share its dispatch.
pub(crate) struct KernelPart {
    /// The template, with hooks `bindings`, `kernel` and `call`.
    pub template: ShaderSource,
    /// What ends the names of this kernel's declarations.
    pub suffix: String,
    /// What the hook `kernel` has for it.
    pub code: String,
    /// The members of its uniform block, and their values.
    pub params: String,
    pub words: Vec<UniformWord>,
    /// Its storage variables, without attributes; for each the slot, and whether it is written.
    pub storage: Vec<String>,
    pub bindings: Vec<(usize, bool)>,
    pub faults: bool,
}

/// The suffix of kernel `k` of a batch: that of a single kernel is empty.
pub(crate) fn suffix(k: usize, kernels: usize) -> String {
    if kernels == 1 { String::new() } else { format!("_{k}") }
}

/// A template's text with a kernel's own names, which end in `_0` there.
pub(crate) fn with_suffix(text: &str, suffix: &str) -> String {
    text.replace("_0", suffix)
}

/// The program of all kernels. Its uniforms begin with where the workgroups of each end, if there are several.
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
