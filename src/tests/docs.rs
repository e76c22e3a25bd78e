//! Tests that public functions document their errors and panics.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Functions with `#[track_caller]` that only record the caller's line and do not panic.
const NO_PANICS: [&str; 1] = ["scalar"];

#[test]
fn public_functions_document_errors_and_panics() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let public = Public::of(&fs::read_to_string(root.join("src/lib.rs")).unwrap());
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    let (mut errors, mut panics, mut missing) = (0, 0, Vec::new());
    for path in files {
        let file = path.strip_prefix(root).unwrap().display().to_string();
        for function in functions(&fs::read_to_string(&path).unwrap()) {
            if !public.has(&file, &function) {
                continue;
            }
            let Function { name, line, .. } = &function;
            errors += usize::from(function.returns_result);
            panics += usize::from(function.is_tracked);
            if function.returns_result && !function.docs.contains("/// # Errors") {
                missing.push(format!("{file}:{line}: {name} returns Result and has no # Errors"));
            }
            let panics = function.is_tracked && !NO_PANICS.contains(&name.as_str());
            if panics && !function.docs.contains("/// # Panics") {
                missing.push(format!("{file}:{line}: {name} is #[track_caller] and has no # Panics"));
            }
        }
    }
    println!("{errors} public functions return Result, {panics} have #[track_caller]");
    assert!(errors > 40 && panics > 210, "the scan finds only {errors} and {panics} functions");
    assert!(missing.is_empty(), "undocumented:\n{}", missing.join("\n"));
}

/// The public names of the crate.
struct Public {
    /// Path prefixes of the files of public modules.
    modules: Vec<String>,
    /// Types and functions that `lib.rs` exports by name.
    names: BTreeSet<String>,
}

impl Public {
    fn of(lib: &str) -> Public {
        let public = lib.lines().filter_map(|line| line.strip_prefix("pub "));
        let (uses, modules): (Vec<&str>, Vec<&str>) = public.partition(|item| item.starts_with("use "));
        let modules = modules.iter().filter_map(|item| item.strip_prefix("mod ")?.strip_suffix(';'));
        let names = uses.iter().flat_map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_'));
        Public {
            modules: modules.chain(["tensor"]).map(|module| format!("src/{module}")).collect(),
            names: names.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        }
    }

    fn has(&self, file: &str, function: &Function) -> bool {
        let is_module = |module: &String| {
            file.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with(['/', '.']))
        };
        self.modules.iter().any(is_module)
            || self.names.contains(function.of.as_ref().unwrap_or(&function.name))
    }
}

/// A `pub fn`, or a method that a public trait declares.
struct Function {
    name: String,
    line: usize,
    /// The type of the surrounding `impl` block.
    of: Option<String>,
    /// The function's comments and attributes.
    docs: String,
    returns_result: bool,
    is_tracked: bool,
}

fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut found, mut of, mut in_public_trait) = (Vec::new(), None, false);
    for (i, line) in lines.iter().enumerate() {
        if !line.is_empty() && !line.starts_with([' ', '}']) {
            in_public_trait = line.starts_with("pub trait ");
            of = line.strip_prefix("impl").and_then(implementing);
        }
        let declared = line.trim_start();
        let declared = match declared.strip_prefix("pub ") {
            None if in_public_trait => declared,
            public => public.unwrap_or_default(),
        };
        let declared =
            ["const ", "async "].iter().find_map(|word| declared.strip_prefix(word)).unwrap_or(declared);
        let Some(rest) = declared.strip_prefix("fn ") else { continue };
        let is_note = |line: &&&str| line.trim_start().starts_with(['#', '/', '$']);
        let mut docs: Vec<&str> = lines[..i].iter().rev().take_while(is_note).copied().collect();
        docs.reverse();
        let docs = docs.join("\n");
        let after = lines[i..].iter();
        let signature = after.clone().take_while(|line| !line.trim_end().ends_with(['{', ';', '}'])).count();
        let signature: String = after.take(signature + 1).copied().collect();
        found.push(Function {
            name: rest.split(['(', '<']).next().unwrap_or_default().to_owned(),
            line: i + 1,
            of: of.clone(),
            returns_result: signature.contains("-> Result<"),
            is_tracked: docs.contains("#[track_caller]"),
            docs,
        });
    }
    found
}

/// Returns the type of an `impl` block, given the text after `impl` in its first line.
fn implementing(header: &str) -> Option<String> {
    let header = header.split('{').next().unwrap_or_default();
    let of = header.rsplit(" for ").next()?.split_whitespace().last()?;
    Some(of.split('<').next().unwrap_or_default().to_owned())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
