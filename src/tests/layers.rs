//! The layers of the crate: the files of a layer import only from that layer and the layers below it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Import, Modules};

/// Each layer, and the layers directly below it. A layer's files may import from all layers below it.
#[rustfmt::skip]
const LAYERS: [(&str, &[&str]); 19] = [
    ("wgpu", &[]),                       // the external crate `wgpu`
    ("core", &[]),                       // plain values: shapes, dtypes, limits, errors, random numbers
    ("graph", &["core"]),                // nodes, views and values; the device handle
    // Layers that build the graph:
    ("tensor", &["graph"]),              // methods that check shapes and build nodes; the trait of fused operations
    ("autograd", &["tensor"]),           // gradients, which extend the graph
    ("ops", &["autograd"]),              // fused operations, which have their own kernels
    // Layers that compute the graph:
    ("ir", &["graph"]),                  // kernels and plans: plain data
    ("schedule", &["ir"]),               // from the pending graph to a plan
    ("backend", &["schedule"]),          // the interface of backends
    ("gpu", &["backend", "wgpu"]),       // plans on wgpu
    ("cpu", &["backend"]),               // the CPU reference
    ("null", &["backend"]),              // the null device, which only counts
    // The layer above both groups:
    ("runtime", &["ops", "gpu", "cpu", "null"]), // the devices: the only layer that depends on all backends
    // Built on the public API only:
    ("nn", &["runtime"]),                // layers
    ("data", &["runtime"]),              // datasets and loaders
    ("io", &["nn", "data"]),             // saving, loading and checkpoints
    ("optim", &["io"]),                  // optimizers
    ("metrics", &["io"]),                // values accumulated over an epoch
    ("report", &["core"]),               // the output of a run
];

/// Maximum number of files in an import cycle.
const MAX_CYCLE_FILES: usize = 8;

#[test]
fn imports_only_go_down() {
    let imports = Modules::read().imports();
    let wrong: Vec<String> = imports.iter().filter_map(fault).collect();
    assert!(wrong.is_empty(), "imports that leave their layer:\n{}", wrong.join("\n"));
}

#[test]
fn import_cycles_are_small() {
    let imports = Modules::read().imports();
    let cycles = cycles(&imports);
    cycles.iter().for_each(|cycle| println!("{} files: {}", cycle.len(), cycle.join(" ")));
    let large: Vec<_> = cycles.into_iter().filter(|cycle| cycle.len() > MAX_CYCLE_FILES).collect();
    assert!(large.is_empty(), "cycles of more than {MAX_CYCLE_FILES} files: {large:#?}");
}

/// Returns a message if an import violates the layers. The root of the crate may import everything.
fn fault(Import { from, to, at, path }: &Import) -> Option<String> {
    let [from, to] = [from, to].map(|module| module.split("::").next().unwrap_or_default());
    let is_wrong = !from.is_empty() && from != to && !layers_below(from).contains(to);
    is_wrong.then(|| format!("{at} imports {path}: the layer {to} is not below {from}"))
}

/// Returns all layers below a layer.
fn layers_below(layer: &str) -> BTreeSet<&'static str> {
    let found = LAYERS.iter().find(|(name, _)| *name == layer);
    let (_, below) = found.unwrap_or_else(|| panic!("the list of layers lacks {layer}"));
    below.iter().flat_map(|below| layers_below(below).into_iter().chain([*below])).collect()
}

type ImportGraph<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Finds the groups of files that reach each other through imports, largest group first.
fn cycles(imports: &[Import]) -> Vec<Vec<&str>> {
    let mut edges = ImportGraph::new();
    for import in imports {
        edges.entry(&import.from).or_default().insert(&import.to);
    }
    let reach: ImportGraph = edges.keys().map(|&module| (module, reached(&edges, module))).collect();
    let cycle = |module: &&str| -> Vec<&str> {
        let comes_back = |other: &&&str| reach.get(**other).is_some_and(|back| back.contains(module));
        reach[module].iter().filter(comes_back).copied().collect()
    };
    let cycles: BTreeSet<Vec<&str>> = reach.keys().map(cycle).filter(|cycle| !cycle.is_empty()).collect();
    let mut cycles: Vec<Vec<&str>> = cycles.into_iter().collect();
    cycles.sort_by_key(|cycle| Reverse(cycle.len()));
    cycles
}

fn reached<'a>(edges: &ImportGraph<'a>, start: &'a str) -> BTreeSet<&'a str> {
    let mut stack = vec![start];
    let mut seen = BTreeSet::new();
    while let Some(module) = stack.pop() {
        stack.extend(edges.get(module).into_iter().flatten().filter(|next| seen.insert(**next)));
    }
    seen
}
