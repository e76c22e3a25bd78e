//! The pass `schedule/simplify`: each rule, common subexpressions, and that results keep every bit.

mod common;

use std::process::Command;

use common::{F32 as TOLERANCE, Host, gpu};
use wgrad::DType::{Bool, F32, I32, U32};
use wgrad::{AdapterKind, Device, GpuOptions, Limits, Tensor, Var, autograd};

/// A float operand: values for which rules of real arithmetic do not hold.
const X: [f32; 8] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, 1.5, -2.25, 3e38];
/// No value truncates to -0, which llvmpipe preserves in a cast through an integer.
const Y: [f32; 8] = [0.5, -1.5, 2.25, -3.75, 0.125, 7.0, -1.75, 1.0];
const N: [i32; 8] = [0, 1, -1, i32::MAX, i32::MIN, 7, -7, 2];

/// The inputs of a case, of one shape.
struct Operands {
    x: Tensor,
    y: Tensor,
    n: Tensor,
    b: Tensor,
    /// Reads constants from memory, where neither rules nor shader compilers see them.
    hides_constants: bool,
}

impl Operands {
    fn new(rows: usize, device: &Device) -> Operands {
        let [x, y] = [X, Y].map(|values| {
            let values: Vec<f32> = values.iter().copied().cycle().take(4 * rows).collect();
            Tensor::new(values, [rows, 4], device).requires_grad()
        });
        Operands::of(x, y)
    }

    fn of(x: Tensor, y: Tensor) -> Operands {
        let (size, shape, device) = (x.numel(), x.shape().clone(), x.device().clone());
        let n = Tensor::new(N.iter().copied().cycle().take(size).collect::<Vec<i32>>(), &shape, &device);
        let b = Tensor::new((0..size).map(|i| i % 3 == 0).collect::<Vec<bool>>(), &shape, &device);
        Operands { x, y, n, b, hides_constants: false }
    }

    fn constant(&self, constant: Tensor) -> Tensor {
        if self.hides_constants {
            constant.realize().unwrap();
        }
        constant
    }

    /// Constants of the shape and dtype of a tensor.
    fn zero(&self, like: &Tensor) -> Tensor {
        self.constant(like.zeros_like())
    }

    fn minus_zero(&self, like: &Tensor) -> Tensor {
        -self.zero(like)
    }

    fn one(&self, like: &Tensor) -> Tensor {
        self.constant(like.ones_like())
    }

    fn third(&self) -> Tensor {
        self.one(&self.x) / (self.one(&self.x) + self.one(&self.x) + self.one(&self.x))
    }

    /// The largest i32.
    fn most(&self) -> Tensor {
        (0..30).fold(self.one(&self.n), |most, _| &most + &most + self.one(&self.n))
    }

    /// Ones or zeros with zeros around them.
    fn padded(&self, fill: fn([usize; 2], &Device) -> Tensor) -> Tensor {
        self.constant(fill([self.x.shape()[0], 2], self.x.device())).pad([1, 1])
    }

    /// The gradient of a sum of sigmoids.
    fn backward(&self) -> Tensor {
        autograd::grad(&self.x.sigmoid().sum(), &[&self.x], false)[0].clone().unwrap()
    }

    fn draw(&self) -> Tensor {
        Tensor::rand(self.x.shape(), self.x.device())
    }
}

type Graph = fn(&Operands) -> Tensor;

// The rules by their names in `RULES`.
const FOLD: &str = "constants are folded";
const REDUCED: &str = "a reduction of a constant is a constant";
const ONE: &str = "x * 1, x / 1";
const ZERO: &str = "x - 0, x + -0";
const TWICE: &str = "--x, !!x";
const CASTS: &str = "a cast of a cast";
const CHOICE: &str = "a choice that is made";
const COMMON: &str = "common subexpressions";

