//! The adapter's limits, measured with a kernel that only copies and one that only multiplies and adds.

use wgrad::ops::{Buffer, Fused, Launch};
use wgrad::{Device, Limits, ShapeError, Spec, Tensor};

/// Elements to copy: 64 MiB, larger than caches.
pub const COPIED: usize = 1 << 24;
/// Invocations that multiply and add, and how often each does.
pub const MULTIPLYING: usize = 1 << 17;
pub const MULTIPLICATIONS: usize = 128 * 8 * 16;

#[derive(Debug)]
struct Copy;

impl Fused for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        Ok(inputs.to_vec())
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        vec![inputs[0].clone()]
    }

    fn launch(&self, io: &[Spec], _limits: &Limits) -> Option<Vec<Launch>> {
        Some(vec![one_each(include_str!("copy.wgsl"), io[0].shape.numel() / 4, 4)])
    }
}

/// Repeats `x = x / 2 + 1 / 2`, which converges to 1.
#[derive(Debug)]
struct MultiplyAdd;

impl Fused for MultiplyAdd {
    fn name(&self) -> &'static str {
        "multiply_add"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        Ok(inputs.to_vec())
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        vec![inputs[0].ones_like()]
    }

    fn launch(&self, io: &[Spec], _limits: &Limits) -> Option<Vec<Launch>> {
        Some(vec![one_each(include_str!("multiply_add.wgsl"), io[0].shape.numel(), MULTIPLICATIONS)])
    }
}

fn one_each(source: &'static str, invocations: usize, work: usize) -> Launch {
    Launch::new(source)
        .buffers([Buffer::Input(0), Buffer::Output(0)])
        .workgroups((invocations / 64) as u32)
        .work((invocations * work) as u64)
}

pub fn copy(device: &Device) -> Box<dyn FnMut() -> Tensor> {
    repeat(|x| Tensor::fused(Copy, &[x]), COPIED, device)
}

pub fn multiply_add(device: &Device) -> Box<dyn FnMut() -> Tensor> {
    repeat(|x| Tensor::fused(MultiplyAdd, &[x]), MULTIPLYING, device)
}

fn repeat(
    f: impl Fn(&Tensor) -> Vec<Tensor> + 'static,
    n: usize,
    device: &Device,
) -> Box<dyn FnMut() -> Tensor> {
    let x = Tensor::full([n], 3.0, device);
    x.realize().expect("the device works");
    Box::new(move || {
        let y = f(&x).remove(0);
        y.realize().expect("the device works");
        y.narrow(0, -1, 1)
    })
}
