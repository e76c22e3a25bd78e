//! `WGRAD_CHECK`: deliberately incorrect kernels are reported, and correct kernels pass.

use super::common::{self, Host};
use crate::nn::{Linear, Module};
use crate::ops::{Buffer, Fused, Launch, Word};
use crate::optim::{Adam, Optimizer};
use crate::{AdapterKind, Counters, DType, Device, Error, GpuOptions, Limits, ShapeError, Spec, Tensor};

fn checked(kind: Option<AdapterKind>) -> Device {
    Device::gpu_with(&GpuOptions { check: true, kind, ..GpuOptions::default() }).unwrap()
}

/// Opens a checked device that replaces the text `from` by `to` in its kernels.
fn broken(kind: Option<AdapterKind>, from: &'static str, to: &'static str) -> Device {
    let device = checked(kind);
    let Some(gpu) = device.gpu_backend() else { unreachable!("a GPU") };
    *gpu.broken.lock().unwrap() = Some((from, to));
    device
}

/// Asserts that the error names the operation, the line, the element, both values and the tolerance.
#[track_caller]
fn assert_caught(found: Result<Vec<f32>, Error>, name: &str, built: u32, element: usize) {
    let error = found.expect_err("the kernel is broken");
    let text = error.to_string();
    println!("{text}");
    let Error::Check { op, at, index, got, wanted, tolerance, .. } = error else { panic!("{text}") };
    assert_eq!((op, at.line(), index), (name, built, element), "{text}");
    assert!(at.file().ends_with("check.rs"), "{text}");
    assert!((got.is_nan() || (got - wanted).abs() > tolerance) && tolerance < 1e-3, "{text}");
    let parts = [
        format!("element {index} is {got:e}"),
        format!("{wanted:e} by the reference"),
        format!("{tolerance:e}"),
    ];
    parts.iter().for_each(|part| assert!(text.contains(part), "{part} in {text}"));
}

#[test]
fn a_changed_sign_is_caught() {
    let device = broken(None, "(v0 + v1)", "(v0 - v1)");
    let (x, y) = (Tensor::new([1.0, 2.0], [2], &device), Tensor::new([0.0, 5.0], [2], &device));
    let line = line!() + 1;
    let sum = &x + &y;
    assert_caught(sum.to_vec(), "add", line, 1);
}

#[test]
fn an_index_off_by_one_is_caught() {
    let device = broken(None, "i < params.len", "i + 1u < params.len");
    let x = Host::draw(1, &[5, 3], 1.0..2.0).tensor(&device);
    let line = line!() + 1;
    let transposed = x.t().exp();
    assert_caught(transposed.to_vec(), "exp", line, 14);
}

#[test]
fn a_dropped_barrier_is_caught() {
    // Kernels for real GPUs share workgroup memory.
    let device = broken(Some(AdapterKind::Discrete), "workgroupBarrier();", "");
    let x = Host::draw(1, &[40, 40], 1.0..2.0).tensor(&device);
    let line = line!() + 1;
    let product = x.matmul(&x);
    assert_caught(product.to_vec(), "matmul", line, 0);
}

/// Doubles its operand. The kernel is deliberately incorrect: it writes 0 to the last element.
#[derive(Clone, Debug)]
struct Twice;

impl Fused for Twice {
    fn name(&self) -> &'static str {
        "twice"
    }
    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        Ok(vec![inputs[0].clone()])
    }
    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        vec![&inputs[0] * 2.0]
    }
    fn launch(&self, io: &[Spec], _limits: &Limits) -> Option<Vec<Launch>> {
        let source = "
            struct Params { n: u32 }
            @group(0) @binding(0) var<uniform> params: Params;
            @group(0) @binding(1) var<storage, read> x: array<f32>;
            @group(0) @binding(2) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(64)
            fn main(@builtin(global_invocation_id) i: vec3<u32>) {
                if (i.x + 1u < params.n) { y[i.x] = 2.0 * x[i.x]; } else if (i.x < params.n) { y[i.x] = 0.0; }
            }";
        let launch = Launch::new(source).buffers([Buffer::Input(0), Buffer::Output(0)]);
        Some(vec![launch.uniforms([Word::Size(io[0].shape.numel() as u32)])])
    }
}

