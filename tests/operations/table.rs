//! The table of operations in the documentation, written from the list, from the examples' graphs, and from their errors.

use std::fmt::Write;
use std::sync::LazyLock;
use std::{env, fs};

use wgrad::{DType, Device, Tensor, autograd};

use super::accuracy::{self, ulp};
use super::common::{Host, gpu};
use super::list::{OPERATIONS, Operation};
use super::node_names;
use super::source::{self, Names};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
const COMMAND: &str = "WGRAD_BLESS=1 cargo test --release --test operations table";

const HEAD: &str = "\
# Operations

Written by `tests/operations/table.rs` from the list of operations and what their examples show; a test compares.

* **Gradient**: the operation's *rule*, in a kernel of its *own* where that is named, or *composed* of the rules of what it is composed
  of; or why there is none. A gradient is graph, so it has a gradient too.
* **Kernel**: its *own*, written by hand; *generated* for one node, which shares it with what is around it; *composed* of several such;
  *none* where only indices change, or the host makes the values.
* **Error** in ulp, units in the last place of the right result in f32: the bound on every GPU, and the largest measured on llvmpipe and
  on the CPU with each node rounded to f32. Elementwise, over operands of every size and both signs (`tests/operations/accuracy.rs`);
  of the others, whose terms may cancel, that of an example in ulp of its largest result.

| operation | shapes | dtypes | gradient | kernel | error, at most | llvmpipe | CPU |
|---|---|---|---|---|---|---|---|
";

/// Examples are a few dozen roundings long, which mostly cancel, and a division may be off by 2.5 ulp.
const EXAMPLE_BOUND: f64 = 8.0;

struct Row {
    /// What does not depend on the adapter.
    text: String,
    gpu: f64,
    cpu: f64,
}

impl Row {
    fn of(op: &Operation) -> Row {
        let example = op.example(&Device::cpu());
        let dtypes: Vec<String> = op.dtypes.iter().map(DType::to_string).collect();
        let bound = match op.ulps {
            Some(ulps) => ulps,
            None if example.dtype() == DType::F32 && !computing(&example).is_empty() => EXAMPLE_BOUND,
            None => 0.0,
        };
        let measured = |device: &Device, bound: f64| {
            let (error, what) = match op.ulps {
                Some(_) => accuracy::worst(op, device),
                None => (op.example_error(device), format!("the example of {}", op.call)),
            };
            // The f64 that is rounded to f32 has been rounded itself.
            assert!(error <= bound + 1e-6, "{what} on {device}: off by {error} ulp, not {bound}");
            error
        };
        let text = format!(
            "| `{}` | `{}` | {} | {} | {} | {bound} |",
            op.call,
            op.shapes,
            dtypes.join(", "),
            op.gradient(&example),
            kernel(&example),
        );
        // On the CPU one node is one rounding.
        let rounded = if op.ulps.is_some() && !op.is_composed() { bound.min(0.5) } else { bound };
        Row { text, gpu: measured(&gpu(), bound), cpu: measured(&Device::cpu_rounded(), rounded) }
    }
}

impl Operation {
    fn example(&self, device: &Device) -> Tensor {
        match self.dtypes.contains(&DType::F32) {
            true => (self.apply)(&self.leaves(device)),
            false => self.of_dtype(self.dtypes[0], device),
        }
    }

    /// How far the example's results are off, in ulp of the largest.
    fn example_error(&self, device: &Device) -> f64 {
        let [got, want] = [device, &Device::cpu()].map(|device| Host::read(&self.example(device)).data);
        let largest = want.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        got.iter().zip(&want).map(|(got, want)| (got - want).abs() / ulp(largest)).fold(0.0, f64::max)
    }

    pub fn is_composed(&self) -> bool {
        computing(&self.example(&Device::cpu())).len() > 1
    }

    fn gradient(&self, example: &Tensor) -> String {
        if let Some(why) = self.constant {
            return format!("none: {why}");
        }
        let operand = self.leaves(example.device());
        let result = (self.apply)(&operand);
        let gradient = autograd::grad_with(&result, &result.ones_like(), &[&operand[0]], true);
        let names = gradient[0].as_ref().map(node_names).unwrap_or_default();
        match names.iter().find(|name| own(name) && !node_names(&result).contains(name)) {
            Some(own) => format!("own: {own}"),
            None if self.is_composed() => "composed".to_owned(),
            None => "rule".to_owned(),
        }
    }
}

/// The nodes of an example that compute something: leaves do not, and movement, a split too, is index arithmetic.
fn computing(example: &Tensor) -> Vec<String> {
    static IDLE: LazyLock<Names> = LazyLock::new(|| {
        let others = ["input", "const", "scalar", "iota", "random", "split"];
        source::moves().into_iter().chain(others.map(str::to_owned)).collect()
    });
    node_names(example).into_iter().filter(|name| !IDLE.contains(name)).collect()
}

/// Whether an operation has a kernel written by hand.
fn own(name: &str) -> bool {
    static FUSED: LazyLock<Names> = LazyLock::new(source::fused);
    FUSED.contains(name) || name == "matmul"
}

fn kernel(example: &Tensor) -> String {
    let nodes = computing(example);
    match (nodes.iter().find(|name| own(name)), nodes.len()) {
        (Some(own), _) => format!("own: {own}"),
        (None, 0) => "none".to_owned(),
        (None, 1) => "generated".to_owned(),
        (None, _) => "composed".to_owned(),
    }
}

/// Upwards, to a tenth.
fn rounded(error: f64) -> f64 {
    ((error - 1e-6) * 10.0).ceil().max(0.0) / 10.0
}

/// Writes `docs/operations.md` where it is told to, else compares: without the measured errors, which are an adapter's own.
#[test]
fn the_table_of_operations_is_up_to_date() {
    let rows: Vec<Row> = OPERATIONS.iter().map(Row::of).collect();
    if env::var_os("WGRAD_BLESS").is_some() {
        let adapter = gpu().to_string();
        assert!(adapter.contains("llvmpipe"), "the errors in {PATH} are llvmpipe's, not those of {adapter}");
        let mut table = HEAD.to_owned();
        for row in &rows {
            writeln!(table, "{} {} | {} |", row.text, rounded(row.gpu), rounded(row.cpu))
                .expect("a string takes text");
        }
        fs::write(PATH, table).expect("the folder is there");
    }
    let written = fs::read_to_string(PATH).unwrap_or_default();
    let same = written.strip_prefix(HEAD).is_some_and(|table| {
        table.lines().count() == rows.len()
            && table.lines().zip(&rows).all(|(line, row)| line.starts_with(&row.text))
    });
    assert!(same, "docs/operations.md is out of date: {COMMAND}");
}
