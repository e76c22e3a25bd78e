//! Kernels that share a dispatch: one program with the text of each, under names of its own, and so many workgroups.
//!
//! In: programs that are generated from the same template. Out: one, in which a workgroup finds out whose it is. A branch
//! that all of a workgroup takes costs a GPU nothing, and a CPU adapter, which may walk through every branch, no loop.

use std::fmt::Write;

use rustc_hash::FxHashSet;

use super::COMMON;

/// Whatever kernels are put together, their parameters are called so.
const PARAMS: &str = "params";

/// One source of several. Its parameters are where the workgroups of each kernel end, and then those of each.
pub(crate) fn together(sources: &[&str]) -> String {
    let members: Vec<Vec<Declaration>> = sources.iter().map(|source| declarations(source)).collect();
    let own = own_names(&members);
    let ends: Vec<String> = (0..members.len()).map(|k| format!("end{k}: u32")).collect();
    let (mut params, mut text) = (ends.join(", "), String::new());
    let mut bindings = 1;
    for (k, declarations) in members.iter().enumerate() {
        for Declaration { name, text: declaration } in declarations {
            match *name {
                "Params" => {
                    let (_, fields) = declaration.split_once('{').expect("a struct has a body");
                    let fields = fields.trim_matches([' ', ',', '}', '\n']);
                    fields.split(", ").for_each(|field| write!(params, ", m{k}_{field}").expect("a string"));
                }
                PARAMS => {}
                name if declaration.contains("@binding") => {
                    let (_, variable) = declaration.split_once("var<").expect("a binding is a variable");
                    let variable = variable.replacen(name, &format!("{name}_{k}"), 1);
                    write!(text, "@group(0) @binding({bindings}) var<{variable}").expect("a string");
                    bindings += 1;
                }
                name if own.contains(name) => text += &renamed(declaration, &own, k),
                _ if k == 0 => text += declaration,
                _ => {}
            }
        }
    }
    let mut branches = String::new();
    for k in 0..members.len() {
        let start = k.checked_sub(1).map_or("0u".to_owned(), |before| format!("{PARAMS}.end{before}"));
        let (other, test) = (if k > 0 { " else " } else { "    " }, format!("group < {PARAMS}.end{k}"));
        write!(
            branches,
            "{other}if ({test}) {{\n        own.group = vec3(group - {start}, 0u, 0u);\n        main_{k}(own);\n    }}"
        )
        .expect("a string");
    }
    format!(
        "{COMMON}\nstruct Params {{ {params} }}\n@group(0) @binding(0) var<uniform> {PARAMS}: Params;\n{text}\n\
         @compute @workgroup_size(GROUP)\nfn main(place: Place) {{\n\
         \x20   let group = place.group.y * place.groups.x + place.group.x;\n    var own = place;\n{branches}\n}}\n"
    )
}

/// Something that a program declares.
struct Declaration<'a> {
    name: &'a str,
    text: &'a str,
}

/// All that a program declares beside what every kernel may call, its entry point without attributes among it.
fn declarations(source: &str) -> Vec<Declaration<'_>> {
    let source = source.strip_prefix(COMMON).expect("every kernel begins with it");
    let starts_one = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '@');
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        if starts_one(line) {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([source.len()]);
    let texts = starts.iter().zip(ends).map(|(&start, end)| &source[start..end]);
    texts
        .filter(|text| !text.starts_with("@compute"))
        .map(|text| Declaration { name: name(text), text })
        .collect()
}

/// What a declaration declares: the first word behind its keyword.
fn name(declaration: &str) -> &str {
    let head = match declaration.split_once("var<") {
        Some((_, variable)) => variable.split_once("> "),
        None => declaration.split_once(' '),
    };
    words(head.expect("a name follows").1).next().expect("a name follows")
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// What each kernel has for itself: its buffers and parameters, what differs, and what mentions any of these.
fn own_names<'a>(members: &[Vec<Declaration<'a>>]) -> FxHashSet<&'a str> {
    let first = &members[0];
    let mut own: FxHashSet<&str> = FxHashSet::default();
    own.insert("main");
    for Declaration { name, text } in members.iter().flatten() {
        let same = |other: &Declaration| other.name == *name && other.text == *text;
        if text.contains("@binding") || !members.iter().all(|member| member.iter().any(same)) {
            own.insert(name);
        }
    }
    own.remove("Params");
    loop {
        let mentions = |text: &str| words(text).any(|word| word == PARAMS || own.contains(word));
        let more: Vec<&str> =
            first.iter().filter(|d| !own.contains(d.name) && mentions(d.text)).map(|d| d.name).collect();
        if more.is_empty() {
            return own;
        }
        own.extend(more);
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

/// The text with kernel `k`'s own names, and its own parameters.
fn renamed(text: &str, own: &FxHashSet<&str>, k: usize) -> String {
    let mut renamed = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        let is_parameter = renamed.ends_with(&format!("{PARAMS}."));
        match word {
            _ if is_parameter => write!(renamed, "m{k}_{word}").expect("a string"),
            PARAMS => renamed += PARAMS,
            _ if own.contains(word) => write!(renamed, "{word}_{k}").expect("a string"),
            _ => renamed += word,
        }
        let next = behind.find(is_word).unwrap_or(behind.len());
        renamed += &behind[..next];
        rest = &behind[next..];
    }
    renamed
}
