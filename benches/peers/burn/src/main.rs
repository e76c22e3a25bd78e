//! burn on wgpu: `peer-burn W2` serves a workload.
#![recursion_limit = "256"]

#[path = "../../../workloads/inputs.rs"]
mod inputs;
#[path = "../../serve.rs"]
mod serve;

use burn::module::Param;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Embedding, LayerNorm, LayerNormConfig, Linear, PaddingConfig2d};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::prelude::*;
use burn::tensor::Gradients;
use burn::tensor::activation::{gelu_approximate, relu, sigmoid, tanh};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;

fn uniform<const D: usize>(seed: u64, shape: [usize; D], scale: f32, device: &Device) -> Tensor<D> {
    let values = inputs::uniform(seed, shape.iter().product(), scale);
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn below<const D: usize>(seed: u64, shape: [usize; D], n: u64, device: &Device) -> Tensor<D, Int> {
    let values = inputs::below(seed, shape.iter().product(), n);
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn linear(seed: u64, inputs: usize, outputs: usize, device: &Device) -> Linear {
    let weight = TensorData::new(inputs::linear(seed, inputs, outputs), [inputs, outputs]);
    Linear {
        weight: Param::from_tensor(Tensor::from_data(weight, device)),
        bias: Some(Param::from_tensor(Tensor::zeros([outputs], device))),
    }
}

#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    fn new(seed: u64, sizes: &[usize], device: &Device) -> Self {
        let pairs = sizes.windows(2).zip(seed..);
        Mlp { layers: pairs.map(|(pair, seed)| linear(seed, pair[0], pair[1], device)).collect() }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let (last, inner) = self.layers.split_last().expect("it has layers");
        last.forward(inner.iter().fold(x, |x, layer| relu(layer.forward(x))))
    }
}

#[derive(Module, Debug)]
struct Cnn {
    convs: [Conv2d; 2],
    pool: MaxPool2d,
    last: Linear,
}

