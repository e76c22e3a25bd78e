//! Kernels that share a dispatch: one program with the text of each, under names of its own, and so many workgroups.
//!
//! In: programs that are generated from the same template. Out: one, in which a workgroup finds out whose it is. All of
//! a workgroup takes the same branch. That costs a GPU nothing; a CPU adapter may walk through the other branches too, but
//! not through their loops.

use rustc_hash::FxHashSet;

use super::COMMON;

/// All kernels' parameters are members of one block.
const PARAMS: &str = "params";

/// One source from several. Its parameters are where the workgroups of each kernel end, and then those of each.
pub(crate) fn together(sources: &[&str]) -> String {
    let members: Vec<Vec<Declaration>> = sources.iter().map(|source| declarations(source)).collect();
    let own = own_names(&members);
    let mut params: Vec<String> = (0..members.len()).map(|k| format!("end{k}: u32")).collect();
    let (mut text, mut bindings) = (String::new(), 0);
    for (k, declarations) in members.iter().enumerate() {
        for Declaration { name, text: declaration } in declarations {
            match *name {
                "Params" => params.extend(fields(declaration).map(|field| format!("m{k}_{field}"))),
                PARAMS => {}
                name if declaration.contains("@binding") => {
                    bindings += 1;
                    let (_, variable) = declaration.split_once("var<").expect("a binding is a variable");
                    let variable = variable.replacen(name, &format!("{name}_{k}"), 1);
                    text += &format!("@group(0) @binding({bindings}) var<{variable}");
                }
                name if own.contains(name) => text += &renamed(declaration, &own, k),
                _ if k == 0 => text += declaration,
                _ => {}
            }
        }
    }
    let (params, entry) = (params.join(", "), entry(members.len()));
    format!(
        "{COMMON}\nstruct Params {{ {params} }}\n@group(0) @binding(0) var<uniform> {PARAMS}: Params;\n{text}\n{entry}"
    )
}

/// Passes a workgroup on to the kernel whose it is.
fn entry(kernels: usize) -> String {
    let branch = |k: usize| {
        let start = k.checked_sub(1).map_or("0u".to_owned(), |before| format!("{PARAMS}.end{before}"));
        format!(
            "if (group < {PARAMS}.end{k}) {{\n        own.id = vec3(group - {start}, 0u, 0u);\n        main_{k}(own, invocation);\n    }}"
        )
    };
    let branches: Vec<String> = (0..kernels).map(branch).collect();
    format!(
        "@compute @workgroup_size(GROUP)\nfn main(workgroup: Workgroup, invocation: Invocation) {{\n    var own = workgroup;\n    \
         let group = workgroup.id.y * workgroup.count.x + workgroup.id.x;\n    {}\n}}\n",
        branches.join(" else ")
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

/// The members of a struct of scalars.
fn fields(declaration: &str) -> impl Iterator<Item = &str> {
    let (_, fields) = declaration.split_once('{').expect("a struct has a body");
    fields.trim_matches([' ', ',', '}', '\n']).split(", ")
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// What each kernel has for itself: its buffers, what differs, and what mentions these or the parameters.
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
    loop {
        let mentions = |text: &str| words(text).any(|word| word == PARAMS || own.contains(word));
        let more: Vec<&str> =
            first.iter().filter(|d| !own.contains(d.name) && mentions(d.text)).map(|d| d.name).collect();
        if more.is_empty() {
            own.retain(|name| !["Params", PARAMS].contains(name));
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
            _ if is_parameter => renamed += &format!("m{k}_{word}"),
            _ if own.contains(word) => renamed += &format!("{word}_{k}"),
            _ => renamed += word,
        }
        let next = behind.find(is_word).unwrap_or(behind.len());
        renamed += &behind[..next];
        rest = &behind[next..];
    }
    renamed
}
