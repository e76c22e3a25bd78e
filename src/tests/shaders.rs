//! Every WGSL file is a complete, valid program, both unmodified and with every value of its overrides that the crate
//! uses. These tests do not need a GPU.

use std::fs;

use naga::AddressSpace;
use naga::back::PipelineConstants;
use naga::back::pipeline_constants::process_overrides;
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

use super::uniformity;
use crate::core::limits::{AdapterKind, Limits};
use crate::core::shape::Spec;
use crate::gpu::codegen::{KernelPart, batch_kernels, suffix, with_suffix};
use crate::gpu::matmul;
use crate::graph::{Binary, ShaderSource, Unary, hook};
use crate::ops::{Draw, Launch, Sample, samples};

/// Values for the overrides of a file.
type Constants = &'static [(&'static str, f64)];

/// The overrides of each file that does not belong to a fused operation, for CPU adapters and for GPUs.
const TEMPLATES: &[(&str, &[Constants])] = &[
    ("elementwise", &[&[("GROUP", 64.0)]]),
    (
        "reduce",
        &[
            &[("GROUP", 8.0), ("LANES", 1.0)],
            &[("GROUP", 64.0), ("LANES", 1.0)],
            &[("GROUP", 64.0), ("LANES", 8.0)],
            &[("GROUP", 64.0), ("LANES", 64.0)],
            &[("GROUP", 128.0), ("LANES", 16.0), ("STEP", 8.0)],
        ],
    ),
    ("matmul_registers", &[&[("LANES", 4.0)], &[("LANES", 8.0)], &[("LANES", 16.0)]]),
    ("matmul_tiled", &[&[]]),
    ("matmul_skinny", &[&[("GROUP", 64.0), ("LANES", 4.0)], &[("GROUP", 64.0), ("LANES", 64.0)]]),
];

fn read(stem: &str) -> String {
    let path = format!("{}/shaders/{stem}.wgsl", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the dispatches of a sample.
pub fn launches(sample: &Sample, limits: &Limits) -> Option<Vec<Launch>> {
    let inputs: Vec<Spec> = sample.inputs.iter().map(Draw::spec).collect();
    let outputs = sample.op.outputs(&inputs).expect("a sample fits");
    sample.op.launch(&[inputs, outputs].concat(), limits)
}

fn validate(name: &str, source: &ShaderSource, overrides: &[(&str, f64)]) {
    let source = source.render();
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&source)));
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP);
    validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    let info = validator
        .validate(&module)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&source)));
    let divergent = uniformity::faults(&module);
    assert!(divergent.is_empty(), "{name}: only some invocations may come to a barrier in {divergent:?}");
    let constants: PipelineConstants =
        overrides.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
    let (module, _) = process_overrides(&module, &info, None, &constants)
        .unwrap_or_else(|error| panic!("{name} with {overrides:?}: {error}"));
    // WebGPU guarantees this number of invocations on every adapter.
    let invocations: u32 = module.entry_points[0].workgroup_size.iter().product();
    let shared = module.global_variables.iter().filter(|(_, var)| var.space == AddressSpace::WorkGroup);
    let bytes: u32 = shared.map(|(_, var)| module.types[var.ty].inner.size(module.to_ctx())).sum();
    assert!(invocations <= 256 && bytes <= 16 << 10, "{name}: {invocations} invocations, {bytes} bytes");
}

#[test]
fn every_template_is_valid_for_its_overrides() {
    for (stem, overrides) in TEMPLATES {
        let source = match stem.starts_with("matmul_") {
            true => ShaderSource::new(read("matmul") + &read(stem)),
            false => ShaderSource::new(read(stem)).with_workgroup(false),
        };
        overrides.iter().for_each(|overrides| validate(stem, &source, overrides));
    }
}

#[test]
fn every_tile_of_a_matrix_product_is_valid() {
    for limits in adapters() {
        matmul::programs(&limits).iter().for_each(|program| validate("a matrix product", program, &[]));
    }
}

#[test]
fn every_fused_operation_is_valid_for_its_overrides() {
    for limits in adapters() {
        for launch in samples().iter().filter_map(|sample| launches(sample, &limits)).flatten() {
            let overrides = launch.constants.iter().map(|&(name, value)| (name, f64::from(value)));
            validate("a fused operation", &launch.source, &overrides.collect::<Vec<_>>());
        }
    }
}

/// Iterates over the limits of every kind of adapter, without and with subgroups.
fn adapters() -> impl Iterator<Item = Limits> {
    let kinds = [AdapterKind::Software, AdapterKind::Integrated, AdapterKind::Discrete];
    let each = kinds.into_iter().flat_map(|kind| [(kind, None), (kind, Some((8, 8)))]);
    each.map(|(kind, subgroup)| Limits { kind, subgroup, ..Limits::webgpu() })
}

