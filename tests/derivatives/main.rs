//! The mathematics of derivatives, from the rules of school to the Hessian. To be read from top to bottom:
//!
//! 1. [`rules`]: one number in, one number out; each rule of differentiation against its closed form.
//! 2. [`vectors`]: the gradient, the Jacobian, and the derivative as the best linear map.
//! 3. [`paths`]: a variable that acts on several ways; total and partial derivatives.
//! 4. [`broadcasting`]: an element that is used many times collects all its gradients.
//! 5. [`learning`]: a linear layer, cross-entropy, and why one walks against the gradient.
//! 6. [`bookkeeping`]: where gradients gather, and what is kept of a graph.
//! 7. [`second_order`]: derivatives of derivatives.
//! 8. [`functional`]: products of Jacobians and Hessians with vectors.
//!
//! Every test runs twice: on the CPU reference, which computes in f64 and must agree to 1e-10, and on the GPU in f32.

#[path = "../common/mod.rs"]
mod common;

/// Makes of each function named, `fn(&Place)`, two tests: `cpu::name` and `gpu::name`.
macro_rules! on_both_devices {
    ($($test:ident),* $(,)?) => {
        mod cpu { $(
            #[test]
            fn $test() {
                super::$test(&crate::Place::cpu());
            }
        )* }
        mod gpu { $(
            #[test]
            fn $test() {
                super::$test(&crate::Place::gpu());
            }
        )* }
    };
}

mod bookkeeping;
mod broadcasting;
mod functional;
mod learning;
mod paths;
mod rules;
mod second_order;
mod vectors;

use wgrad::{Device, Tensor, autograd};

/// A device, and how exactly the mathematics holds there.
struct Place {
    device: Device,
    atol: f64,
    rtol: f64,
}

impl Place {
    /// f64 has 16 digits; the functions here lose two or three of them.
    fn cpu() -> Place {
        Place { device: Device::cpu(), atol: 1e-10, rtol: 1e-10 }
    }

    /// f32 rounds with a relative error of up to 2^-24. What is compared here is the result of a few dozen roundings,
    /// and of `exp` and `log`, which WGSL lets be wrong by several units in the last place: 128 roundings together are
    /// 2^-17, or 7.6e-6. Where a difference cancels, the error is one of its operands', which are of the order 1.
    fn gpu() -> Place {
        let tolerance = 2f64.powi(-17);
        Place { device: common::gpu(), atol: tolerance, rtol: tolerance }
    }

    fn is_exact(&self) -> bool {
        self.device.is_cpu()
    }

    /// A variable: a leaf that wants a gradient.
    fn variable(&self, data: impl AsRef<[f64]>, shape: &[usize]) -> Tensor {
        self.constant(data, shape).requires_grad()
    }

    /// A scalar that wants a gradient.
    fn number(&self, value: f64) -> Tensor {
        self.variable([value], &[])
    }

    /// A tensor that wants none.
    fn constant(&self, data: impl AsRef<[f64]>, shape: &[usize]) -> Tensor {
        Tensor::new(data, shape, &self.device)
    }

    /// Compares to this device's own tolerance.
    #[track_caller]
    fn close(&self, name: &str, got: &Tensor, want: &[f64]) {
        common::close(name, &values(got), want, self.atol, self.rtol);
    }

    /// The same, for what a leaf has gathered.
    #[track_caller]
    fn close_grad(&self, name: &str, of: &Tensor, want: &[f64]) {
        let gradient = of.grad().unwrap_or_else(|| panic!("{name}: no gradient arrived"));
        assert_eq!(gradient.shape(), of.shape(), "{name}: a gradient has the shape of what it belongs to");
        self.close(name, &gradient, want);
    }
}

#[track_caller]
fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_vec::<f64>().unwrap()
}

/// The derivative of the scalar `y` with respect to `x`; zeros if `y` does not depend on `x` at all.
#[track_caller]
fn gradient(y: &Tensor, x: &Tensor) -> Tensor {
    autograd::grad(y, &[x], false)[0].clone().unwrap_or_else(|| x.zeros_like())
}

/// The derivatives of each of K outputs with respect to each of D inputs, `[K, D]`: row k is the gradient of output k.
/// Both tensors are read as flat lists.
#[track_caller]
fn jacobian(y: &Tensor, x: &Tensor) -> Vec<f64> {
    let y = y.reshape([-1]);
    (0..y.numel()).flat_map(|k| values(&gradient(&y.select(0, k as i64), x))).collect()
}

/// Numbers that look like chance and are the same everywhere: multiples of 1/64 in [0.5, 2), exact in f32 too.
fn numbers(count: usize, seed: usize) -> Vec<f64> {
    (0..count).map(|i| 0.5 + ((i * 37 + seed * 53 + i * i * 11) % 96) as f64 / 64.0).collect()
}
