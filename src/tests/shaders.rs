//! Every WGSL file is a complete, valid program as it stands, and for every value of its overrides that the crate uses.
//! Needs no GPU.

use std::fs;

use naga::AddressSpace;
use naga::back::PipelineConstants;
use naga::back::pipeline_constants::process_overrides;
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

use crate::core::limits::{AdapterKind, Limits};
use crate::core::shape::Spec;
use crate::gpu::codegen::{fill, together, whole};
use crate::gpu::matmul;
use crate::graph::{Binary, Unary};
use crate::ops::{Draw, Launch, Sample, samples};

/// Values for the overrides of a file.
type Constants = &'static [(&'static str, f64)];

/// The overrides of each file that is no fused operation's, for CPU adapters and for GPUs.
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

/// The dispatches of a sample.
pub fn launches(sample: &Sample, limits: &Limits) -> Option<Vec<Launch>> {
    let inputs: Vec<Spec> = sample.inputs.iter().map(Draw::spec).collect();
    let outputs = sample.op.outputs(&inputs).expect("a sample fits");
    sample.op.launch(&[inputs, outputs].concat(), limits)
}

fn validate(name: &str, source: &str, overrides: &[(&str, f64)]) {
    let source = format!("{}\n{}\n{source}", read("common"), read("math"));
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&source)));
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP);
    validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    let info = validator
        .validate(&module)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&source)));
    let constants: PipelineConstants =
        overrides.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
    let (module, _) = process_overrides(&module, &info, None, &constants)
        .unwrap_or_else(|error| panic!("{name} with {overrides:?}: {error}"));
    // WebGPU's minimum, which every adapter has.
    let invocations: u32 = module.entry_points[0].workgroup_size.iter().product();
    let shared = module.global_variables.iter().filter(|(_, var)| var.space == AddressSpace::WorkGroup);
    let bytes: u32 = shared.map(|(_, var)| module.types[var.ty].inner.size(module.to_ctx())).sum();
    assert!(invocations <= 256 && bytes <= 16 << 10, "{name}: {invocations} invocations, {bytes} bytes");
}

#[test]
fn every_template_is_valid_for_its_overrides() {
    for (stem, overrides) in TEMPLATES {
        let shared = if stem.starts_with("matmul_") { read("matmul") } else { String::new() };
        overrides.iter().for_each(|overrides| validate(stem, &(shared.clone() + &read(stem)), overrides));
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

/// Every kind of adapter, without subgroups and with them.
fn adapters() -> impl Iterator<Item = Limits> {
    let kinds = [AdapterKind::Software, AdapterKind::Integrated, AdapterKind::Discrete];
    let each = kinds.into_iter().flat_map(|kind| [(kind, None), (kind, Some((8, 8)))]);
    each.map(|(kind, subgroup)| Limits { kind, subgroup, ..Limits::webgpu() })
}

#[test]
fn a_reduction_by_subgroups_is_valid() {
    let source = fill(&read("reduce"), "across", &read("reduce_subgroups"));
    validate("reduce_subgroups", &source, &[("GROUP", 64.0), ("LANES", 64.0)]);
}

#[test]
fn kernels_that_share_a_dispatch_are_valid() {
    let by_subgroups = fill(&read("reduce"), "across", &read("reduce_subgroups"));
    let maxima = read("reduce").replace("a.a0 + b.a0", "max(a.a0, b.a0)");
    for (one, other) in [
        (read("elementwise"), read("elementwise")),
        (by_subgroups.clone(), by_subgroups),
        (read("reduce"), maxima),
    ] {
        let (one, other) = (whole(&one), whole(&other));
        let program = together(&[&one, &other, &one]);
        validate("three kernels", program.strip_prefix(&whole("")).expect("it begins alike"), &[]);
    }
}

#[test]
fn every_file_is_used() {
    let of =
        |limits: Limits| samples().into_iter().filter_map(move |sample| launches(&sample, &limits)).flatten();
    let fused: Vec<Launch> = adapters().flat_map(of).collect();
    for stem in stems() {
        let template = ["common", "math", "matmul", "reduce_subgroups"].contains(&&stem[..])
            || TEMPLATES.iter().any(|(listed, _)| *listed == stem);
        let text = read(&stem);
        assert!(
            template || fused.iter().any(|launch| launch.source.contains(&text)),
            "{stem}.wgsl is in no test"
        );
    }
}

fn stems() -> Vec<String> {
    let files = fs::read_dir(format!("{}/shaders", env!("CARGO_MANIFEST_DIR"))).expect("the folder is there");
    let names =
        files.map(|file| file.expect("it can be read").file_name().into_string().expect("a plain name"));
    names.map(|name| name.strip_suffix(".wgsl").expect("only WGSL files are here").to_owned()).collect()
}

/// WGSL lets these built-ins be far off. `math.wgsl` has better ones, with an underscore behind the name.
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

/// WGSL wants barriers and subgroup operations in uniform control flow, and naga does not check it: none may follow a
/// `return` in the entry point, nor stand in a branch on anything but the overrides.
#[test]
fn barriers_and_subgroup_operations_stand_in_uniform_control_flow() {
    for stem in stems() {
        let source = read(&stem);
        let mut blocks: Vec<&str> = Vec::new();
        let mut returned = false;
        for line in source.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
            if line.starts_with("fn ") {
                returned = false;
            }
            returned |= line.contains("return;") && !line.contains("LANES ==");
            let together = ["Barrier()", "subgroupShuffle", "subgroupBroadcast", "other(all"];
            if together.iter().any(|operation| line.contains(operation)) {
                let uniform = |block: &&&str| {
                    block.starts_with("fn ")
                        || block.starts_with(')') // the end of a longer head
                        || block.starts_with("if (LANES")
                        || block.starts_with("for (var half = LANES")
                        || block.starts_with("for (var step = 1u; step < min(place.subgroup_size, LANES)")
                        || block.starts_with("for (var k = work.first") // a workgroup's work
                        // Loops over a workgroup's tiles and their slices, the same for all its invocations.
                        || ["first", "start", "team"]
                            .iter()
                            .any(|counter| block.starts_with(&format!("for (var {counter} = ")))
                        || block.starts_with("if (!ROWS_ARE_KEYS)")
                };
                let divergent: Vec<_> = blocks.iter().filter(|block| !uniform(block)).collect();
                assert!(divergent.is_empty() && !returned, "{stem}.wgsl: a barrier inside {divergent:?}");
            }
            for _ in 0..line.matches('}').count().min(blocks.len()).saturating_sub(line.matches('{').count())
            {
                blocks.pop();
            }
            for _ in 0..line.matches('{').count().saturating_sub(line.matches('}').count()) {
                blocks.push(line);
            }
        }
    }
}
