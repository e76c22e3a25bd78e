//! Every WGSL file is a complete, valid program as it stands, for every value of its overrides that the crate uses.
//! Needs no GPU.

use std::fs;

use naga::back::PipelineConstants;
use naga::back::pipeline_constants::process_overrides;
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// Values for the overrides of a file.
type Constants = &'static [(&'static str, f64)];

/// The overrides of each file, for CPU adapters and for GPUs.
const OVERRIDES: &[(&str, &[Constants])] = &[
    ("elementwise", &[&[("GROUP", 64.0)]]),
    (
        "reduce",
        &[
            &[("GROUP", 8.0), ("LANES", 1.0)],
            &[("GROUP", 64.0), ("LANES", 1.0)],
            &[("GROUP", 64.0), ("LANES", 64.0)],
        ],
    ),
    ("matmul", &[&[("GROUP_X", 8.0), ("GROUP_Y", 1.0)], &[("GROUP_X", 8.0), ("GROUP_Y", 8.0)]]),
    ("cross_entropy", &[&[("GROUP", 8.0), ("LANES", 1.0)], &[("GROUP", 64.0), ("LANES", 64.0)]]),
    ("cross_entropy_backward", &[&[("GROUP", 8.0), ("LANES", 1.0)], &[("GROUP", 64.0), ("LANES", 64.0)]]),
];

fn read(stem: &str) -> String {
    let path = format!("{}/shaders/{stem}.wgsl", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_file_is_valid_for_its_overrides() {
    for (stem, overrides) in OVERRIDES {
        let source = format!("{}\n{}", read("common"), read(stem));
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|error| panic!("{stem}.wgsl: {}", error.emit_to_string(&source)));
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
        let info = validator
            .validate(&module)
            .unwrap_or_else(|error| panic!("{stem}.wgsl: {}", error.emit_to_string(&source)));
        for overrides in *overrides {
            let constants: PipelineConstants =
                overrides.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
            if let Err(error) = process_overrides(&module, &info, None, &constants) {
                panic!("{stem}.wgsl with {overrides:?}: {error}");
            }
        }
    }
}

#[test]
fn every_file_is_listed() {
    let files = fs::read_dir(format!("{}/shaders", env!("CARGO_MANIFEST_DIR"))).expect("the folder is there");
    for file in files {
        let name = file.expect("it can be read").file_name().into_string().expect("a plain name");
        let stem = name.strip_suffix(".wgsl").expect("only WGSL files are here");
        assert!(
            stem == "common" || OVERRIDES.iter().any(|(listed, _)| *listed == stem),
            "{name} is not validated"
        );
    }
}

/// WGSL wants barriers in uniform control flow, and naga does not check it: no barrier may follow a `return` in the
/// entry point, nor stand in a branch on anything but the overrides.
#[test]
fn barriers_stand_in_uniform_control_flow() {
    for (stem, _) in OVERRIDES {
        let source = read(stem);
        let mut blocks: Vec<&str> = Vec::new();
        let mut returned = false;
        for line in source.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
            if line.starts_with("fn ") {
                returned = false;
            }
            returned |= line.contains("return;") && !line.contains("LANES ==");
            if line.contains("Barrier()") {
                let uniform = |block: &&&str| {
                    block.starts_with("fn ")
                        || block.starts_with(')') // the end of a longer head
                        || block.starts_with("if (LANES")
                        || block.starts_with("for (var half = LANES")
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