#[test]
fn a_fused_operation_is_compared_with_its_decomposition() {
    let device = checked(None);
    let x = Tensor::new([1.0, 2.0, 3.0], [3], &device);
    let line = line!() + 1;
    let twice = Tensor::fused(Twice, &[&x]).remove(0);
    assert_caught(twice.to_vec(), "twice", line, 2);
}

/// Products with epilogues, two-stage reductions, gathers, scatters, masks, random numbers, discontinuities, fused
/// operations and in-place updates: all results are within their error bounds, and are bitwise equal to the results
/// without the check.
#[test]
fn correct_kernels_pass() {
    let run = |device: &Device| {
        crate::manual_seed(3);
        let (first, last) = (Linear::new(20, 33, device), Linear::new(33, 7, device));
        let mut optimizer = Adam::new([first.params(), last.params()].concat(), 1e-2);
        let x = Host::draw(1, &[16, 20], -1.0..1.0).tensor(device);
        let labels = Tensor::new(common::indices(2, 16, 7), [16], device);
        let mut values = Vec::new();
        for _ in 0..2 {
            let keep = Tensor::rand([16, 33], device).lt(0.7);
            let hidden = keep.where_(first.forward(&x).relu() / 0.7, 0.0);
            let loss = last.forward(&hidden.layer_norm([33], None, None, 1e-5)).cross_entropy(&labels);
            loss.backward();
            optimizer.step();
            values.push(loss.item().unwrap());
        }
        let long = Tensor::rand([300, 200], device);
        // `realize` is needed, because a run may defer a value that only has a handle.
        let floor = (&long * 3.0).floor();
        values.push(floor.realize().unwrap().sum().item().unwrap());
        values.push(long.amax(0, false).sign().sum().item().unwrap());
        let picked = long.index_select(0, &labels).pad([1, 2]);
        values.push(picked.softmax(1).sum().item().unwrap());
        let largest = long.eq(long.amax(1, true)).to_dtype(DType::I32);
        values.push(largest.realize().unwrap().sum().item().unwrap());
        values
    };
    for kind in [None, Some(AdapterKind::Discrete)] {
        let plain = Device::gpu_with(&GpuOptions { kind, ..GpuOptions::default() }).unwrap();
        let device = checked(kind);
        assert_eq!(run(&device), run(&plain));
        let Counters { checked, passed_over, .. } = device.counters();
        println!("{passed_over} of {checked} elements passed over");
        assert!(checked > 200_000 && passed_over * 1000 <= checked, "{passed_over} of {checked}");
    }
}

/// Half of the sums are at a discontinuity, where the results on both sides are allowed; the other sums are compared.
#[test]
fn elements_next_to_a_discontinuity_are_not_checked_but_counted() {
    let device = checked(None);
    let x = Tensor::new((2..66).map(|i| i as f32 / 2.0).collect::<Vec<_>>(), [64], &device);
    let floor = (&x + 1e-9).floor();
    assert_eq!(floor.to_vec::<f32>().unwrap()[5], 3.0);
    let Counters { checked, passed_over, .. } = device.counters();
    assert_eq!((checked, passed_over), (64, 32));
    let beside = (&x + 0.25).floor();
    beside.realize().unwrap();
    let after = device.counters();
    assert_eq!((after.checked - checked, after.passed_over - passed_over), (64, 0));
}

/// An index that depends on rounding selects an element with an infinite error bound, so the bound of the maximum is
/// infinite too.
#[test]
fn a_maximum_of_an_unbounded_element_is_not_checked() {
    let device = checked(None);
    let x = Tensor::new([1.0, 2.0, 3.0, 4.0], [4], &device);
    let index = (Tensor::new([0.0, 1.0, 2.0], [3], &device) + 1.0).floor().to_dtype(DType::I32);
    assert_eq!(x.index_select(0, &index).amax(0, false).item().unwrap(), 4.0);
}
