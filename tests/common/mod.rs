//! Helpers of the tests: host data, comparison, gradients by central differences, and the GPU.
//!
//! A check runs a function of tensors on the CPU in f64, where its gradient and its gradient's gradient are compared with
//! central differences, and on the GPU, which must agree with the CPU to a tolerance that the caller states.

#![allow(dead_code)] // no test binary uses all of it

pub mod layout;
pub mod refusal;

use std::ops::Range;

use wgrad::{DType, Device, Generator, Tensor, autograd};

/// The GPU that all tests share. Without an adapter the test fails, so that GPU tests are never skipped silently.
pub fn gpu() -> Device {
    Device::gpu().unwrap_or_else(|error| panic!("{error}"))
}

/// `|got - want| <= atol + rtol * |want|`
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub atol: f64,
    pub rtol: f64,
}

/// Data movement or integer arithmetic: every bit is the same.
pub const EXACT: Tolerance = Tolerance { atol: 0.0, rtol: 0.0 };
/// A few roundings of f32 (6e-8 each) over values about 1.
pub const F32: Tolerance = Tolerance { atol: 2e-6, rtol: 2e-6 };
/// Some tens of roundings, or sums whose terms cancel.
pub const SUMS: Tolerance = Tolerance { atol: 1e-5, rtol: 1e-5 };
/// A few roundings of f64.
pub const F64: Tolerance = Tolerance { atol: 1e-12, rtol: 1e-12 };
/// Central differences with a step of 1e-6 over losses of some tens: rounding (1e-16 * 10 / 1e-6) and curvature (1e-12).
pub const DIFFERENCES: Tolerance = Tolerance { atol: 1e-7, rtol: 1e-7 };
const STEP: f64 = 1e-6;

/// Panics with the operation, the index, both values and the tolerance. NaN is close to NaN, infinity to itself.
#[track_caller]
pub fn close(name: &str, got: &[f64], want: &[f64], atol: f64, rtol: f64) {
    assert_eq!(got.len(), want.len(), "{name}: {} elements instead of {}", got.len(), want.len());
    let same = |got: f64, want: f64| {
        got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= atol + rtol * want.abs()
    };
    let wrong: Vec<usize> = (0..got.len()).filter(|&i| !same(got[i], want[i])).collect();
    if let Some(&i) = wrong.first() {
        panic!(
            "{name}: element {i} is {:e} instead of {:e} (off by {:e}; the tolerance is {atol:e} + {rtol:e} * |{:e}|); \
             {} of {} are wrong",
            got[i],
            want[i],
            got[i] - want[i],
            want[i],
            wrong.len(),
            got.len()
        );
    }
}

/// An array on the host, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    pub data: Vec<f64>,
    pub shape: Vec<usize>,
}

impl Host {
    pub fn new(data: &[f64], shape: &[usize]) -> Host {
        assert_eq!(data.len(), shape.iter().product::<usize>());
        Host { data: data.to_vec(), shape: shape.to_vec() }
    }

    /// Uniform in the range, and exact in f32.
    pub fn draw(seed: u64, shape: &[usize], range: Range<f64>) -> Host {
        let (low, width) = (range.start as f32, (range.end - range.start) as f32);
        let data = Generator::new(seed).uniform(shape.iter().product());
        Host { data: data.iter().map(|x| f64::from(low + x * width)).collect(), shape: shape.to_vec() }
    }

