//! The layers of the crate: each stands on others, and its files name nothing but these.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Import, Modules};

/// Each layer, and those that it stands on: its files may name these, and what they stand on.
#[rustfmt::skip]
const LAYERS: [(&str, &[&str]); 19] = [
    ("wgpu", &[]),                       // the crate of that name
    ("core", &[]),                       // plain values: shapes, dtypes, limits, errors, random numbers
    ("graph", &["core"]),                // nodes, views and values; the device as a handle
    // What builds the graph:
    ("tensor", &["graph"]),              // methods that check shapes and build nodes; what a fused operation is
    ("autograd", &["tensor"]),           // gradients, which are graph
    ("ops", &["autograd"]),              // the operations that have kernels of their own
    // What computes it:
    ("ir", &["graph"]),                  // kernels and plans: plain data
    ("schedule", &["ir"]),               // from the pending graph to a plan
    ("backend", &["schedule"]),          // what every backend does
    ("gpu", &["backend", "wgpu"]),       // plans on wgpu
    ("cpu", &["backend"]),               // the reference
    ("null", &["backend"]),              // counts
    // Both:
    ("runtime", &["ops", "gpu", "cpu", "null"]), // the devices: the only room that knows all backends
    // The public API alone:
    ("nn", &["runtime"]),                // layers
    ("data", &["runtime"]),              // loading
    ("io", &["nn", "data"]),             // files
    ("optim", &["io"]),                  // optimizers
    ("metrics", &["io"]),                // values gathered over an epoch
    ("report", &["core"]),               // what a run shows
];

/// The most files that may name one another in a circle.
const MAX_CIRCLE: usize = 8;

#[test]
fn imports_only_go_down() {
    let imports = Modules::read().imports();
    let wrong: Vec<String> = imports.iter().filter_map(fault).collect();
    assert!(wrong.is_empty(), "imports that leave their layer:\n{}", wrong.join("\n"));
}

#[test]
fn circles_are_small() {
    let imports = Modules::read().imports();
    let circles = circles(&imports);
    circles.iter().for_each(|circle| println!("{} files: {}", circle.len(), circle.join(" ")));
    let large: Vec<_> = circles.into_iter().filter(|circle| circle.len() > MAX_CIRCLE).collect();
    assert!(large.is_empty(), "circles of more than {MAX_CIRCLE} files: {large:#?}");
}

/// What is wrong with an import, if it leaves its layer. The root of the crate may name everything.
fn fault(Import { from, to, at, path }: &Import) -> Option<String> {
    let [from, to] = [from, to].map(|module| module.split("::").next().unwrap_or_default());
    let is_wrong = !from.is_empty() && from != to && !foundations(from).contains(to);
    is_wrong.then(|| format!("{at} imports {path}: the layer {from} does not stand on {to}"))
}

/// Everything that a layer stands on.
fn foundations(layer: &str) -> BTreeSet<&'static str> {
    let found = LAYERS.iter().find(|(name, _)| *name == layer);
    let (_, below) = found.unwrap_or_else(|| panic!("the list of layers lacks {layer}"));
    below.iter().flat_map(|below| foundations(below).into_iter().chain([*below])).collect()
}

type ImportGraph<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The groups of files that reach each other by imports, the largest first.
fn circles(imports: &[Import]) -> Vec<Vec<&str>> {
    let mut edges = ImportGraph::new();
    for import in imports {
        edges.entry(&import.from).or_default().insert(&import.to);
    }
    let reach: ImportGraph = edges.keys().map(|&module| (module, reached(&edges, module))).collect();
    let circle = |module: &&str| -> Vec<&str> {
        let comes_back = |other: &&&str| reach.get(**other).is_some_and(|back| back.contains(module));
        reach[module].iter().filter(comes_back).copied().collect()
    };
    let circles: BTreeSet<Vec<&str>> = reach.keys().map(circle).filter(|circle| !circle.is_empty()).collect();
    let mut circles: Vec<Vec<&str>> = circles.into_iter().collect();
    circles.sort_by_key(|circle| Reverse(circle.len()));
    circles
}

fn reached<'a>(edges: &ImportGraph<'a>, start: &'a str) -> BTreeSet<&'a str> {
    let mut stack = vec![start];
    let mut seen = BTreeSet::new();
    while let Some(module) = stack.pop() {
        stack.extend(edges.get(module).into_iter().flatten().filter(|next| seen.insert(**next)));
    }
    seen
}