impl Cnn {
    fn new(device: &Device) -> Self {
        let conv = |seed, inputs: usize, outputs| {
            let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
            let mut conv = Conv2dConfig::new([inputs, outputs], [3, 3]).with_padding(padding).init(device);
            let scale = 1.0 / ((9 * inputs) as f32).sqrt();
            conv.weight = Param::from_tensor(uniform(seed, [outputs, inputs, 3, 3], scale, device));
            conv.bias = Some(Param::from_tensor(Tensor::zeros([outputs], device)));
            conv
        };
        let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
        Cnn { convs: [conv(511, 1, 16), conv(512, 16, 32)], pool, last: linear(513, 1568, 10, device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.convs.iter().fold(x, |x, conv| self.pool.forward(relu(conv.forward(x))));
        self.last.forward(x.flatten::<2>(1, 3))
    }
}

#[derive(Module, Debug)]
struct Block {
    norms: [LayerNorm; 2],
    qkv: Linear,
    projection: Linear,
    up: Linear,
    down: Linear,
}

#[derive(Module, Debug)]
struct Gpt {
    tokens: Embedding,
    positions: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(device: &Device) -> Self {
        let norm = || LayerNormConfig::new(128).init(device);
        let block = |seed| Block {
            norms: [norm(), norm()],
            qkv: linear(seed, 128, 384, device),
            projection: linear(seed + 1, 128, 128, device),
            up: linear(seed + 2, 128, 512, device),
            down: linear(seed + 3, 512, 128, device),
        };
        Gpt {
            tokens: Embedding { weight: Param::from_tensor(uniform(411, [65, 128], 0.05, device)) },
            positions: Param::from_tensor(uniform(412, [64, 128], 0.05, device)),
            blocks: (0..4).map(|layer| block(420 + 10 * layer)).collect(),
            norm: norm(),
            head: linear(413, 128, 65, device),
        }
    }

    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let causal = || AttentionModuleOptions { scale: None, softcap: None, is_causal: true };
        let mut x = self.tokens.forward(tokens) + self.positions.val().unsqueeze::<3>();
        for block in &self.blocks {
            let qkv = block.qkv.forward(block.norms[0].forward(x.clone())).chunk(3, 2);
            let mut heads = qkv.into_iter().map(|part| part.reshape([8, 64, 4, 32]).swap_dims(1, 2));
            let [q, k, v] = [(); 3].map(|()| heads.next().expect("three parts"));
            let seen = attention(q, k, v, None, None, causal()).swap_dims(1, 2).reshape([8, 64, 128]);
            x = x + block.projection.forward(seen);
            let up = gelu_approximate(block.up.forward(block.norms[1].forward(x.clone())));
            x = x + block.down.forward(up);
        }
        self.head.forward(self.norm.forward(x)).reshape([512, 65])
    }
}

fn read<const D: usize>(value: Tensor<D>) -> f64 {
    value.into_scalar::<f32>() as f64
}

/// Forward, backward, update.
fn train<M: Module>(
    model: M,
    mut optimizer: ModuleOptimizer,
    rate: f64,
    y: Tensor<1, Int>,
    forward: impl Fn(&M) -> Tensor<2>,
    device: &Device,
) {
    let criterion = CrossEntropyLossConfig::new().init(device);
    let mut model = Some(model);
    serve::serve(|units| {
        let mut last = None;
        for _ in 0..units {
            let current = model.take().expect("it is put back");
            let loss = criterion.forward(forward(&current), y.clone());
            let gradients = GradientsParams::from_grads(loss.backward(), &current);
            model = Some(optimizer.step(rate, current, gradients));
            last = Some(loss);
        }
        read(last.expect("a region has a unit"))
    });
}

/// A scalar, and its gradients, which `gradients` takes out.
fn differentiate<G>(device: &Device, value: impl Fn() -> Tensor<1>, gradients: impl Fn(&Gradients) -> G) {
    serve::serve(|units| {
        let mut last = None;
        for _ in 0..units {
            let value = value();
            let found = gradients(&value.backward());
            last = Some((value, found));
        }
        device.sync().expect("the device works");
        read(last.expect("a region has a unit").0)
    });
}

fn main() {
    let workload = std::env::args().nth(1).expect("a workload's name");
    let base = Device::wgpu(DeviceKind::DefaultDevice);
    let device = &base.clone().autodiff();
    match workload.as_str() {
        "W2" => {
            let (x, y) = (uniform(201, [128, 784], 1.0, device), below(202, [128], 10, device));
            let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
            let optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
            let model = Mlp::new(211, &[784, 512, 256, 10], device);
            train(model, optimizer, 0.01, y, |model| model.forward(x.clone()), device);
        }
        "W3" => {
            let (x, y) = (uniform(301, [32, 64], 1.0, device), below(302, [32], 10, device));
            let optimizer = AdamConfig::new().with_epsilon(1e-8).init();
            let model = Mlp::new(311, &[64, 128, 10], device);
            train(model, optimizer, 1e-3, y, |model| model.forward(x.clone()), device);
        }
        "W4" => {
            let (x, y) = (below(401, [8, 64], 65, device), below(402, [512], 65, device));
            let optimizer = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.1).init();
            train(Gpt::new(device), optimizer, 3e-4, y, |model| model.forward(x.clone()), device);
        }
        "W5" => {
            let (x, y) = (uniform(501, [64, 1, 28, 28], 1.0, device), below(502, [64], 10, device));
            let optimizer = SgdConfig::new().init();
            train(Cnn::new(device), optimizer, 0.01, y, |model| model.forward(x.clone()), device);
        }
        "W6" => {
            let [x, a, b] = [601, 602, 603].map(|seed| uniform(seed, [1 << 20], 1.0, device).require_grad());
            let value = || {
                let (x, a, b) = (x.clone(), a.clone(), b.clone());
                (tanh(x.clone() * a + b) * sigmoid(x.clone()) + x.clone() * x).sum()
            };
            differentiate(&base, value, |found| [x.grad(found), a.grad(found), b.grad(found)]);
        }
        "W7" => {
            let logits = uniform(701, [4096, 1000], 3.0, device).require_grad();
            let y = below(702, [4096], 1000, device);
            let criterion = CrossEntropyLossConfig::new().init(device);
            let value = || criterion.forward(logits.clone(), y.clone());
            differentiate(&base, value, |found| logits.grad(found));
        }
        "W8" => {
            let x = uniform(801, [8192, 1024], 1.0, device).require_grad();
            let [g, b] = [802, 803].map(|seed| uniform(seed, [1024], 1.0, device).require_grad());
            let value = || {
                let z = x.clone() * g.clone().unsqueeze::<2>() + b.clone().unsqueeze::<2>();
                (z.clone() * z).sum()
            };
            differentiate(&base, value, |found| (x.grad(found), g.grad(found), b.grad(found)));
        }
        product => {
            let n: usize = product.strip_prefix("W1-").and_then(|n| n.parse().ok()).expect("a workload");
            let [a, b] = [101, 102].map(|seed| uniform(seed, [n, n], 1.0, &base));
            serve::serve(|units| {
                let product = (0..units).map(|_| a.clone().matmul(b.clone())).last();
                base.sync().expect("the device works");
                read(product.expect("a region has a unit").slice([0..1, 0..1]))
            });
        }
    }
}