/// The rule, the expression, its graph, and the operations that remain after the pass, sorted by name.
const CASES: &[(&str, &str, Graph, &str)] = &[
    (FOLD, "(1 + 1) * -1", |o| (o.one(&o.x) + o.one(&o.x)) * -o.one(&o.x), "const"),
    (FOLD, "!(0 < 1) as f32", |o| o.zero(&o.x).lt(o.one(&o.x)).logical_not().to_dtype(F32), "const"),
    (FOLD, "1 / 0, whose last bit is the device's", |o| o.one(&o.x) / o.zero(&o.x), "const const div"),
    (FOLD, "an expanded 1, + 0", |o| o.constant(Tensor::ones([4], o.x.device())) + o.zero(&o.x), "const"),
    (FOLD, "x + (1 + 1)", |o| &o.x + (o.one(&o.x) + o.one(&o.x)), "add const"),
    (FOLD, "an i32 sum that wraps", |o| o.most() + o.one(&o.n), "const"),
    (FOLD, "an i32 product that wraps", |o| o.most() * o.most(), "const"),
    (REDUCED, "a sum of 1", |o| o.one(&o.x).sum_dim(1, true), "const"),
    (REDUCED, "a sum of i32", |o| o.most().sum_dim(1, true), "const"),
    (REDUCED, "a maximum", |o| o.minus_zero(&o.x).amax(1, true), "const"),
    (REDUCED, "an empty sum of -1", |o| (-o.one(&o.x.narrow(0, 0, 0))).sum_dim(0, true), "const"),
    (REDUCED, "a sum of -0, which is 0", |o| o.minus_zero(&o.x).sum_dim(1, true), "const sum"),
    (REDUCED, "a sum of padded ones", |o| o.padded(Tensor::ones).sum_dim(1, true), "const pad sum"),
    (ONE, "x * 1", |o| &o.x * o.one(&o.x), ""),
    (ONE, "1 * x", |o| o.one(&o.x) * &o.x, ""),
    (ONE, "x / 1", |o| &o.x / o.one(&o.x), ""),
    (ONE, "x * an expanded 1", |o| &o.x * o.constant(Tensor::ones((), o.x.device())), ""),
    (ONE, "x * padded ones", |o| &o.x * o.padded(Tensor::ones), "const mul pad"),
    (ONE, "exp(x) * 1", |o| o.x.exp() * o.one(&o.x), "exp"),
    (ONE, "the seed of a gradient", |o| o.backward(), "const mul reshape sigmoid sub"),
    (ONE, "i32 * 1", |o| &o.n * o.one(&o.n), ""),
    (ONE, "1 / x", |o| o.one(&o.x) / &o.x, "const div"),
    (ONE, "x * -1", |o| &o.x * -o.one(&o.x), "const mul"),
    (ONE, "x * 0", |o| &o.x * o.zero(&o.x), "const mul"),
    (ONE, "x * -0", |o| &o.x * o.minus_zero(&o.x), "const mul"),
    (ZERO, "x - 0", |o| &o.x - o.zero(&o.x), ""),
    (ZERO, "x + -0", |o| &o.x + o.minus_zero(&o.x), ""),
    (ZERO, "-0 + x", |o| o.minus_zero(&o.x) + &o.x, ""),
    (ZERO, "x - padded zeros", |o| &o.x - o.padded(Tensor::zeros), ""),
    (ZERO, "x + 0", |o| &o.x + o.zero(&o.x), "add const"),
    (ZERO, "0 + x", |o| o.zero(&o.x) + &o.x, "add const"),
    (ZERO, "0 - x", |o| o.zero(&o.x) - &o.x, "const sub"),
    (ZERO, "-0 - x", |o| o.minus_zero(&o.x) - &o.x, "const sub"),
    (ZERO, "x - -0", |o| &o.x - o.minus_zero(&o.x), "const sub"),
    (ZERO, "i32 + 0", |o| &o.n + o.zero(&o.n), ""),
    (ZERO, "0 + i32", |o| o.zero(&o.n) + &o.n, ""),
    (ZERO, "i32 - -0", |o| &o.n - o.minus_zero(&o.n), ""),
    (ZERO, "0 - i32", |o| o.zero(&o.n) - &o.n, "const sub"),
    (TWICE, "--x", |o| -(-&o.x), ""),
    (TWICE, "---x", |o| -(-(-&o.x)), "neg"),
    (TWICE, "--i32", |o| -(-&o.n), ""),
    (TWICE, "!!b", |o| o.b.logical_not().logical_not(), ""),
    (TWICE, "||x||", |o| o.x.abs().abs(), "abs abs"),
    (CASTS, "bool, i32, f32", |o| o.b.to_dtype(I32).to_dtype(F32), "cast"),
    (CASTS, "bool, f32, u32", |o| o.b.to_dtype(F32).to_dtype(U32), "cast"),
    (CASTS, "i32, u32, i32", |o| o.n.to_dtype(U32).to_dtype(I32), ""),
    (CASTS, "i32, u32, f32", |o| o.n.to_dtype(U32).to_dtype(F32), "cast cast"),
    (CASTS, "f32, i32, f32, which truncates", |o| o.y.to_dtype(I32).to_dtype(F32), "cast cast"),
    (CASTS, "i32, f32, i32", |o| o.n.narrow(1, 0, 3).to_dtype(F32).to_dtype(I32), "cast cast slice"),
    (CHOICE, "true ? x : y", |o| o.zero(&o.x).lt(o.one(&o.x)).where_(&o.x, &o.y), ""),
    (CHOICE, "false ? x : exp(y)", |o| o.one(&o.x).lt(o.zero(&o.x)).where_(&o.x, o.y.exp()), "exp"),
    (CHOICE, "b ? x * 1 : x", |o| o.b.where_(&o.x * o.one(&o.x), &o.x), ""),
    (CHOICE, "b ? exp(x) : exp(x)", |o| o.b.where_(o.x.exp(), o.x.exp()), "exp"),
    (CHOICE, "b ? x : y", |o| o.b.where_(&o.x, &o.y), "where"),
    (COMMON, "exp(x) twice", |o| o.x.exp() + o.x.exp(), "add exp"),
    (COMMON, "exp(x) and of x detached", |o| o.x.exp() + o.x.detach().exp(), "add exp"),
    (COMMON, "a product twice", |o| o.y.t().matmul(&o.y) + o.y.t().matmul(&o.y), "add matmul permute"),
    (COMMON, "forward and backward", |o| o.backward() + o.x.sigmoid(), "add const mul reshape sigmoid sub"),
    (COMMON, "two slices", |o| o.x.narrow(1, 0, 2) * o.x.narrow(1, 2, 2), "mul slice slice"),
    (COMMON, "two sums", |o| o.n.sum_dim(0, true) - o.n.sum_dim(1, true), "expand expand sub sum sum"),
    (COMMON, "x - y and y - x", |o| (&o.x - &o.y) * (&o.y - &o.x), "mul sub sub"),
    (COMMON, "two draws", |o| o.draw() - o.draw(), "random random sub"),
    (COMMON, "two scalars", |o| (&o.x * 2.0).exp() + (&o.x * 3.0).exp(), "add exp exp mul mul scalar scalar"),
    (COMMON, "a layer norm with an eps of its own", |o| norms(&o.y, 0.1, 0.1), "layer_norm layer_norm sub"),
];

