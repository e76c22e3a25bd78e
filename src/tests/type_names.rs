//! Each type name of the crate is defined once, so that a name always refers to the same type.

use std::collections::BTreeMap;

use super::imports::{SourceFile, source_files};

#[test]
fn a_type_name_is_defined_once() {
    let mut definitions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for SourceFile { path, code, .. } in source_files() {
        for (line, number) in code.lines().zip(1..) {
            if let Some(name) = defined_type(line) {
                definitions.entry(name.to_owned()).or_default().push(format!("{path}:{number}"));
            }
        }
    }
    assert!(definitions.len() > 200, "only {} types found", definitions.len());
    let twice: Vec<_> = definitions.into_iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(twice.is_empty(), "type names that are defined more than once: {twice:#?}");
}

#[test]
fn a_definition_is_recognized() {
    assert_eq!(defined_type("pub(crate) struct Shape(Sizes);"), Some("Shape"));
    assert_eq!(defined_type("    struct Restore<T>(T);"), Some("Restore"));
    assert_eq!(defined_type("type Sizes = [usize; 4];"), Some("Sizes"));
    assert_eq!(defined_type("    type Output = Tensor;"), None, "an associated type");
    assert_eq!(defined_type("pub struct $name;"), None, "a parameter of a macro");
    assert_eq!(defined_type("struct Element { x: f32, y: f32 }"), None, "WGSL in a string");
}

/// Returns the name of the type that a line defines.
fn defined_type(line: &str) -> Option<&str> {
    let visibility = line.trim_start();
    let item = match visibility.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => visibility,
    };
    let (keyword, rest) = item.split_once(' ')?;
    let defines = match keyword {
        "struct" | "enum" | "union" | "trait" => true,
        "type" => !line.starts_with(' '), // indented ones are associated types
        _ => false,
    };
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    // rustfmt writes one field per line, so a structure with its fields in one line is WGSL in a string.
    let is_wgsl = rest.contains(": ") && rest.ends_with('}');
    (defines && !is_wgsl && !name.is_empty()).then_some(name)
}