const REDUCE: &str = include_str!("../../shaders/reduce.wgsl");
const REDUCE_SUBGROUPS: &str = include_str!("../../shaders/reduce_subgroups.wgsl");

#[test]
fn a_reduction_by_subgroups_is_valid() {
    let source = ShaderSource::new(REDUCE).with_workgroup(true).variant(REDUCE_SUBGROUPS);
    validate("reduce_subgroups", &source, &[("GROUP", 64.0), ("LANES", 64.0)]);
}

/// Batches `kernels` copies of a template's default kernel into one dispatch.
fn batch(template: ShaderSource, params: &[&str], kernels: usize) -> ShaderSource {
    let text = template.render_without_common();
    let part = |k: usize| {
        let suffix = suffix(k, kernels);
        let variable = |variable: &str| format!("var<storage, {variable}{suffix}: array<f32>");
        KernelPart {
            template: template.clone(),
            code: with_suffix(&text[hook(&text, "kernel")], &suffix),
            params: params.iter().map(|name| format!("{name}{suffix}: u32, ")).collect(),
            words: Vec::new(),
            storage: vec![variable("read> x0"), variable("read_write> y0")],
            bindings: vec![(0, false), (1, true)],
            faults: false,
            suffix,
        }
    };
    batch_kernels((0..kernels).map(part).collect(), &vec![1; kernels]).source
}

#[test]
fn kernels_that_share_a_dispatch_are_valid() {
    let reduce = ShaderSource::new(REDUCE);
    let elementwise = ShaderSource::new(include_str!("../../shaders/elementwise.wgsl")).with_workgroup(false);
    let sizes = ["outputs", "len", "splits", "part"];
    for kernels in [1, 3] {
        validate("elementwise kernels", &batch(elementwise.clone(), &["len"], kernels), &[]);
        validate("reductions", &batch(reduce.clone().with_workgroup(false), &sizes, kernels), &[]);
        let subgroups = batch(reduce.clone().with_workgroup(true).variant(REDUCE_SUBGROUPS), &sizes, kernels);
        validate("reductions by subgroups", &subgroups, &[]);
    }
}

#[test]
fn every_file_is_used() {
    let of =
        |limits: Limits| samples().into_iter().filter_map(move |sample| launches(&sample, &limits)).flatten();
    let fused: Vec<String> = adapters().flat_map(of).map(|launch| launch.source.render()).collect();
    for stem in stems() {
        let is_template = ["common", "math", "matmul", "reduce_subgroups"].contains(&&stem[..])
            || TEMPLATES.iter().any(|(listed, _)| *listed == stem);
        let text = read(&stem);
        let pieces = pieces(&text);
        let is_used = |source: &String| pieces.iter().all(|piece| source.contains(piece));
        assert!(is_template || fused.iter().any(is_used), "{stem}.wgsl is in no test");
    }
}

/// Returns the texts inside the hooks of a variant, or the texts outside the hooks of a kernel.
fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((before, _)) = rest.split_once("// hook ") {
        let name = rest[before.len() + "// hook ".len()..].lines().next().expect("a hook has a name");
        let hook = hook(rest, name);
        pieces.push(before);
        pieces.push(&rest[hook.clone()]);
        rest = &rest[hook.end..];
    }
    pieces.push(rest);
    match text.contains("@compute") {
        true => pieces.into_iter().step_by(2).collect(),
        false => pieces.into_iter().skip(1).step_by(2).collect(),
    }
}

fn stems() -> Vec<String> {
    let files = fs::read_dir(format!("{}/shaders", env!("CARGO_MANIFEST_DIR"))).expect("the folder is there");
    let names =
        files.map(|file| file.expect("it can be read").file_name().into_string().expect("a plain name"));
    names.map(|name| name.strip_suffix(".wgsl").expect("only WGSL files are here").to_owned()).collect()
}

/// WGSL allows large errors for these built-ins. `math.wgsl` has accurate replacements, named with a trailing
/// underscore.
#[test]
fn inaccurate_built_ins_are_not_called() {
    let inaccurate = ["exp", "exp2", "log", "log2", "pow", "sin", "cos", "tan", "tanh", "sinh", "cosh"];
    let unary = Unary::ALL.iter().map(|op| (op.row().name.to_owned(), op.row().wgsl.to_owned()));
    let binary = Binary::ALL.iter().map(|op| (op.row().name.to_owned(), op.row().wgsl.to_owned()));
    let files = stems().into_iter().map(|stem| (format!("{stem}.wgsl"), read(&stem)));
    for (name, source) in unary.chain(binary).chain(files) {
        let code = source.lines().filter_map(|line| line.split("//").next());
        let calls = code.flat_map(|line| line.split_inclusive('(').filter_map(|call| call.strip_suffix('(')));
        let called = calls.filter_map(|call| call.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next());
        let found: Vec<&str> = called.filter(|name| inaccurate.contains(name)).collect();
        assert!(found.is_empty(), "{name} calls {found:?}");
    }
}
