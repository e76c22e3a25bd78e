//! Reads the source of the crate: its files, and the imports between them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A use of an item that is defined in another file.
pub struct Import {
    pub from: String,
    pub to: String,
    /// File and line.
    pub at: String,
    /// The path in the source text.
    pub path: String,
}

/// The modules of the crate by name (`graph::node`; the root's is empty), each with the paths in its code.
pub struct Modules(BTreeMap<String, Vec<Named>>);

struct Named {
    path: Vec<String>,
    at: String,
    /// Whether the path is in a `pub use`.
    is_public: bool,
}

impl Modules {
    pub fn read() -> Modules {
        let module = |file: SourceFile| (file.module, named(&file.code, &file.path));
        Modules(source_files().into_iter().map(module).collect())
    }

    pub fn imports(&self) -> Vec<Import> {
        let import = |(from, Named { path, at, is_public }): (&String, &Named)| {
            let to = self.resolve(from, path)?;
            // A module that re-exports items of its submodules does not depend on them.
            let is_reexport = *is_public && to.starts_with(&join(from, ""));
            let import = Import { from: from.clone(), to, at: at.clone(), path: path.join("::") };
            (import.to != import.from && !is_reexport).then_some(import)
        };
        let named = self.0.iter().flat_map(|(from, all)| all.iter().map(move |named| (from, named)));
        named.filter_map(import).collect()
    }

    /// Returns the module that defines the item of a path, or `wgpu`. Returns `None` for other crates.
    fn resolve(&self, from: &str, path: &[String]) -> Option<String> {
        let (mut at, mut rest) = match path.first()?.as_str() {
            "crate" => (String::new(), &path[1..]),
            "wgpu" => return Some("wgpu".to_owned()),
            "self" | "super" => (from.to_owned(), path),
            child if self.0.contains_key(&join(from, child)) => (from.to_owned(), path),
            _ => return None,
        };
        while let Some((name, later)) = rest.split_first() {
            let child = join(&at, name);
            match name.as_str() {
                "self" => {}
                "super" => at = at.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned()),
                _ if self.0.contains_key(&child) => at = child,
                _ => return self.exported(&at, name).or(Some(at)),
            }
            rest = later;
        }
        Some(at)
    }

    /// Returns the module that defines a name re-exported by `module`.
    fn exported(&self, module: &str, name: &str) -> Option<String> {
        let reexports = |named: &&Named| {
            named.is_public && named.path.len() > 1 && named.path.last().is_some_and(|last| last == name)
        };
        self.0[module].iter().find(reexports).and_then(|named| self.resolve(module, &named.path))
    }
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

/// A file of the crate.
pub struct SourceFile {
    /// The module defined by the file; empty for the root.
    pub module: String,
    /// The file's path in the repository.
    pub path: String,
    /// The file's code without comments and test items, with the same line numbers.
    pub code: String,
}

/// Reads the files of the crate, without tests.
pub fn source_files() -> Vec<SourceFile> {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).expect("the source is there") {
        let path = entry.expect("it can be read").path();
        let stem = path.file_stem().expect("it has a name").display().to_string();
        let module = match stem.as_str() {
            "tests" => continue,
            "mod" | "lib" => prefix.to_owned(),
            stem => join(prefix, stem),
        };
        if path.is_dir() {
            collect(&path, &module, files);
        } else {
            let text = fs::read_to_string(&path).expect("source is text");
            let path = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("it is in the crate");
            files.push(SourceFile { module, path: path.display().to_string(), code: without_tests(&text) });
        }
    }
}

/// Removes comments and test items from the code, and keeps the line numbers.
fn without_tests(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let text = lines.join("\n");
    let mut parts = text.split("#[cfg(test)]");
    let mut code = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut depth = 0;
        let is_end = |c: char| {
            depth += i32::from("{([".contains(c)) - i32::from("})]".contains(c));
            (depth == 0 && ";,}".contains(c)) || depth < 0
        };
        let (item, rest) = part.split_at(part.find(is_end).map_or(part.len(), |end| end + 1));
        code += &"\n".repeat(item.matches('\n').count());
        code += rest;
    }
    code
}

/// Finds the paths in the code: the paths in `use` items, and all other paths with `::`.
fn named(code: &str, file: &str) -> Vec<Named> {
    let mut found = Vec::new();
    let mut lines = code.lines().zip(1..);
    while let Some((text, line)) = lines.next() {
        let visibility = text.split_once("use ").map(|(before, _)| before.trim());
        let is_use = visibility.is_some_and(|before| before.is_empty() || before.starts_with("pub"));
        let mut text = text.to_owned();
        while is_use && !text.contains(';') {
            text += lines.next().expect("a use item has an end").0;
        }
        let paths = match text.split_once("use ") {
            Some((_, tree)) if is_use => expand(tree.trim_end_matches(';')),
            _ => text.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c)).map(str::to_owned).collect(),
        };
        for path in paths.iter().map(|path| path.trim_matches(':')).filter(|path| path.contains("::")) {
            let path = path.split("::").map(str::to_owned).collect();
            let is_public = visibility.is_some_and(|before| is_use && !before.is_empty());
            found.push(Named { path, at: format!("{file}:{line}"), is_public });
        }
    }
    found
}

/// Expands `a::{b, c::{d, e}}` to `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, inner)) = tree.split_once('{') else {
        return tree.trim().split(" as ").take(1).map(str::to_owned).collect();
    };
    let (inner, _) = inner.rsplit_once('}').expect("a brace is closed");
    let mut depth = 0;
    let is_comma = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    };
    let parts = inner.split(is_comma).filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(&format!("{}{}", prefix.trim(), part.trim()))).collect()
}
