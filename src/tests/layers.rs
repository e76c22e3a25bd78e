//! The layers of the crate: each stands on others, and the `use` lines of its files name nothing else.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Each layer, and those that it stands on: it may import from these, and from what they stand on.
#[rustfmt::skip]
const LAYERS: [(&str, &[&str]); 17] = [
    ("core", &[]),                              // shapes, dtypes, limits, errors, random numbers: plain values
    ("graph", &["core"]),                       // nodes, views and values; the device as a handle
    ("tensor", &["graph"]),                     // methods that check shapes and build nodes; what a fused operation is
    ("autograd", &["tensor"]),                  // gradients, which are graph
    ("ops", &["autograd"]),                     // the operations that have kernels of their own
    ("ir", &["graph"]),                         // kernels and plans: plain data
    ("schedule", &["ir"]),                      // from the pending graph to a plan
    ("backend", &["schedule"]),                 // what every backend does
    ("gpu", &["backend"]),                      // plans on wgpu
    ("cpu", &["backend"]),                      // the reference
    ("null", &["backend"]),                     // counts
    ("runtime", &["ops", "gpu", "cpu", "null"]), // the devices: the only room that knows all backends
    ("nn", &["runtime"]),                       // from here on the public API alone
    ("data", &["runtime"]),
    ("io", &["nn", "data"]),
    ("optim", &["io"]),
    ("metrics", &["io"]),
];

/// The most files that may import one another in a circle.
const MAX_CIRCLE: usize = 8;

#[test]
fn imports_only_go_down() {
    let wrong: Vec<String> =
        Crate::read().imports().into_iter().filter_map(|import| import.fault()).collect();
    assert!(wrong.is_empty(), "imports that leave their layer:\n{}", wrong.join("\n"));
}

#[test]
fn circles_are_small() {
    let imports = Crate::read().imports();
    let circles = circles(&imports);
    let large: Vec<_> = circles.iter().filter(|circle| circle.len() > MAX_CIRCLE).collect();
    circles.iter().for_each(|circle| println!("{} files: {}", circle.len(), circle.join(" ")));
    assert!(large.is_empty(), "circles of more than {MAX_CIRCLE} files: {large:#?}");
}

/// One file names another.
struct Import {
    from: String,
    to: String,
    file: String,
    line: usize,
    path: String,
}

impl Import {
    /// What is wrong with it, if it leaves its layer.
    fn fault(&self) -> Option<String> {
        let [from, to] = [&self.from, &self.to].map(|module| module.split("::").next().unwrap_or_default());
        let is_wrong = !from.is_empty() && from != to && !foundations(from).contains(to);
        is_wrong.then(|| {
            let Import { file, line, path, .. } = self;
            format!("{file}:{line} imports {path}, but {from} does not stand on {to}")
        })
    }
}

/// Everything that a layer stands on.
fn foundations(layer: &str) -> BTreeSet<&'static str> {
    // A module that is no layer stands on the leaves alone.
    let below = LAYERS.iter().find(|(name, _)| *name == layer).map_or(&["core"][..], |(_, below)| below);
    below.iter().flat_map(|below| foundations(below).into_iter().chain([*below])).collect()
}

type Edges<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The groups of files that reach each other by imports, the largest first.
fn circles(imports: &[Import]) -> Vec<Vec<&str>> {
    let mut edges = Edges::new();
    for import in imports {
        edges.entry(&import.from).or_default().insert(&import.to);
    }
    let reach: Edges = edges.keys().map(|&module| (module, reached(&edges, module))).collect();
    let circle = |module: &&str| -> Vec<&str> {
        let comes_back = |other: &&&str| reach.get(**other).is_some_and(|back| back.contains(module));
        reach[module].iter().filter(comes_back).copied().collect()
    };
    let circles: BTreeSet<Vec<&str>> = reach.keys().map(circle).filter(|circle| circle.len() > 1).collect();
    let mut circles: Vec<Vec<&str>> = circles.into_iter().collect();
    circles.sort_by_key(|circle| Reverse(circle.len()));
    circles
}

fn reached<'a>(edges: &Edges<'a>, start: &'a str) -> BTreeSet<&'a str> {
    let mut stack: Vec<&str> = vec![start];
    let mut seen = BTreeSet::new();
    while let Some(module) = stack.pop() {
        stack.extend(edges.get(module).into_iter().flatten().filter(|next| seen.insert(**next)));
    }
    seen
}

/// The source: the code of each module, and where the names that it re-exports are defined.
struct Crate {
    modules: BTreeMap<String, Module>,
}

struct Module {
    file: String,
    /// Every path that the code names, with its line, and whether a `pub use` names it.
    paths: Vec<(Vec<String>, usize, bool)>,
}