fn norms(y: &Tensor, eps: f64, other: f64) -> Tensor {
    y.layer_norm([4], None, None, eps) - y.layer_norm([4], None, None, other)
}

fn null() -> Device {
    Device::null(Limits { kind: AdapterKind::Discrete, storage_buffers: 32, ..Limits::webgpu() })
}

/// A device without simplification.
fn unfused() -> Device {
    Device::gpu_with(&GpuOptions { fuse: false, ..GpuOptions::default() }).unwrap()
}

/// The number of plans and kernels.
fn during(device: &Device, f: impl FnOnce()) -> (usize, usize) {
    let before = device.counters();
    f();
    let after = device.counters();
    (after.plans - before.plans, after.kernels - before.kernels)
}

/// Treats all NaNs as equal, because devices choose the payload.
fn float_bits(x: f32) -> u32 {
    if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    match tensor.dtype() {
        F32 => tensor.to_vec::<f32>().unwrap().into_iter().map(float_bits).collect(),
        I32 => tensor.to_vec::<i32>().unwrap().into_iter().map(|x| x as u32).collect(),
        U32 => tensor.to_vec::<u32>().unwrap(),
        Bool => tensor.to_vec::<bool>().unwrap().into_iter().map(u32::from).collect(),
    }
}

/// The same random numbers on each device.
fn build(graph: Graph, operands: &Operands) -> Tensor {
    wgrad::manual_seed(1);
    graph(operands)
}

#[track_caller]
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
#[ignore = "is run by the next one, as a process of its own"]
fn plans_each_case() {
    for (_, name, graph, _) in CASES {
        eprintln!("case {name}");
        build(*graph, &Operands::new(2, &null())).realize().unwrap();
    }
}

