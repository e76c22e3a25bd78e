//! The conformance cases through layers: if an operation has a layer, the layer gives PyTorch's results too.

use std::path::Path;

use wgrad::nn::*;
use wgrad::{Device, Tensor, Var, autograd};

use crate::case::{Case, Group};
use crate::compare;
use crate::guard::catch;
use crate::ops::Args;

/// A layer's results, and which of its places hold the operands: `None` for one that it was called with.
type Called = (Vec<Tensor>, Vec<Option<Var>>);

/// Puts the operands behind `called` into the places of these names, and calls the layer with those before.
fn layer(args: &Args, model: impl Module, called: usize, names: &[&str]) -> Called {
    let mut state = model.to_state_dict();
    for (tensor, name) in args.tensors[called..].iter().zip(names) {
        assert_eq!(tensor.is_some(), state.contains_key(*name), "{name} of {}", model.kind());
        state.extend(tensor.iter().map(|tensor| ((*name).to_owned(), tensor.clone())));
    }
    model.load_state_dict(&state).unwrap_or_else(|error| panic!("{error}"));
    let place = |name: &&str| model.named_vars().into_iter().find(|(own, _)| own == name).map(|(_, var)| var);
    let places = std::iter::repeat_n(None, called).chain(names.iter().map(place)).collect();
    let mut results = vec![model.forward(args.x(0))];
    if let Some(running_var) = model.to_state_dict().get("running_var") {
        results.extend([model.to_state_dict()["running_mean"].clone(), running_var.clone()]);
    }
    (results, places)
}

/// A layer or a loss without places.
fn plain(result: Tensor) -> Called {
    (vec![result], Vec::new())
}

