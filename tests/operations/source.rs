//! What the source text says there is: the public functions of `Tensor`, and the names of the graph's operations.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

pub type Names = BTreeSet<String>;

/// The text of each file in `src/`, without comments and tests.
fn files() -> Vec<String> {
    fn collect(folder: &Path, texts: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("it can be read").path();
            if path.ends_with("tests") {
                continue;
            } else if path.is_dir() {
                collect(&path, texts);
            } else {
                let text = fs::read_to_string(&path).expect("source is text");
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                texts.push(code.collect::<Vec<_>>().join("\n"));
            }
        }
    }
    let mut texts = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
    texts
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The identifier at the start of the text.
fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The methods of the elementwise rows: `    Tanh tanh Float {`.
pub fn rows() -> Names {
    let table = file("src/graph/table.rs");
    let row = |line: &str| {
        let mut words = line.strip_prefix("    ")?.strip_suffix('{')?.split_whitespace();
        let (variant, method, accepts) = (words.next()?, words.next()?, words.next()?);
        let named = variant == identifier(variant) && method == identifier(method);
        (named && ["Float", "Signed", "Numeric", "Logic", "Any"].contains(&accepts))
            .then(|| method.to_owned())
    };
    table.lines().filter_map(row).collect()
}

/// Every public function of `Tensor`: those in `impl Tensor` blocks, and the rows'.
pub fn functions() -> Names {
    let mut names = rows();
    for text in files() {
        let mut inside = false;
        for line in text.lines() {
            match line {
                "impl Tensor {" => inside = true,
                "}" => inside = false,
                _ => {}
            }
            let public = line.strip_prefix("    pub fn ").or(line.strip_prefix("    pub async fn "));
            names.extend(public.filter(|_| inside).map(identifier));
        }
    }
    names
}

/// The text between the first quotation marks.
fn quoted(text: &str) -> Option<String> {
    Some(text.split('"').nth(1)?.to_owned())
}

/// The names in the arms of a file's `name`: `Op::Where => "where",`.
fn arms(path: &str) -> Names {
    let arm = |line: &str| {
        let (pattern, name) = line.trim().split_once(" => ")?;
        (pattern.starts_with("Op::") || pattern.starts_with("Move::")).then(|| quoted(name)).flatten()
    };
    file(path).lines().filter_map(arm).collect()
}

/// Movement operations, which are index arithmetic of their consumers.
pub fn moves() -> Names {
    arms("src/graph/view.rs")
}

/// Fused operations, which have kernels of their own.
pub fn fused() -> Names {
    let mut names = Names::new();
    for text in files() {
        for implementation in text.split("impl Fused for ").skip(1) {
            // A name for each kind of the operation.
            let body = implementation.split("fn name(").nth(1).and_then(|rest| rest.split("\n    }").next());
            names.extend(
                body.into_iter().flat_map(|body| body.split('"').skip(1).step_by(2)).map(str::to_owned),
            );
        }
    }
    names
}

/// The name of every operation that a node of the graph can have: `Op` and `Move` say theirs in `name`, fused operations
/// in their files, rows in the table.
pub fn nodes() -> Names {
    [rows(), arms("src/graph/node.rs"), moves(), fused()].into_iter().flatten().collect()
}
