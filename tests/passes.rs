//! What each pass of the scheduler makes of five small programs, compared with `tests/passes/NAME.txt`.
//!
//! A change to a pass shows as a diff of these texts. `WGRAD_BLESS=1` rewrites them. They omit everything that a pass does
//! not change: items of a graph, and the code of a kernel.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use wgrad::nn::{Conv2d, Linear, Module, ReLU, Sequential};
use wgrad::optim::{Optimizer, SGD};
use wgrad::{AdapterKind, Device, Limits, Tensor, Var, autograd};

const COMMAND: &str = "WGRAD_BLESS=1 cargo test --release --test passes";

/// A program prints it after its operands are realized. Plans printed before are ignored.
const MARKER: &str = "the program starts here";

/// How lines of a kernel's code begin.
const CODE: &str = "    ";

fn device() -> Device {
    Device::null(Limits { kind: AdapterKind::Discrete, storage_buffers: 32, ..Limits::webgpu() })
}

fn leaf(shape: &[usize], device: &Device) -> Tensor {
    Tensor::new(vec![0f32; shape.iter().product()], shape, device)
}

/// Realizes the parameters of a model, so that the next plan contains only the training step.
fn trained(model: &Sequential) -> SGD {
    let params = model.params();
    params.iter().for_each(|param| drop(param.tensor().realize().unwrap().clone()));
    eprintln!("{MARKER}");
    SGD::new(params, 0.1)
}

/// Realizes several tensors in one run.
fn realize_all(tensors: Vec<Tensor>) {
    let vars: Vec<Var> = tensors.into_iter().map(Var::buffer).collect();
    vars[0].tensor().realize().unwrap();
}

#[test]
#[ignore = "a child process of `the_printed_form_after_each_pass` runs it"]
fn mlp_step() {
    let device = device();
    let (x, classes) = (leaf(&[2, 4], &device), Tensor::new([0, 2], [2], &device));
    let model = Sequential::new().add(Linear::new(4, 8, &device)).add(ReLU).add(Linear::new(8, 3, &device));
    let mut optimizer = trained(&model);
    let loss = model.forward(&x).cross_entropy(&classes);
    loss.backward();
    optimizer.step();
}

#[test]
#[ignore = "a child process of `the_printed_form_after_each_pass` runs it"]
fn softmax() {
    let x = leaf(&[2, 32 << 10], &device());
    eprintln!("{MARKER}");
    // Rows that are reduced in two stages, and a value that is large enough to be deferred.
    let scaled = &x * 0.5;
    let softmax = {
        let exp = (&scaled - scaled.amax(1, true)).exp();
        &exp / exp.sum_dim(1, true)
    };
    softmax.realize().unwrap();
}

#[test]
#[ignore = "a child process of `the_printed_form_after_each_pass` runs it"]
fn layer_norm_backward() {
    let device = device();
    let [x, weight, bias] = [&[4, 6][..], &[6], &[6]].map(|shape| leaf(shape, &device).requires_grad());
    let gradient = leaf(&[4, 6], &device);
    eprintln!("{MARKER}");
    let y = x.layer_norm([6], Some(&weight), Some(&bias), 1e-5);
    let gradients = autograd::grad_with(&y, &gradient, &[&x, &weight, &bias], false);
    drop(y);
    realize_all(gradients.into_iter().flatten().collect());
}

#[test]
#[ignore = "a child process of `the_printed_form_after_each_pass` runs it"]
fn conv_step() {
    let device = device();
    let x = leaf(&[1, 1, 5, 5], &device);
    let model = Sequential::new().add(Conv2d::new(1, 2, [3, 3], &device)).add(ReLU);
    let mut optimizer = trained(&model);
    let loss = model.forward(&x).mean();
    loss.backward();
    optimizer.step();
}

#[test]
#[ignore = "a child process of `the_printed_form_after_each_pass` runs it"]
fn attention() {
    let device = device();
    let [queries, keys, values] = [3, 4, 4].map(|rows| leaf(&[rows, 8], &device).requires_grad());
    let gradient = leaf(&[3, 8], &device);
    eprintln!("{MARKER}");
    let scores = queries.matmul(&keys.t()) * 0.5;
    let exp = (&scores - scores.amax(1, true)).exp();
    let y = (&exp / exp.sum_dim(1, true)).matmul(&values);
    drop((scores, exp));
    let gradients = autograd::grad_with(&y, &gradient, &[&queries, &keys, &values], false);
    realize_all(gradients.into_iter().flatten().chain([y]).collect());
}