    /// The values of `f` at each coordinate.
    pub fn tabulate(shape: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Host {
        let mut coords = vec![0; shape.len()];
        let numel = shape.iter().product();
        let mut data = Vec::with_capacity(numel);
        for _ in 0..numel {
            data.push(f(&coords));
            for dim in (0..shape.len()).rev() {
                coords[dim] += 1;
                if coords[dim] < shape[dim] {
                    break;
                }
                coords[dim] = 0;
            }
        }
        Host { data, shape: shape.to_vec() }
    }

    pub fn at<const N: usize>(&self, coords: [usize; N]) -> f64 {
        assert_eq!(N, self.shape.len());
        self.data[coords.iter().zip(&self.shape).fold(0, |i, (x, size)| i * size + x)]
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Host {
        Host { data: self.data.iter().map(|&x| f(x)).collect(), shape: self.shape.clone() }
    }

    pub fn tensor(&self, device: &Device) -> Tensor {
        Tensor::new(&self.data, &self.shape[..], device)
    }

    /// A tensor of any dtype, read.
    #[track_caller]
    pub fn read(tensor: &Tensor) -> Host {
        let data = match tensor.dtype() {
            DType::F32 => tensor.to_vec::<f64>().unwrap(),
            DType::I32 => tensor.to_vec::<i32>().unwrap().into_iter().map(f64::from).collect(),
            DType::U32 => tensor.to_vec::<u32>().unwrap().into_iter().map(f64::from).collect(),
            DType::Bool => tensor.to_vec::<bool>().unwrap().into_iter().map(f64::from).collect(),
        };
        Host { data, shape: tensor.shape().to_vec() }
    }

    /// The same shape, and elements as close as the tolerance asks.
    #[track_caller]
    pub fn assert_close(&self, name: &str, want: &Host, tolerance: Tolerance) {
        assert_eq!(self.shape, want.shape, "{name}: the shape");
        close(name, &self.data, &want.data, tolerance.atol, tolerance.rtol);
    }
}

/// Indices for a tensor, drawn below `n`.
pub fn indices(seed: u64, count: usize, n: usize) -> Vec<i32> {
    Generator::new(seed).uniform(count).iter().map(|x| (f64::from(*x) * n as f64) as i32).collect()
}

/// A function of tensors under test.
pub type Function<'a> = &'a dyn Fn(&[Tensor]) -> Tensor;

/// A scalar to which every element contributes differently.
fn weighted(x: &Tensor, seed: u64) -> Tensor {
    let weights = Host::draw(seed, x.shape(), 0.5..1.5).tensor(x.device());
    (x.to_dtype(DType::F32) * weights).sum()
}

fn leaves(inputs: &[Host], device: &Device) -> Vec<Tensor> {
    inputs.iter().map(|input| input.tensor(device).requires_grad()).collect()
}

/// The gradients of `loss`; zeros for leaves that it does not depend on.
fn gradients(loss: &Tensor, xs: &[Tensor], create_graph: bool) -> Vec<Tensor> {
    let found = autograd::grad(loss, &xs.iter().collect::<Vec<_>>(), create_graph);
    found.into_iter().zip(xs).map(|(found, x)| found.unwrap_or_else(|| x.zeros_like())).collect()
}

/// The gradient of a scalar function against central differences, in f64.
#[track_caller]
fn differences(name: &str, inputs: &[Host], scalar: Function) {
    let cpu = Device::cpu();
    let xs = leaves(inputs, &cpu);
    let found = gradients(&scalar(&xs), &xs, false);
    let value = |inputs: &[Host]| scalar(&leaves(inputs, &cpu)).item().unwrap();
    for (i, found) in found.iter().enumerate() {
        let mut moved = inputs.to_vec();
        let mut want = inputs[i].clone();
        for (n, &x) in inputs[i].data.iter().enumerate() {
            moved[i].data[n] = x + STEP;
            let above = value(&moved);
            moved[i].data[n] = x - STEP;
            want.data[n] = (above - value(&moved)) / (2.0 * STEP);
            moved[i].data[n] = x;
        }
        Host::read(found).assert_close(&format!("{name} by operand {i}"), &want, DIFFERENCES);
    }
}

/// First and second order against central differences, in f64.
#[track_caller]
pub fn check_gradient(name: &str, inputs: &[Host], f: Function) {
    differences(&format!("gradient of {name}"), inputs, &|xs| weighted(&f(xs), 100));
    differences(&format!("second gradient of {name}"), inputs, &|xs| {
        let first = gradients(&weighted(&f(xs), 100), xs, true);
        let sums = first.iter().enumerate().map(|(i, gradient)| weighted(gradient, 200 + i as u64));
        sums.reduce(|a, b| a + b).expect("there is an operand")
    });
}

/// Value and gradients on a device.
#[track_caller]
pub fn run(inputs: &[Host], device: &Device, f: Function) -> (Host, Vec<Host>) {
    let xs = leaves(inputs, device);
    let out = f(&xs);
    let found = if out.dtype() == DType::F32 { gradients(&weighted(&out, 100), &xs, false) } else { vec![] };
    let found = found.iter().map(Host::read).collect();
    (Host::read(&out), found)
}

/// Value and gradients: the GPU with fusion against the CPU with every node rounded to f32.
#[track_caller]
pub fn check_gpu(name: &str, inputs: &[Host], f: Function, value: Tolerance, gradient: Tolerance) {
    let (want, want_gradients) = run(inputs, &Device::cpu_rounded(), f);
    let (got, got_gradients) = run(inputs, &gpu(), f);
    got.assert_close(&format!("{name} on the GPU"), &want, value);
    for (i, (got, want)) in got_gradients.iter().zip(&want_gradients).enumerate() {
        got.assert_close(&format!("gradient of {name} by operand {i} on the GPU"), want, gradient);
    }
}

/// Checks one operation: its value against plain loops, its gradients by central differences, and the GPU against the CPU.
#[track_caller]
pub fn check(name: &str, inputs: &[Host], f: Function, want: &Host, tolerance: Tolerance) {
    let xs: Vec<Tensor> = inputs.iter().map(|input| input.tensor(&Device::cpu())).collect();
    Host::read(&f(&xs)).assert_close(name, want, F64);
    check_gradient(name, inputs, f);
    let gradient = if tolerance.rtol == 0.0 { F32 } else { tolerance };
    check_gpu(name, inputs, f, tolerance, gradient);
}