/// `WGRAD_LOG` is read once per process, so a child process prints the form after the pass.
#[test]
fn operations_that_remain() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "plans_each_case", "--ignored", "--nocapture"])
        .env("WGRAD_LOG", "after:simplify")
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    let printed = String::from_utf8(child.stderr).unwrap();
    let forms: Vec<&str> = printed.split("case ").skip(1).collect();
    assert_eq!(forms.len(), CASES.len());
    let mut wrong = Vec::new();
    for (form, (rule, name, _, remaining)) in forms.iter().zip(CASES) {
        assert!(form.starts_with(&format!("{name}\nwgrad: after simplify\n")), "{form}");
        let operations = form.lines().filter(|line| line.starts_with('%')).map(|line| {
            let (_, computed) = line.split_once(" = ").unwrap();
            computed.split(' ').next().unwrap()
        });
        let mut found: Vec<&str> = operations.filter(|op| !["input", "alias"].contains(op)).collect();
        found.sort_unstable();
        if found.join(" ") != *remaining {
            wrong.push(format!("{rule}: {found:?} instead of {remaining:?} remain of {form}"));
        }
    }
    none(&wrong);
}

#[test]
fn every_rule_has_a_case() {
    let (_, rules) = include_str!("../src/schedule/simplify.rs").split_once("const RULES").unwrap();
    let (rules, _) = rules.split_once("];").unwrap();
    let names: Vec<&str> = rules.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert!(names.contains(&FOLD));
    for name in names {
        assert!(CASES.iter().any(|(rule, ..)| *rule == name), "no case of {name}");
    }
}

/// Also with enough elements that kernels are vectorized.
#[test]
fn simplification_preserves_every_bit() {
    let (gpu, unfused, mut wrong) = (gpu(), unfused(), Vec::new());
    for rows in [2, 1 << 13] {
        let simplified = Operands::new(rows, &gpu);
        let as_built = Operands { hides_constants: true, ..Operands::new(rows, &unfused) };
        for (rule, name, graph, _) in CASES {
            let [got, want] = [&simplified, &as_built].map(|operands| bits(&build(*graph, operands)));
            if let Some(i) = (0..want.len()).find(|&i| got[i] != want[i]) {
                wrong.push(format!("{rule}: {name}, {rows} rows, {i}: {:#x} for {:#x}", got[i], want[i]));
            }
        }
    }
    none(&wrong);
}