/// The result of an operation's layer for a case; `None` if there is no such layer.
fn call(op: &str, a: &Args) -> Option<Called> {
    let device = a.device;
    let wb = ["weight", "bias"];
    // A layer with the places that the case has operands for.
    macro_rules! with {
        ($layer:expr, $i:literal $method:ident) => {
            if a.optional($i).is_none() { $layer.$method() } else { $layer }
        };
    }
    macro_rules! conv {
        ($layer:ident, $n:literal, $in:expr, $out:expr) => {{
            let (shape, conv) = (a.x(1).shape(), a.conv::<$n>());
            let sizes: [usize; 2] = [$in(shape, conv.groups), $out(shape, conv.groups)];
            let kernel = std::array::from_fn(|i| shape[2 + i]);
            let model = $layer::new(sizes[0], sizes[1], kernel, device).groups(conv.groups);
            let model = model.stride(conv.stride).padding(conv.padding).dilation(conv.dilation);
            let model = with!(model, 2 without_bias);
            // Only a transposed one pads its output.
            layer(a, $layer { conv, ..model }, 1, &wb)
        }};
    }
    macro_rules! batch_norm {
        ($layer:ident) => {{
            let model = $layer::new(a.x(0).size(1), device).eps(a.eps());
            let model = with!(model, 3 without_affine).momentum(a.attrs.number("momentum").unwrap_or(0.1));
            if !a.attrs.flag("training").unwrap_or(false) {
                model.eval();
            }
            let (mut results, places) =
                layer(a, model, 1, &["running_mean", "running_var", "weight", "bias"]);
            results.truncate(if a.attrs.flag("training").unwrap_or(false) { 3 } else { 1 });
            (results, places)
        }};
    }
    Some(match op {
        "linear" => {
            let model = Linear::new(a.x(1).size(1), a.x(1).size(0), device);
            layer(a, with!(model, 2 without_bias), 1, &wb)
        }
        "embedding" => {
            let model = Embedding::new(a.x(1).size(0), a.x(1).size(1), device);
            let model = match a.attrs.int("padding_idx") {
                Some(row) => model.padding(row.rem_euclid(a.x(1).size(0) as i64) as usize),
                None => model,
            };
            layer(a, model, 1, &wb)
        }

        "layer_norm" => {
            let model = LayerNorm::new(a.dims("normalized_shape"), device).eps(a.eps());
            layer(a, with!(with!(model, 2 without_bias), 1 without_affine), 1, &wb)
        }
        "rms_norm" => {
            let model = RMSNorm::new(a.dims("normalized_shape"), device).eps(a.eps());
            layer(a, with!(model, 1 without_affine), 1, &wb)
        }
        "group_norm" => {
            let model = GroupNorm::new(a.size("num_groups"), a.x(0).size(1), device).eps(a.eps());
            layer(a, with!(model, 1 without_affine), 1, &wb)
        }
        "batch_norm" if a.x(0).rank() == 4 => batch_norm!(BatchNorm2d),
        "batch_norm" => batch_norm!(BatchNorm1d),
        "dropout" => {
            let model = Dropout::new(a.number("p"));
            if !a.attrs.flag("training").unwrap_or(true) {
                model.eval();
            }
            plain(model.forward(a.x(0)))
        }

        "conv1d" => conv!(Conv1d, 1, |w: &[usize], groups| w[1] * groups, |w: &[usize], _| w[0]),
        "conv2d" => conv!(Conv2d, 2, |w: &[usize], groups| w[1] * groups, |w: &[usize], _| w[0]),
        "conv_transpose2d" => {
            conv!(ConvTranspose2d, 2, |w: &[usize], _| w[0], |w: &[usize], groups| w[1] * groups)
        }
        "max_pool2d" => plain(MaxPool2d(a.pool()).forward(a.x(0))),
        "avg_pool2d" => plain(AvgPool2d(a.pool()).forward(a.x(0))),
        "adaptive_avg_pool2d" => {
            let sizes = a.attrs.get("output_size").and_then(|sizes| sizes.as_array()).expect("two sizes");
            let size = |i: usize| sizes[i].as_u64().map(|size| size as usize);
            plain(AdaptiveAvgPool2d([size(0), size(1)]).forward(a.x(0)))
        }
        "scaled_dot_product_attention" => plain(attention(a)?),

        "relu" => plain(ReLU.forward(a.x(0))),
        "tanh" => plain(Tanh.forward(a.x(0))),
        "sigmoid" => plain(Sigmoid.forward(a.x(0))),
        "silu" => plain(SiLU.forward(a.x(0))),
        "gelu" => plain(GELU { tanh: a.attrs.text("approximate") == Some("tanh") }.forward(a.x(0))),
        "leaky_relu" => {
            let negative_slope =
                a.attrs.number("negative_slope").unwrap_or(LeakyReLU::default().negative_slope);
            plain(LeakyReLU { negative_slope }.forward(a.x(0)))
        }
        "elu" => {
            let alpha = a.attrs.number("alpha").unwrap_or(ELU::default().alpha);
            plain(ELU { alpha }.forward(a.x(0)))
        }
        "softplus" => {
            let Softplus { beta, threshold } = Softplus::default();
            let beta = a.attrs.number("beta").unwrap_or(beta);
            let threshold = a.attrs.number("threshold").unwrap_or(threshold);
            plain(Softplus { beta, threshold }.forward(a.x(0)))
        }
        "softmax" => plain(Softmax(a.dim("dim")).forward(a.x(0))),
        "log_softmax" => plain(LogSoftmax(a.dim("dim")).forward(a.x(0))),

        "cross_entropy" => plain(CrossEntropyLoss(a.classes()).forward(a.x(0), a.x(1))),
        "nll_loss" => plain(NLLLoss(a.classes()).forward(a.x(0), a.x(1))),
        "mse_loss" => plain(MSELoss(a.reduction()).forward(a.x(0), a.x(1))),
        "l1_loss" => plain(L1Loss(a.reduction()).forward(a.x(0), a.x(1))),
        "smooth_l1_loss" => {
            let beta = a.attrs.number("beta").unwrap_or(SmoothL1Loss::default().beta);
            plain(SmoothL1Loss { beta, reduction: a.reduction() }.forward(a.x(0), a.x(1)))
        }
        "huber_loss" => {
            let delta = a.attrs.number("delta").unwrap_or(HuberLoss::default().delta);
            plain(HuberLoss { delta, reduction: a.reduction() }.forward(a.x(0), a.x(1)))
        }
        "binary_cross_entropy_with_logits" => {
            let (weight, pos_weight) = (a.optional(2).cloned(), a.optional(3).cloned());
            let loss = BCEWithLogitsLoss { weight, pos_weight, reduction: a.reduction() };
            plain(loss.forward(a.x(0), a.x(1)))
        }
        "kl_div" => {
            let log_target = a.attrs.flag("log_target").unwrap_or(false);
            plain(KLDivLoss { log_target, reduction: a.reduction() }.forward(a.x(0), a.x(1)))
        }
        _ => return None,
    })
}