/// Runs a program in a separate process, because `WGRAD_LOG` is read once per process. Returns the text of the last plan.
fn forms(program: &str) -> String {
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", program, "--ignored", "--nocapture"])
        .env("WGRAD_LOG", "after:all")
        .env("WGRAD_FUSE", "1")
        .output()
        .unwrap();
    assert!(child.status.success(), "{program}: {child:?}");
    let text = String::from_utf8(child.stderr).unwrap();
    let (_, text) = text.split_once(MARKER).unwrap_or_else(|| panic!("{program} ran no test: {text}"));
    let start = text.rfind("wgrad: after pending").unwrap_or_else(|| panic!("{program} made no plan"));
    let lines: Vec<String> = text[start..].lines().map(without_place).collect();
    let passes: Vec<&[String]> = lines.chunk_by(|_, next| !next.starts_with("wgrad: after ")).collect();
    let before = std::iter::once(&[][..]).chain(passes.iter().map(|pass| &pass[1..]));
    passes
        .iter()
        .zip(before)
        .map(|(pass, before)| pass[0].clone() + "\n" + &changes(&pass[1..], before))
        .collect()
}

/// The form after a pass without the entries that the form `before` also has.
fn changes(form: &[String], before: &[String]) -> String {
    if form == before {
        return "unchanged\n\n".to_owned();
    }
    let is_graph = |form: &[String]| form.first().is_some_and(|line| line.starts_with('%'));
    let mut text = String::new();
    if is_graph(form) && is_graph(before) {
        let removed = before.iter().filter(|line| !form.contains(line)).map(|line| format!("- {line}\n"));
        let added = form.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}\n"));
        text.extend(removed.chain(added));
        return text + "\n";
    }
    // A kernel is a line, and below it lines that are indented.
    let kernels = |form| <[String]>::chunk_by(form, |_, next: &String| next.starts_with(' '));
    for kernel in kernels(form) {
        let is_known = kernels(before).any(|other| other[1..] == kernel[1..]);
        let lines = kernel.iter().filter(|line| !is_known || !line.starts_with(CODE));
        text.extend(lines.map(|line| format!("{line}\n")));
    }
    text
}

/// A line without the user's file and line at its end, so that edits of this file do not change the golden texts.
fn without_place(line: &str) -> String {
    let Some((form, comment)) = line.rsplit_once("  # ") else { return line.to_owned() };
    match comment.split_once(" at ") {
        Some((op, _)) => format!("{form}  # {op}"),
        None => form.to_owned(),
    }
}

#[test]
fn the_printed_form_after_each_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/passes");
    for program in ["mlp_step", "softmax", "layer_norm_backward", "conv_step", "attention"] {
        let file = folder.join(program).with_extension("txt");
        let found = forms(program);
        if env::var_os("WGRAD_BLESS").is_some() {
            fs::write(&file, &found).expect("the folder is there");
        }
        let golden = fs::read_to_string(&file).unwrap_or_default();
        let (mut found, mut golden) = (found.lines(), golden.lines());
        let mut pass = "";
        for line in 1.. {
            let (found, golden) = (found.next(), golden.next());
            pass = found.and_then(|text| text.strip_prefix("wgrad: after ")).unwrap_or(pass);
            assert!(
                found == golden,
                "tests/passes/{program}.txt, line {line}, after {pass}:\n  golden: {}\n  found:  {}\n\
                 If the change is intended: {COMMAND}",
                golden.unwrap_or("the end"),
                found.unwrap_or("the end")
            );
            if found.is_none() {
                break;
            }
        }
    }
}

/// ARCHITECTURE.md shows the output of the passes.
#[test]
fn architecture_md_shows_the_forms_of_softmax() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/ARCHITECTURE.md")).unwrap();
    let golden = include_str!("passes/softmax.txt");
    let blocks: Vec<&str> =
        text.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 7, "{} blocks", blocks.len());
    for line in blocks.iter().flat_map(|block| block.lines()) {
        assert!(golden.lines().any(|known| known == line), "{line:?} is in no form of softmax");
    }
}
