//! A printable summary of a model.

use std::cell::RefCell;
use std::fmt;

use super::module::{Mode, Module, Visitor, address};
use crate::core::grad_mode::no_grad;
use crate::core::shape::Spec;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// The modules of a model with their outputs for an example input, and the numbers of parameters. [`summary`] creates a
/// `Summary`, which `{}` prints.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The modules. Each module is followed by its submodules.
    pub rows: Vec<Row>,
    /// The number of elements of all parameters. Shared parameters are counted once.
    pub parameters: usize,
    /// The number of elements of the parameters that are not frozen.
    pub trained: usize,
    /// Size of all parameters and buffers in bytes.
    pub bytes: usize,
}

/// A module in a [`Summary`].
#[derive(Clone, Debug)]
pub struct Row {
    /// The number of enclosing modules.
    pub depth: usize,
    /// The module's name in the enclosing module; empty for the outermost module.
    pub name: String,
    /// The kind of the module.
    pub kind: String,
    /// The shape and dtype of the module's output, for layers of this crate and for the outermost module.
    pub output: Option<Spec>,
    /// The number of elements of the module's own parameters, excluding submodules.
    pub parameters: usize,
    /// Size of the module's own parameters, buffers and output in bytes.
    pub bytes: usize,
}

/// Runs a model on an example input and lists its modules. Nothing is computed and nothing changes: the forward pass
/// only builds a graph, in evaluation mode.
///
/// ```
/// use wgrad::nn::{Linear, ReLU, Sequential, summary};
/// use wgrad::{Device, Tensor};
/// let dev = Device::cpu();
/// let model = Sequential::new().add(Linear::new(64, 128, &dev)).add(ReLU).add(Linear::new(128, 10, &dev));
/// let table = summary(&model, &Tensor::zeros([32, 64], &dev)).to_string();
/// assert_eq!(table, "\
/// module       output        parameters    memory
/// Sequential   f32[32, 10]            0   1.2 KiB
///   0 Linear   f32[32, 128]       8,320  48.5 KiB
///   1 ReLU     f32[32, 128]           0  16.0 KiB
///   2 Linear   f32[32, 10]        1,290   6.3 KiB
/// 9,610 parameters, 9,610 of them trained, in 37.5 KiB
/// ");
/// ```
///
/// # Panics
///
/// Panics if the forward pass of the model panics.
#[track_caller]
pub fn summary(model: &dyn Module, x: &Tensor) -> Summary {
    let Visitor { modules, modes, vars, .. } = Visitor::walk(model);
    let watch = Watch::start(&modes);
    let output = no_grad(|| model.forward(x));
    let mut outputs = watch.outputs();
    outputs.push((model.kind(), address(model), output.spec().clone()));

    let rows = modules.into_iter().map(|seen| {
        let called = outputs.iter().position(|(kind, at, _)| (kind, at) == (&seen.kind, &seen.address));
        let output = called.map(|at| outputs.remove(at).2);
        let bytes = bytes(&seen.vars) + output.as_ref().map_or(0, Spec::bytes);
        let parameters = numel(seen.vars.iter().filter(|var| var.is_parameter()));
        Row { depth: seen.depth, name: seen.name, kind: seen.kind, output, parameters, bytes }
    });
    let rows = rows.collect();
    let mut distinct: Vec<Var> = Vec::new();
    for (_, var) in vars {
        if !distinct.iter().any(|other| other.same(&var)) {
            distinct.push(var);
        }
    }
    Summary {
        rows,
        parameters: numel(distinct.iter().filter(|var| var.is_parameter())),
        trained: numel(distinct.iter().filter(|var| var.trains())),
        bytes: bytes(&distinct),
    }
}

fn numel<'a>(vars: impl Iterator<Item = &'a Var>) -> usize {
    vars.map(|var| var.tensor().numel()).sum()
}

fn bytes(vars: &[Var]) -> usize {
    vars.iter().map(|var| var.tensor().spec().bytes()).sum()
}

/// The kind, address and output of each module, in the order of calls.
type RecordedOutputs = Vec<(String, usize, Spec)>;

thread_local! {
    static RECORDED: RefCell<Option<RecordedOutputs>> = const { RefCell::new(None) };
}

/// Records the output of a layer while a summary is being made.
pub(super) fn record_output<M: Module>(module: &M, output: Tensor) -> Tensor {
    RECORDED.with_borrow_mut(|outputs| {
        if let Some(outputs) = outputs {
            outputs.push((module.kind(), address(module), output.spec().clone()));
        }
    });
    output
}

/// Records outputs and switches the modules to evaluation mode until the `Watch` is dropped, even if the forward pass
/// panics.
struct Watch<'a>(Vec<(&'a Mode, bool)>);

impl Watch<'_> {
    fn start(modes: &[Mode]) -> Watch<'_> {
        RECORDED.set(Some(Vec::new()));
        let before = modes.iter().map(|mode| (mode, mode.training())).collect();
        modes.iter().for_each(|mode| mode.set(false));
        Watch(before)
    }

    fn outputs(self) -> RecordedOutputs {
        RECORDED.take().unwrap_or_default()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        RECORDED.set(None);
        self.0.iter().for_each(|(mode, training)| mode.set(*training));
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let head = ["module", "output", "parameters", "memory"].map(str::to_owned);
        let cells = self.rows.iter().map(|row| {
            let label = format!("{:indent$}{} {}", "", row.name, row.kind, indent = 2 * row.depth);
            let label = if row.depth == 0 { row.kind.clone() } else { label };
            let output = row.output.as_ref().map_or(String::new(), Spec::to_string);
            [label, output, thousands(row.parameters), kibibytes(row.bytes)]
        });
        let cells: Vec<[String; 4]> = std::iter::once(head).chain(cells).collect();
        let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(width);
        for [label, output, parameters, memory] in &cells {
            let [a, b, c, d] = widths;
            writeln!(f, "{label:a$}   {output:b$}  {parameters:>c$}  {memory:>d$}")?;
        }
        let (parameters, trained) = (thousands(self.parameters), thousands(self.trained));
        writeln!(f, "{parameters} parameters, {trained} of them trained, in {}", kibibytes(self.bytes))
    }
}

/// Formats a number with thousands separators, such as `12,345`.
fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// Formats a size in the smallest unit in which it is below 1024, such as `1.5 KiB`.
fn kibibytes(bytes: usize) -> String {
    let units = ["KiB", "MiB", "GiB"];
    let (mut size, mut unit) = (bytes as f64 / 1024.0, 0);
    while size >= 1024.0 && unit + 1 < units.len() {
        (size, unit) = (size / 1024.0, unit + 1);
    }
    format!("{size:.1} {}", units[unit])
}