/// Several heads whose projections change nothing. They leave no scale to choose, and values are as wide as queries.
fn attention(a: &Args) -> Option<Tensor> {
    let [q, k, v] = [0, 1, 2].map(|i| a.x(i));
    if a.attrs.get("scale").is_some() || q.rank() != 4 || v.size(-1) != q.size(-1) {
        return None;
    }
    let (heads, width) = (q.size(1), q.size(3));
    let model = MultiheadAttention::new(heads * width, heads, a.device);
    let embed = heads * width;
    let one = |rows: usize| {
        let element = |i: usize| if i / embed % embed == i % embed { 1.0f32 } else { 0.0 };
        Tensor::new((0..rows * embed).map(element).collect::<Vec<f32>>(), [rows, embed], a.device)
    };
    model.in_proj_weight.set(one(3 * embed));
    model.out_proj.weight.set(one(embed));
    let joined = |x: &Tensor| x.transpose(1, 2).flatten(2, 3);
    let is_causal = a.attrs.flag("is_causal").unwrap_or(false);
    let y = model.forward(&joined(q), &joined(k), &joined(v), a.optional(3), is_causal);
    Some(y.reshape([q.size(0), q.size(2), heads, width]).transpose(1, 2))
}

/// The result of the case's layer; `None` if there is none.
fn check(case: &Case) -> Option<Result<(), String>> {
    let grads = case.list("grads");
    let wanted = |i: usize| grads.get(i).is_some_and(|want| !want.is_null());
    let operand = |(i, name): (usize, &serde_json::Value)| {
        let tensor = (!name.is_null()).then(|| case.tensor(name))?;
        Some(if wanted(i) { tensor.requires_grad() } else { tensor })
    };
    let tensors: Vec<Option<Tensor>> = case.list("inputs").iter().enumerate().map(operand).collect();
    let args = Args { tensors: &tensors, attrs: case.attrs(), device: case.device };
    let (results, places) = call(case.op(), &args)?;

    let one = |single: &str, several: &str| match &case.json[single] {
        serde_json::Value::Null => case.list(several).to_vec(),
        name => vec![name.clone()],
    };
    let (outputs, seeds) = (one("output", "outputs"), one("grad_output", "grad_outputs"));
    assert_eq!(results.len(), outputs.len(), "{}: results", case.id());
    if let Some(seed) = seeds.first() {
        autograd::backward(&[&results[0]], &[&case.tensor(seed)], false); // statistics have no gradient
    }
    Some((|| {
        for (i, (got, want)) in results.iter().zip(&outputs).enumerate() {
            compare::tensor(case, &format!("output {i}"), got, want)?;
        }
        for (i, want) in grads.iter().enumerate() {
            let gradient = match places.get(i).and_then(Option::as_ref) {
                Some(var) => var.grad(),
                None => tensors[i].as_ref().and_then(Tensor::grad),
            };
            compare::gradient(case, &format!("operand {i}"), gradient, want)?;
        }
        Ok(())
    })())
}

/// All cases of a group that have a layer, and how many they are.
fn group(name: &str, device: &Device, expected: usize) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance"));
    let group = Group::read(folder, name).unwrap_or_else(|error| panic!("{error:?}"));
    let (mut layers, mut failures) = (0, String::new());
    for json in &group.cases {
        let case = Case { group: &group, json, device };
        if json["inputs"].is_object() {
            continue; // a program is not one operation
        }
        let outcome = catch(|| check(&case)).unwrap_or_else(|fault| Some(Err(fault.to_string())));
        layers += usize::from(outcome.is_some());
        if let Some(Err(wrong)) = outcome {
            failures += &format!("\n  {}: {wrong}", case.id());
        }
    }
    assert!(failures.is_empty(), "{name}:{failures}");
    assert_eq!(layers, expected, "{name}: cases with a layer");
}

macro_rules! groups {
    ($($name:ident $expected:literal)*) => {
        mod on_cpu {
            $(#[test] fn $name() { super::group(stringify!($name), &wgrad::Device::cpu(), $expected); })*
        }
        mod on_gpu {
            $(#[test] fn $name() { super::group(stringify!($name), &crate::common::gpu(), $expected); })*
        }
    };
}
groups! { norm 49 conv 49 attention 23 loss 151 softmax 42 unary 73 matmul 8 indexing 8 }
