//! A user-defined operation: `swiglu(gate, up) = silu(gate) * up`, the gate of a transformer's feed-forward layer
//! (Shazeer, <https://arxiv.org/abs/2002.05202>), as two WGSL kernels with their decompositions into primitives.
//!
//! The forward kernel saves the sigmoid for the backward kernel. `check` compares both with their decompositions, and a
//! small network trains with the operation.

use clap::{Parser, ValueEnum};
use wgrad::nn::{Linear, Module};
use wgrad::ops::{Buffer, Fused, Io, Launch, Tolerance, Word, check};
use wgrad::optim::{AdamW, Optimizer};
use wgrad::{DType, Device, Limits, Reduction, ShapeError, Spec, Tensor};

#[derive(Parser)]
#[command(about = "Train through an operation of your own: WGSL and its decomposition")]
struct Args {
    /// Device to compute on.
    #[arg(long, value_enum, default_value = "auto")]
    device: Where,
    /// Training steps.
    #[arg(long, default_value_t = 200)]
    steps: usize,
    /// Seed of the data and the weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Where {
    Auto,
    Gpu,
    Cpu,
}

/// `(gate, up) -> (silu(gate) * up, sigmoid(gate))`, all with the same shape.
#[derive(Debug)]
struct SwiGlu;

/// `(gate, up, sigmoid, gradient) -> (gradient of the gate, gradient of up)`
#[derive(Debug)]
struct SwiGluBackward;

fn swiglu(gate: &Tensor, up: &Tensor) -> Tensor {
    Tensor::fused(SwiGlu, &[gate, up]).remove(0)
}

impl Fused for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        let [gate, up] = inputs else {
            return Err(ShapeError(format!("expects 2 inputs, got {}", inputs.len())));
        };
        if gate != up || !gate.dtype.is_float() {
            return Err(ShapeError(format!("expects two f32 tensors of one shape, got {gate} and {up}")));
        }
        Ok(vec![gate.clone(), gate.clone()])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let sigmoid = inputs[0].sigmoid();
        vec![&inputs[0] * &sigmoid * &inputs[1], sigmoid]
    }

    fn backward(&self, io: &Io, grads: &[Option<Tensor>]) -> Option<Vec<Option<Tensor>>> {
        // Second-order gradients produce a gradient of the saved sigmoid. `None` differentiates the decomposition
        // instead.
        let [Some(grad), None] = grads else { return None };
        let [gate, up] = io.inputs else { return None };
        let found = Tensor::fused(SwiGluBackward, &[gate, up, &io.outputs[1], grad]);
        Some(found.into_iter().map(Some).collect())
    }

    fn launch(&self, io: &[Spec], _limits: &Limits) -> Option<Vec<Launch>> {
        let buffers = [Buffer::Input(0), Buffer::Input(1), Buffer::Output(0), Buffer::Output(1)];
        Some(vec![elementwise(include_str!("swiglu.wgsl"), &io[0]).buffers(buffers)])
    }
}

impl Fused for SwiGluBackward {
    fn name(&self) -> &'static str {
        "swiglu_backward"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>, ShapeError> {
        Ok(vec![inputs[0].clone(), inputs[1].clone()])
    }

    fn decomposition(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let [gate, up, sigmoid, grad] = inputs else { unreachable!("the gradient has four inputs") };
        let silu = gate * sigmoid;
        vec![grad * up * (sigmoid + &silu * (1.0 - sigmoid)), grad * silu]
    }

    fn launch(&self, io: &[Spec], _limits: &Limits) -> Option<Vec<Launch>> {
        let inputs = (0..4).map(Buffer::Input);
        let buffers = inputs.chain([Buffer::Output(0), Buffer::Output(1)]);
        Some(vec![elementwise(include_str!("swiglu_backward.wgsl"), &io[0]).buffers(buffers)])
    }
}

/// One invocation per element.
fn elementwise(source: &'static str, spec: &Spec) -> Launch {
    let n = spec.shape.numel() as u32;
    Launch::new(source).uniforms([Word::Size(n)]).workgroups(n.div_ceil(64)).work(10 * u64::from(n))
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let device = match args.device {
        Where::Auto => Device::auto(),
        Where::Gpu => Device::gpu()?,
        Where::Cpu => Device::cpu(),
    };
    wgrad::manual_seed(args.seed);
    println!("on {device}");

    let (gate, up) = (Tensor::randn([33, 7], &device), Tensor::randn([33, 7], &device));
    check(SwiGlu, &[&gate, &up], Tolerance { atol: 1e-6, rtol: 1e-6 })?;
    println!("values, gradients and second order are those of the decomposition");

    // A feed-forward layer learns a sine.
    let x = ((Tensor::arange(128, &device).to_dtype(DType::F32) - 63.5) / 20.0).unsqueeze(1).detach();
    let target = x.sin().detach();
    let (gate, up, down) =
        (Linear::new(1, 32, &device), Linear::new(1, 32, &device), Linear::new(32, 1, &device));
    let parameters = [&gate, &up, &down].into_iter().flat_map(Module::params).collect::<Vec<_>>();
    let mut optimizer = AdamW::new(parameters, 1e-2);
    let mut last = f64::NAN;
    for step in 0..args.steps {
        let hidden = swiglu(&gate.forward(&x), &up.forward(&x));
        let loss = down.forward(&hidden).mse_loss(&target, Reduction::Mean);
        loss.backward();
        optimizer.step();
        if step % 50 == 0 || step + 1 == args.steps {
            last = loss.item()?;
            println!("step {step}: loss {last:.5}");
        }
    }
    println!("mean squared error {last:.5}");
    Ok(())
}