impl Crate {
    fn read() -> Crate {
        let mut files = Vec::new();
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
        let module = |(file, text): (String, String)| {
            let name = file.trim_end_matches(".rs");
            let name = if name == "lib" { "" } else { name.strip_suffix("/mod").unwrap_or(name) };
            (name.replace('/', "::"), Module { paths: paths(&without_tests(&text)), file })
        };
        Crate { modules: files.into_iter().map(module).collect() }
    }

    fn imports(&self) -> Vec<Import> {
        let of = |(from, module): (&String, &Module)| {
            let import = |(path, line, is_public): &(Vec<String>, usize, bool)| {
                let to = self.resolve(from, path)?;
                // A facade: a module that hands on what its own parts define does not depend on them.
                let is_facade = *is_public && to.starts_with(&join(from, ""));
                let file = format!("src/{}", module.file);
                let import = Import { from: from.clone(), to, file, line: *line, path: path.join("::") };
                (import.to != *from && !is_facade).then_some(import)
            };
            module.paths.iter().filter_map(import).collect::<Vec<_>>()
        };
        self.modules.iter().flat_map(of).collect()
    }

    /// The module whose file defines what a path names; `None` if that is in another crate.
    fn resolve(&self, from: &str, path: &[String]) -> Option<String> {
        let (mut at, mut rest) = match path.first()?.as_str() {
            "crate" => (String::new(), &path[1..]),
            "self" => (from.to_owned(), &path[1..]),
            "super" => (parent(from), &path[1..]),
            first if self.modules.contains_key(&join(from, first)) => (from.to_owned(), path),
            _ => return None,
        };
        while let Some((name, later)) = rest.split_first() {
            let child = join(&at, name);
            if name == "self" {
            } else if name == "super" {
                at = parent(&at);
            } else if self.modules.contains_key(&child) {
                at = child;
            } else {
                let exported = self.modules[&at]
                    .paths
                    .iter()
                    .find(|(path, _, is_public)| *is_public && path.len() > 1 && path.last() == Some(name));
                return exported.and_then(|(path, ..)| self.resolve(&at, path)).or(Some(at));
            }
            rest = later;
        }
        Some(at)
    }
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

fn parent(module: &str) -> String {
    module.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned())
}

/// The files of a folder and their texts, tests left out.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("the source is there") {
        let path = entry.expect("it can be read").path();
        let name = format!("{prefix}{}", path.file_name().expect("it has a name").display());
        if path.is_dir() && !name.ends_with("tests") {
            collect(&path, &format!("{name}/"), files);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            files.push((name, fs::read_to_string(&path).expect("source is text")));
        }
    }
}

/// The code, with blanks in place of comments and of items for tests: lines keep their numbers.
fn without_tests(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut rest = &lines.collect::<Vec<_>>().join("\n")[..];
    let mut code = String::new();
    while let Some((before, item)) = rest.split_once("#[cfg(test)]") {
        let mut depth = 0;
        let end = item.find(|c: char| {
            depth += i32::from("{([".contains(c)) - i32::from("})]".contains(c));
            (depth == 0 && ";,}".contains(c)) || depth < 0
        });
        let (item, after) = item.split_at(end.map_or(item.len(), |end| end + 1));
        code.extend([before, &"\n".repeat(item.matches('\n').count())]);
        rest = after;
    }
    code + rest
}

/// The paths of `use` items, and those in the code itself, each with its line and whether it is handed on.
fn paths(code: &str) -> Vec<(Vec<String>, usize, bool)> {
    let mut found = Vec::new();
    let mut lines = code.lines().zip(1..);
    while let Some((text, line)) = lines.next() {
        let segments = |path: &str| path.split("::").map(|name| name.trim().to_owned()).collect();
        let (head, tree) = text.split_once("use ").unwrap_or((text, ""));
        if tree.is_empty() || !["", "pub", "pub(crate)", "pub(super)"].contains(&head.trim()) {
            let words = text.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
            let paths = words.map(|word| word.trim_matches(':')).filter(|word| word.contains("::"));
            found.extend(paths.map(|path| (segments(path), line, false)));
            continue;
        }
        let mut tree = tree.to_owned();
        while !tree.contains(';') {
            tree += lines.next().expect("a use item has an end").0;
        }
        let paths = expand(tree.trim_end_matches(';'));
        found.extend(paths.iter().map(|path| (segments(path), line, head.contains("pub"))));
    }
    found
}

/// `a::{b, c::{d, e}}` written out: `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, inner)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let (inner, _) = inner.rsplit_once('}').expect("a brace is closed");
    let mut depth = 0;
    let at_top = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    };
    let parts = inner.split(at_top).filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(&format!("{}{}", prefix.trim(), part.trim()))).collect()
}