/// Constants in WGSL keep the sign of zero; compared with arithmetic on the host.
#[test]
fn constants_in_kernels_are_ieee() {
    type Case = (&'static str, Graph, fn(f32) -> f32);
    let table: [Case; 9] = [
        ("x * 0", |o| &o.x * o.zero(&o.x), |x| x * 0.0),
        ("x * -0", |o| &o.x * o.minus_zero(&o.x), |x| x * -0.0),
        ("x + 0", |o| &o.x + o.zero(&o.x), |x| x + 0.0),
        ("x + -0", |o| &o.x + o.minus_zero(&o.x), |x| x),
        ("x - -0", |o| &o.x - o.minus_zero(&o.x), |x| x + 0.0),
        ("0 - x", |o| o.zero(&o.x) - &o.x, |x| 0.0 - x),
        ("-0 - x", |o| o.minus_zero(&o.x) - &o.x, |x| -x),
        ("x * 1", |o| &o.x * o.one(&o.x), |x| x),
        ("x / 0", |o| &o.x / o.zero(&o.x), |x| x / 0.0),
    ];
    let mut wrong = Vec::new();
    for device in [gpu(), unfused(), Device::cpu()] {
        let operands = Operands::new(2, &device);
        for (name, graph, of) in table {
            let (got, want) = (bits(&graph(&operands)), X.map(|x| float_bits(of(x))));
            if got != want {
                let values = got.iter().map(|&x| f32::from_bits(x)).collect::<Vec<_>>();
                wrong.push(format!("{name} of {X:?} is {values:?} on {device}"));
            }
        }
    }
    none(&wrong);
}

/// Without simplification the device computes the expressions as they were built, in vectorized kernels too.
#[test]
fn constants_give_the_same_result_without_simplification() {
    let device = unfused();
    for size in [4, 1 << 15] {
        let found = Tensor::ones([size], &device) / Tensor::zeros([size], &device);
        assert_eq!(found.to_vec::<f32>().unwrap(), vec![f32::INFINITY; size]);
    }
}

/// A folded constant equals the device's result for the same operands in memory.
#[test]
fn folded_functions() {
    macro_rules! functions {
        ($($unary:ident)*; $($binary:ident)*) => {(
            [$((stringify!($unary), Tensor::$unary as fn(&Tensor) -> Tensor)),*],
            [$((stringify!($binary), (|a, b| a.$binary(b)) as fn(&Tensor, &Tensor) -> Tensor)),*],
        )};
    }
    let (unary, binary) = functions!(
        neg reciprocal exp log log1p expm1 sqrt sin cos tanh sigmoid relu erf ndtr abs sign floor;
        add sub mul div powf lt eq
    );
    // Built anew for each case, because a constant that was realized is an input.
    let constants = |o: &Operands| {
        let [zero, one] = [o.zero(&o.x), o.one(&o.x)];
        [-&zero, -(&one + &one), o.third(), &one / &zero, &zero / &zero, zero, one]
    };
    let simplified = Operands::new(1, &gpu());
    let as_built = Operands { hides_constants: true, ..Operands::new(1, &unfused()) };
    let names = ["-0", "-2", "1/3", "inf", "NaN", "0", "1"];
    let mut wrong = Vec::new();
    let mut compare = |name: String, f: &dyn Fn(&Operands) -> Tensor| {
        let [got, want] = [&simplified, &as_built].map(|o| bits(&f(o))[0]);
        if got != want {
            let values = [got, want].map(f32::from_bits);
            wrong.push(format!("{name}: {got:#x} instead of {want:#x}, as floats {values:?}"));
        }
    };
    for (i, a) in names.iter().enumerate() {
        unary.iter().for_each(|(f, of)| compare(format!("{f} {a}"), &|o| of(&constants(o)[i])));
        for (j, b) in names.iter().enumerate() {
            let of_both = |of: fn(&Tensor, &Tensor) -> Tensor| {
                move |o: &Operands| of(&constants(o)[i], &constants(o)[j])
            };
            // Equal constants share a register, and shader compilers fold x - x to 0.
            let compared = binary.iter().filter(|(f, _)| *f != "sub" || i != j);
            compared.for_each(|(f, of)| compare(format!("{f} {a} {b}"), &of_both(*of)));
        }
    }
    none(&wrong);
}

#[test]
fn gradients_of_simplified_expressions() {
    let [x, y] = [1, 2].map(|seed| Host::draw(seed, &[2, 4], 0.5..2.0));
    for (rule, name, graph, _) in CASES {
        let f = |xs: &[Tensor]| build(*graph, &Operands::of(xs[0].clone(), xs[1].clone()));
        common::check_gpu(&format!("{rule}: {name}"), &[x.clone(), y.clone()], &f, TOLERANCE, TOLERANCE);
    }
}

/// Expressions that differ only in numbers outside the key are different.
#[test]
fn values_that_differ_are_not_merged() {
    let y = [Host::draw(1, &[3, 4], -1.0..1.0)];
    let f = |y: &[Tensor]| norms(&y[0], 1e-5, 0.5);
    let differs = |x: &Host| x.data.iter().all(|x| x.abs() > 1e-4);
    assert!(differs(&common::run(&y, &gpu(), &f).0), "two layer norms");
    common::check_gpu("two layer norms", &y, &f, common::SUMS, common::SUMS);
    let o = Operands::new(2, &gpu());
    assert!(differs(&Host::read(&(o.draw() - o.draw()))), "two draws");
}

/// A user's number may be 1 or 0 in one step only.
#[test]
fn rules_do_not_match_the_users_numbers() {
    type Case = (&'static str, fn(&Tensor, f64) -> Tensor, fn(f32, f32) -> f32);
    let table: [Case; 5] = [
        ("x * s", |x, s| x * s, |x, s| x * s),
        ("x + s", |x, s| x + s, |x, s| x + s),
        ("x - s", |x, s| x - s, |x, s| x - s),
        ("s - x", |x, s| s - x, |x, s| s - x),
        ("x * full", |x, s| x * Tensor::full([8], s, x.device()), |x, s| x * s),
    ];
    let numbers = [2.0, 1.0, 0.0, -0.0, 1.0];
    for (name, f, of) in table {
        let x = Tensor::new(X, [8], &null());
        let did =
            during(x.device(), || numbers.iter().for_each(|&s| drop(f(&x, s).realize().unwrap().clone())));
        assert_eq!(did, (1, numbers.len()), "{name}");
        let x = Tensor::new(X, [8], &gpu());
        for s in numbers {
            assert_eq!(bits(&f(&x, s)), X.map(|x| float_bits(of(x, s as f32))), "{name} for s = {s:?}");
        }
    }
}

#[test]
fn equal_expressions_are_one_kernel() {
    let table: [(&str, Graph, usize); 4] = [
        ("a product", |o| o.x.matmul(&o.y.t()) + o.x.matmul(&o.y.t()), 1),
        ("both operands of a product", |o| o.x.t().matmul(&o.y).matmul(&o.x.t().matmul(&o.y)), 2),
        ("a fused operation", |o| o.x.softmax(1).matmul(&o.x.softmax(1).t()), 2),
        ("a sum", |o| (&o.x - o.x.sum()) * o.x.sum(), 2),
    ];
    for (name, graph, kernels) in table {
        let operands = Operands::new(2, &null());
        let did = during(operands.x.device(), || drop(graph(&operands).realize().unwrap().clone()));
        assert_eq!(did, (1, kernels), "{name}");
    }
}

/// Handles on equal values, and a `Var` of such a value that is updated in place.
#[test]
fn equal_held_results_have_separate_memory() {
    type Case = (&'static str, fn(&Tensor) -> [Tensor; 2]);
    let table: [Case; 5] = [
        ("exp(x) twice", |x| [x.exp(), x.exp()]),
        ("x and x * 1", |x| [x.clone(), x * x.ones_like()]),
        ("x * 1 and x - 0", |x| [x * x.ones_like(), x - x.zeros_like()]),
        ("--y and y", |x| {
            let y = x.exp();
            [-(-&y), y]
        }),
        ("zeros", |x| [x.zeros_like(), x.zeros_like()]),
    ];
    for (name, pair) in table {
        let x = Tensor::new(Y, [8], &gpu());
        let want = pair(&Tensor::new(Y, [8], &Device::cpu_rounded())).map(|y| Host::read(&y));
        let same = |got: &Tensor, want: &Host| Host::read(got).assert_close(name, want, TOLERANCE);
        let held = pair(&x);
        held.iter().zip(&want).for_each(|(held, want)| same(held, want));
        let vars = pair(&x).map(Var::buffer);
        for step in 1..4 {
            vars[0].set(vars[0].tensor() + 1.0);
            vars[0].tensor().realize().unwrap();
            same(&vars[0].tensor(), &want[0].map(|x| x + f64::from(step)));
            same(&vars[1].tensor(), &want[1]);
        }
        held.iter().zip(&want).for_each(|(held, want)| same(held, want));
        assert_eq!(x.to_vec::<f32>().unwrap(), Y, "{name}");
    }
}

/// Like an optimizer's moments, which start as equal zeros: each is updated in place.
#[test]
fn equal_vars_have_separate_memory() {
    type Case = (&'static str, fn(&Tensor) -> Tensor);
    let table: [Case; 2] = [("zeros", Tensor::zeros_like), ("exp(x)", Tensor::exp)];
    for (name, start) in table {
        let device = null();
        let x = Tensor::new(vec![0f32; 1000], [1000], &device);
        let vars = [0, 1].map(|_| Var::buffer(start(&x)));
        vars[0].tensor().realize().unwrap();
        assert_eq!(device.counters().bytes_live, 3 * 4000, "{name}: x and both");
        let steps = [1, 2, 3].map(|_| {
            let (plans, _) = during(&device, || {
                vars[0].set(vars[0].tensor() * 0.9 + 1.0);
                vars[1].set(vars[1].tensor() * 0.8 - 1.0);
                vars[0].tensor().realize().unwrap();
            });
            (plans, device.counters().bytes_live, device.counters().bytes_peak)
        });
        assert_eq!(steps, [(1, 12_000, 12_000), (0, 12_000, 12_000), (0, 12_000, 12_000)], "{name}");
    }
}
