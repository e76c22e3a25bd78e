//! Programming mistakes panic in the caller's line, and the message names the operation and
//! what did not fit.

mod common;

use common::refusal::{Refusal, refused};
use wgrad::optim::{OneCycleLR, Schedule};
use wgrad::{
    CrossEntropyOptions, DType, Device, Limits, Reduction, Tensor, Var, autograd, autograd::functional,
};

type Mistake = (&'static str, fn(&Device), &'static [&'static str]);

fn floats(shape: &[usize], device: &Device) -> Tensor {
    Tensor::zeros(shape, device)
}

fn ints(shape: &[usize], device: &Device) -> Tensor {
    Tensor::new(vec![0i32; shape.iter().product()], shape, device)
}

/// A mistake, and the parts of its message: the operation first.
const MISTAKES: &[Mistake] = &[
    ("too few elements", |d| drop(Tensor::new([1.0], [2, 2], d)), &["tensor", "1 elements", "[2, 2]"]),
    ("a negative size", |d| drop(Tensor::zeros([2, -1], d)), &["zeros", "-1"]),
    (
        "broadcasting",
        |d| drop(floats(&[2, 3], d) + floats(&[2, 4], d)),
        &["add", "[2, 3]", "[2, 4]", "3 against 4"],
    ),
    ("broadcasting back", |d| drop(floats(&[3], d).powf(floats(&[2], d))), &["powf", "[3]", "[2]"]),
    ("two dtypes", |d| drop(floats(&[2], d) * ints(&[2], d)), &["mul", "f32[2]", "i32[2]", "to_dtype"]),
    ("a row's dtype", |d| drop(ints(&[2], d).exp()), &["exp", "i32[2]"]),
    ("a division of integers", |d| drop(ints(&[2], d) / ints(&[2], d)), &["div", "i32[2]"]),
    ("a logic of floats", |d| drop(floats(&[2], d).logical_and(floats(&[2], d))), &["logical_and", "f32[2]"]),
    ("half an integer", |d| drop(ints(&[2], d) + 0.5), &["add", "0.5", "i32[2]"]),
    ("a number for a bool", |d| drop(ints(&[2], d).eq(1).eq(1.0)), &["eq", "bool[2]"]),
    ("a condition", |d| drop(floats(&[2], d).where_(1.0, 2.0)), &["where", "f32[2]"]),
    ("branches", |d| drop(ints(&[2], d).eq(0).where_(floats(&[3], d), 0.0)), &["where", "[2]", "[3]"]),
    ("a dim", |d| drop(floats(&[2, 3], d).sum_dim(2, false)), &["sum", "dim 2", "[2, 3]"]),
    (
        "a dim twice",
        |d| drop(floats(&[2, 3], d).mean_dim([1, -1], false)),
        &["mean", "[1, -1]", "[2, 3]", "twice"],
    ),
    ("a mean of integers", |d| drop(ints(&[2], d).mean()), &["mean", "i32[2]"]),
    ("a maximum of nothing", |d| drop(floats(&[0, 2], d).amax(0, false)), &["amax", "f32[0, 2]"]),
    ("a minimum of nothing", |d| drop(floats(&[0, 2], d).amin((), false)), &["amin", "f32[0, 2]"]),
    ("a minimum of bools", |d| drop(ints(&[2], d).eq(0).amin((), false)), &["amin", "bool[2]"]),
    ("argmax along no dim", |d| drop(floats(&[2], d).argmax(1, false)), &["argmax", "dim 1", "[2]"]),
    ("argmin along no dim", |d| drop(floats(&[2], d).argmin(-2, false)), &["argmin", "dim -2", "[2]"]),
    ("softmax along no dim", |d| drop(floats(&[2], d).softmax(3)), &["softmax", "dim 3", "[2]"]),
    ("log_softmax along no dim", |d| drop(floats(&[2], d).log_softmax(3)), &["log_softmax", "dim 3", "[2]"]),
    ("logsumexp along no dim", |d| drop(floats(&[2], d).logsumexp(3, false)), &["logsumexp", "dim 3", "[2]"]),
    ("var along no dim", |d| drop(floats(&[2], d).var(3, 1.0, false)), &["var", "dim 3", "[2]"]),
    ("reshape", |d| drop(floats(&[2, 3], d).reshape([4, 2])), &["reshape", "f32[2, 3]", "[4, 2]"]),
    ("reshape with two unknowns", |d| drop(floats(&[2, 3], d).reshape([-1, -1])), &["reshape", "[-1, -1]"]),
    ("permute", |d| drop(floats(&[2, 3], d).permute([0, 0])), &["permute", "[0, 0]", "[2, 3]"]),
    ("permute along no dim", |d| drop(floats(&[2, 3], d).permute([0, 2])), &["permute", "dim 2", "[2, 3]"]),
    ("t of a vector", |d| drop(floats(&[2], d).t()), &["t:", "f32[2]"]),
    ("expand", |d| drop(floats(&[2, 3], d).expand([2, 4])), &["expand", "f32[2, 3]", "[2, 4]"]),
    ("expand to fewer dims", |d| drop(floats(&[2, 3], d).expand([3])), &["expand", "f32[2, 3]", "[3]"]),
    ("narrow", |d| drop(floats(&[2, 3], d).narrow(1, 2, 2)), &["narrow", "dim 1", "f32[2, 3]"]),
    ("select", |d| drop(floats(&[2, 3], d).select(0, 2)), &["select", "index 2", "f32[2, 3]"]),
    ("slice by 0", |d| drop(floats(&[2], d).slice(0, None, None, 0)), &["slice", "step 0", "f32[2]"]),
    ("pad", |d| drop(floats(&[2], d).pad([1, 1, 1])), &["pad", "[1, 1, 1]", "f32[2]"]),
    ("pad that crops too much", |d| drop(floats(&[2], d).pad([-2, -1])), &["pad", "[-2, -1]", "f32[2]"]),
    ("unsqueeze", |d| drop(floats(&[2], d).unsqueeze(3)), &["unsqueeze", "dim 3", "f32[2]"]),
    ("flatten", |d| drop(floats(&[2, 3], d).flatten(1, 0)), &["flatten", "f32[2, 3]"]),
    (
        "cat",
        |d| drop(Tensor::cat(&[&floats(&[2, 3], d), &floats(&[3, 2], d)], 0)),
        &["cat", "[2, 3]", "[3, 2]"],
    ),
    ("cat of nothing", |_| drop(Tensor::cat(&[], 0)), &["cat"]),
    ("stack", |d| drop(Tensor::stack(&[&floats(&[2], d), &floats(&[3], d)], 0)), &["stack", "[2]", "[3]"]),
    (
        "matmul",
        |d| drop(floats(&[2, 3], d).matmul(&floats(&[4, 5], d))),
        &["matmul", "[2, 3]", "[4, 5]", "3 against 4"],
    ),
    (
        "matmul's batches",
        |d| drop(floats(&[2, 3, 3], d).matmul(&floats(&[4, 3, 3], d))),
        &["matmul", "[2", "[4"],
    ),
    ("matmul of integers", |d| drop(ints(&[2, 2], d).matmul(&ints(&[2, 2], d))), &["matmul", "i32[2, 2]"]),
    ("matmul of a scalar", |d| drop(floats(&[], d).matmul(&floats(&[2], d))), &["matmul", "f32[]", "f32[2]"]),
    (
        "linear",
        |d| drop(floats(&[2, 3], d).linear(&floats(&[5, 4], d), None)),
        &["linear", "[2, 3]", "[5, 4]"],
    ),
    (
        "linear's bias",
        |d| drop(floats(&[2, 3], d).linear(&floats(&[5, 3], d), Some(&floats(&[3], d)))),
        &["linear", "f32[3]", "[5, 3]"],
    ),
    ("a float index", |d| drop(floats(&[2], d).gather(0, &floats(&[2], d))), &["gather", "f32[2]"]),
    (
        "gather's ranks",
        |d| drop(floats(&[2, 2], d).gather(0, &ints(&[2], d))),
        &["gather", "i32[2]", "f32[2, 2]"],
    ),
    (
        "gather's sizes",
        |d| drop(floats(&[2, 2], d).gather(0, &ints(&[2, 3], d))),
        &["gather", "i32[2, 3]", "f32[2, 2]"],
    ),
    (
        "an index out of range",
        |d| drop(floats(&[3], d).gather(0, &Tensor::new([0, 3], [2], d))),
        &["gather", "index 3", "i32[2]", "there are 3"],
    ),
    (
        "a negative index",
        |d| drop(floats(&[3, 2], d).index_select(0, &Tensor::new([0, -1], [2], d))),
        &["index_select", "index -1", "i32[2]"],
    ),
    (
        "a token out of range",
        |d| drop(Tensor::new([5], [1], d).embedding(&floats(&[5, 2], d))),
        &["embedding", "index 5", "there are 5"],
    ),
    ("an embedding's weight", |d| drop(ints(&[1], d).embedding(&floats(&[5], d))), &["embedding", "f32[5]"]),
    (
        "rows by floats",
        |d| drop(floats(&[3], d).index_select(0, &floats(&[2], d))),
        &["index_select", "f32[2]"],
    ),
    ("tokens as floats", |d| drop(floats(&[1], d).embedding(&floats(&[5, 2], d))), &["embedding", "f32[1]"]),
    (
        "a padding row that is not there",
        |d| drop(ints(&[1], d).embedding_padded(&floats(&[5, 2], d), 5)),
        &["embedding_padded", "5", "f32[5, 2]"],
    ),
    ("pad_value's pairs", |d| drop(floats(&[2], d).pad_value([1], 0.5)), &["pad_value", "[1]", "f32[2]"]),
    ("half a limit of integers", |d| drop(ints(&[2], d).clamp(0.5, 2)), &["clamp:", "0.5", "i32[2]"]),
    ("a power of integers below 1", |d| drop(ints(&[2], d).pow(-2)), &["pow:", "i32[2]"]),
    (
        "an attention's batches",
        |d| {
            let [q, k] = [2, 5].map(|batch| floats(&[batch, 3, 4], d));
            drop(q.scaled_dot_product_attention(&k, &k, None, false, None));
        },
        &["scaled_dot_product_attention", "f32[2, 3, 4]", "f32[5, 3, 4]"],
    ),
    (
        "an attention's mask of integers",
        |d| {
            let q = floats(&[3, 4], d);
            drop(q.scaled_dot_product_attention(&q, &q, Some(&ints(&[3, 3], d)), false, None));
        },
        &["scaled_dot_product_attention", "i32[3, 3]", "[3, 3]"],
    ),
    (
        "a loss's weight",
        |d| {
            let (x, weight) = (floats(&[2, 3], d), floats(&[2], d));
            drop(x.binary_cross_entropy_with_logits(&x, Some(&weight), None, Reduction::Mean));
        },
        &["binary_cross_entropy_with_logits", "f32[2]", "f32[2, 3]"],
    ),
    (
        "a weight for other classes",
        |d| {
            let classes =
                CrossEntropyOptions { weight: Some(floats(&[2], d)), ..CrossEntropyOptions::default() };
            drop(floats(&[4, 3], d).nll_loss(&ints(&[4], d), &classes));
        },
        &["nll_loss", "f32[2]", "f32[4, 3]"],
    ),
    (
        "a rate after the cycle",
        |_| assert!(OneCycleLR::new(0.1, 10).lr(11) > 0.0),
        &["OneCycleLR", "step 11", "10"],
    ),
    (
        "scatter_add",
        |d| drop(floats(&[3], d).scatter_add(0, &ints(&[4], d), &floats(&[2], d))),
        &["scatter_add", "i32[4]", "f32[2]", "f32[3]"],
    ),
    (
        "a class out of range",
        |d| drop(floats(&[2, 3], d).cross_entropy(&Tensor::new([0, 3], [2], d))),
        &["cross_entropy", "3", "i32[2]", "there are 3"],
    ),
    (
        "classes for another batch",
        |d| drop(floats(&[2, 3], d).cross_entropy(&ints(&[3], d))),
        &["cross_entropy", "f32[2, 3]", "i32[3]"],
    ),
    (
        "classes as floats",
        |d| drop(floats(&[2, 3], d).cross_entropy(&floats(&[2], d))),
        &["cross_entropy", "f32[2, 3]", "f32[2]"],
    ),
    ("backward from many", |d| floats(&[2], d).requires_grad().exp().backward(), &["backward", "f32[2]"]),
    ("backward without history", |d| floats(&[], d).backward(), &["backward", "f32[]"]),
    (
        "a gradient of another shape",
        |d| {
            let y = floats(&[2], d).requires_grad().exp();
            autograd::backward(&[&y], &[&floats(&[3], d)], false);
        },
        &["backward", "f32[3]", "f32[2]"],
    ),
    (
        "tangents for other inputs",
        |d| drop(functional::jvp(|x| x[0].exp(), &[&floats(&[2], d)], &[])),
        &["jvp", "1 inputs", "0 vectors"],
    ),
    (
        "a vector of another shape",
        |d| drop(functional::hvp(|x| x[0].sum(), &[&floats(&[2], d)], &[&floats(&[3], d)])),
        &["hvp", "f32[3]", "f32[2]"],
    ),
    (
        "the Hessian of many",
        |d| drop(functional::hvp(|x| x[0].exp(), &[&floats(&[2], d)], &[&floats(&[2], d)])),
        &["hvp", "one element, got f32[2]"],
    ),
    ("a gradient of integers", |d| drop(ints(&[2], d).requires_grad()), &["requires_grad", "i32[2]"]),
    ("an item of many", |d| drop(floats(&[2], d).item()), &["item", "f32[2]"]),
    ("another dtype read", |d| drop(floats(&[2], d).to_vec::<i32>()), &["to_vec", "f32[2]", "i32"]),
    (
        "a place of another shape",
        |d| Var::buffer(floats(&[2], d)).set(floats(&[3], d)),
        &["set", "f32[2]", "f32[3]"],
    ),
    (
        "a place of another dtype",
        |d| Var::buffer(floats(&[2], d)).set(ints(&[2], d)),
        &["set", "f32[2]", "i32[2]"],
    ),
];

#[test]
fn mistakes_panic_in_the_callers_line() {
    let device = Device::cpu();
    let mut complaints = String::new();
    for (name, mistake, parts) in MISTAKES {
        let Err(Refusal { message, file }) = refused(|| mistake(&device)) else {
            complaints += &format!("{name}: not refused\n");
            continue;
        };
        let named = message.starts_with(parts[0]) && parts.iter().all(|part| message.contains(part));
        if !named || !file.ends_with("errors.rs") {
            complaints += &format!("{name}: \"{message}\" in {file}, wanted {parts:?}\n");
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

#[test]
fn two_devices_do_not_mix() {
    let other = Device::null(Limits::webgpu());
    let (x, y) = (floats(&[2], &Device::cpu()), floats(&[2], &other));
    let index = ints(&[2], &other);
    let attempts: [(&str, &dyn Fn()); 5] = [
        ("add", &|| drop(&x + &y)),
        ("matmul", &|| drop(x.matmul(&y))),
        ("cat", &|| drop(Tensor::cat(&[&x, &y], 0))),
        ("gather", &|| drop(x.gather(0, &index))),
        ("where", &|| drop(x.lt(1.0).where_(&y, 0.0))),
    ];
    for (op, attempt) in attempts {
        let Refusal { message, .. } = refused(attempt).expect_err(op);
        for part in [op, "CPU reference", "null device", "f32[2]"] {
            assert!(message.contains(part), "{op}: \"{message}\" does not name {part}");
        }
    }
}

/// Building a tensor that exceeds the binding limit panics, in every way of building one.
#[test]
fn a_tensor_over_the_binding_limit_panics() {
    let device = Device::null(Limits { binding_bytes: 4096, ..Limits::webgpu() });
    let row = Tensor::zeros([1024], &device);
    let column = Tensor::zeros([1024, 1], &device);
    let attempts: [(&str, &dyn Fn()); 10] = [
        ("tensor", &|| drop(Tensor::new(vec![0f32; 1025], [1025], &device))),
        ("zeros", &|| drop(Tensor::zeros([33, 33], &device))),
        ("randn", &|| drop(Tensor::randn([33, 33], &device))),
        ("add", &|| drop(&row + &column)),
        ("matmul", &|| drop(column.matmul(&row.unsqueeze(0)))),
        ("expand", &|| drop(row.expand([2, 1024]))),
        ("pad", &|| drop(row.pad([1, 0]))),
        ("cat", &|| drop(Tensor::cat(&[&row, &row], 0))),
        ("cat", &|| drop(Tensor::cat(&[&row; 9], 0))),
        ("where", &|| drop(column.lt(0.5).where_(&row, 0.0))),
    ];
    let mut complaints = String::new();
    for (op, attempt) in attempts {
        match refused(attempt) {
            Err(Refusal { message, .. })
                if message.contains("4096") && message.contains("max_storage_buffer_binding_size") => {}
            Err(Refusal { message, .. }) => complaints += &format!("{op}: \"{message}\"\n"),
            Ok(()) => complaints += &format!("{op}: not refused\n"),
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
    // A tensor at the limit is allowed, and an expanded one is not written: here 16 batches of one matrix.
    assert_eq!((&row + 1.0).to_dtype(DType::I32).numel(), 1024);
    let matrix = row.reshape([32, 32]);
    matrix.matmul(&Tensor::zeros([16, 32, 1], &device)).realize().unwrap();
    assert!(device.counters().bytes_peak < 3 * 4096, "{} bytes", device.counters().bytes_peak);
}

/// Failures of the environment are errors that say what to do, not panics.
#[test]
fn errors_say_what_to_do() {
    let none = wgrad::Error::NoAdapter { backends: "VULKAN".into() }.to_string();
    assert!(none.contains("mesa-vulkan-drivers") && none.contains("VULKAN"), "{none}");
}
