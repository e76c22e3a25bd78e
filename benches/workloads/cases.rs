//! The workloads that every library is measured on, and the work of each. Inputs and initial weights are the same for every
//! library, so that values can be compared as well as times.

use wgrad::nn::{Linear, Module, Visitor};
use wgrad::optim::{Adam, AdamW, Optimizer, SGD, clip_grad_norm};
use wgrad::{ConvOptions, Device, PoolOptions, Tensor, Var, autograd};

#[path = "ceilings.rs"]
mod ceilings;
#[path = "inputs.rs"]
mod inputs;

/// A workload, the same for every library.
#[derive(Clone, Copy)]
pub struct Workload {
    pub name: &'static str,
    pub metric: Metric,
    /// Units in a timed region.
    pub units: usize,
    pub work: Work,
}

#[derive(Clone, Copy)]
pub enum Metric {
    GigaFlops,
    GigaBytes,
    StepsPerSecond,
    Milliseconds,
}

/// The work of one unit by its definition, independent of the library.
#[derive(Clone, Copy)]
pub struct Work {
    /// Floating-point operations. A training step counts those of matrix products only.
    pub flops: f64,
    /// Bytes of memory traffic if elementwise operations are fused into other kernels.
    pub bytes: f64,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Metric::GigaFlops => "GFLOP/s",
            Metric::GigaBytes => "GB/s",
            Metric::StepsPerSecond => "steps/s",
            Metric::Milliseconds => "ms",
        }
    }
}

impl Workload {
    pub fn named(name: &str) -> Option<Workload> {
        use Metric::*;
        let name = *CEILINGS.iter().chain(&NAMES).find(|known| **known == name)?;
        let (metric, units, work) = match name {
            "copy" => (GigaBytes, 4, Work { flops: 0.0, bytes: 8.0 * ceilings::COPIED as f64 }),
            "multiply_add" => {
                let steps = (ceilings::MULTIPLYING * ceilings::MULTIPLICATIONS) as f64;
                (GigaFlops, 4, Work { flops: 2.0 * steps, bytes: 8.0 * ceilings::MULTIPLYING as f64 })
            }
            "W2" => (StepsPerSecond, 20, Work::of_mlp(128, &[784, 512, 256, 10], 1)),
            "W3" => (StepsPerSecond, 100, Work::of_mlp(32, &[64, 128, 10], 2)),
            "W4" => (StepsPerSecond, 10, Work::of_gpt()),
            "W5" => (StepsPerSecond, 10, Work::of_cnn()),
            // 8 operations forward, 12 backward; three vectors are read, three written.
            "W6" => (Milliseconds, 10, Work::per_element(1 << 20, 20, 6)),
            // Largest, difference, exponential, sum; quotient, scaling. The logits are read, their gradient is written.
            "W7" => (Milliseconds, 10, Work::per_element(4096 * 1000, 6, 2)),
            // 4 operations forward, 5 backward; x is read, its gradient is written.
            "W8" => (Milliseconds, 10, Work::per_element(8192 * 1024, 9, 2)),
            product => {
                let n = product.split('-').nth(1).and_then(|size| size.parse().ok()).expect("W1 has a size");
                let work = Work { flops: 2.0 * f64::powi(n, 3), bytes: 4.0 * 3.0 * n * n };
                (GigaFlops, ((1 << 28) as f64 / n.powi(3)).max(4.0) as usize, work)
            }
        };
        Some(Workload { name, metric, units, work })
    }

    /// From seconds per unit.
    pub fn value(&self, seconds: f64) -> f64 {
        match self.metric {
            Metric::GigaFlops => self.work.flops / seconds / 1e9,
            Metric::GigaBytes => self.work.bytes / seconds / 1e9,
            Metric::StepsPerSecond => 1.0 / seconds,
            Metric::Milliseconds => 1e3 * seconds,
        }
    }
}

impl Work {
    fn per_element(elements: usize, flops: usize, moves: usize) -> Work {
        Work { flops: (flops * elements) as f64, bytes: (4 * moves * elements) as f64 }
    }

    /// A product forward gives two backward, but the first layer's input needs no gradient. `products` and `first`
    /// are multiplications forward.
    ///
    /// A parameter is read forward, backward and by its update, and written; each of its optimizer's states is read and
    /// written. An activation is written, read by the next layer and by backward; its gradient is written and read.
    fn of_step(products: usize, first: usize, parameters: usize, states: usize, activations: usize) -> Work {
        let moved = parameters * (4 + 2 * states) + 5 * activations;
        Work { flops: 2.0 * (3 * products - first) as f64, bytes: 4.0 * moved as f64 }
    }

    fn of_mlp(batch: usize, sizes: &[usize], states: usize) -> Work {
        let layers = || sizes.windows(2);
        let products: usize = layers().map(|layer| batch * layer[0] * layer[1]).sum();
        let parameters = layers().map(|layer| (layer[0] + 1) * layer[1]).sum();
        let activations = batch * sizes[1..].iter().sum::<usize>();
        Work::of_step(products, batch * sizes[0] * sizes[1], parameters, states, activations)
    }

    /// A block multiplies each token by 12 matrices of `WIDTH` by `WIDTH` (queries, keys, values, projection, and 4 up and
    /// 4 down), and writes 12 vectors of `WIDTH` a token; attention is two products over the keys that a query may see.
    fn of_gpt() -> Work {
        let (tokens, square) = (BATCH * CONTEXT, WIDTH * WIDTH);
        let seen = BATCH * CONTEXT * (CONTEXT + 1) / 2;
        let products = LAYERS * (12 * tokens * square + 2 * seen * WIDTH) + tokens * WIDTH * VOCABULARY;
        let (biases, norms) = (9 * WIDTH, 4 * WIDTH);
        let parameters = LAYERS * (12 * square + biases + norms)
            + WIDTH * (VOCABULARY + CONTEXT + 2)
            + (WIDTH + 1) * VOCABULARY;
        let activations = tokens * (12 * WIDTH * LAYERS + 2 * WIDTH + VOCABULARY);
        Work::of_step(products, 0, parameters, 2, activations)
    }

    /// Convolutions of 3 by 3, each with what it writes, then what its pool writes.
    fn of_cnn() -> Work {
        let (batch, large, middle, small) = (64, 28 * 28, 14 * 14, 7 * 7);
        let first = batch * large * 9 * 16;
        let products = first + batch * middle * 9 * 16 * 32 + batch * 1568 * 10;
        let parameters = (9 + 1) * 16 + (9 * 16 + 1) * 32 + (1568 + 1) * 10;
        let activations = batch * (16 * (large + middle) + 32 * (middle + small) + 10);
        Work::of_step(products, first, parameters, 0, activations)
    }
}

/// The adapter's limits: bandwidth and arithmetic.
pub const CEILINGS: [&str; 2] = ["copy", "multiply_add"];

pub const NAMES: [&str; 14] = [
    "W1-256",
    "W1-512",
    "W1-512-NT",
    "W1-512-TN",
    "W1-1024",
    "W1-1024-NT",
    "W1-1024-TN",
    "W2",
    "W3",
    "W4",
    "W5",
    "W6",
    "W7",
    "W8",
];

/// Runs one unit of a workload on a device, and returns the tensor to be read at the end: a loss or a value.
pub fn unit(name: &str, device: &Device) -> Box<dyn FnMut() -> Tensor> {
    match name {
        "copy" => ceilings::copy(device),
        "multiply_add" => ceilings::multiply_add(device),
        "W2" => mlp_with_momentum(device),
        "W3" | "W3-clipped" => small_mlp_with_adam(device, name != "W3"),
        "W4" | "W4-clipped" => gpt(device, name != "W4"),
        "W5" => cnn(device),
        "W6" => elementwise(device),
        "W7" => cross_entropy(device),
        "W8" => broadcast(device),
        product => {
            let mut parts = product.split('-').skip(1);
            let n = parts.next().and_then(|size| size.parse().ok()).expect("W1 has a size");
            matmul(n, parts.next().unwrap_or("NN"), device)
        }
    }
}

fn uniform(seed: u64, shape: &[usize], scale: f32, device: &Device) -> Tensor {
    Tensor::new(inputs::uniform(seed, shape.iter().product(), scale), shape, device)
}

fn below(seed: u64, shape: &[usize], n: u64, device: &Device) -> Tensor {
    Tensor::new(inputs::below(seed, shape.iter().product(), n), shape, device)
}

/// The weight comes as `[inputs, outputs]`; a [`Linear`] holds it transposed.
fn linear(seed: u64, inputs: usize, outputs: usize, device: &Device) -> Linear {
    let layer = Linear::new(inputs, outputs, device);
    let weight = inputs::linear(seed, inputs, outputs);
    let turned = (0..weight.len()).map(|i| weight[i % inputs * outputs + i / inputs]).collect::<Vec<f32>>();
    layer.weight.set(Tensor::new(turned, [outputs, inputs], device));
    layer.bias.as_ref().expect("it has one").set(Tensor::zeros([outputs], device));
    layer
}

/// In the layouts NT and TN the right or the left matrix is stored transposed.
fn matmul(n: usize, layout: &str, device: &Device) -> Box<dyn FnMut() -> Tensor> {
    let matrix = |seed, turned| {
        let matrix = uniform(seed, &[n, n], 1.0, device);
        if turned { matrix.t() } else { matrix }
    };
    let (a, b) = (matrix(101, layout == "TN"), matrix(102, layout == "NT"));
    Box::new(move || {
        let c = a.matmul(&b);
        c.realize().expect("the device works");
        c.narrow(0, 0, 1).narrow(1, 0, 1)
    })
}

/// Forward, backward, update; with the gradients clipped by their norm, if asked for.
fn train(
    mut loss: impl FnMut() -> Tensor + 'static,
    mut optimizer: impl Optimizer + 'static,
    clipped: bool,
) -> Box<dyn FnMut() -> Tensor> {
    Box::new(move || {
        let loss = loss();
        loss.backward();
        if clipped {
            clip_grad_norm(&optimizer.params(), 1.0, 2.0);
        }
        optimizer.step();
        loss
    })
}

/// The gradients of a scalar by its inputs.
fn differentiate(
    inputs: Vec<Tensor>,
    f: impl Fn(&[Tensor]) -> Tensor + 'static,
) -> Box<dyn FnMut() -> Tensor> {
    let places: Vec<Var> = inputs.iter().map(|x| Var::buffer(x.zeros_like())).collect();
    let inputs: Vec<Tensor> = inputs.into_iter().map(Tensor::requires_grad).collect();
    Box::new(move || {
        let value = f(&inputs);
        let found = autograd::grad(&value, &inputs.iter().collect::<Vec<_>>(), false);
        for (place, gradient) in places.iter().zip(found) {
            place.set(gradient.expect("the value depends on every input"));
        }
        value.realize().expect("the device works"); // and, as the places are the device's, the gradients
        value
    })
}

fn relu_network(seed: u64, sizes: &[usize], device: &Device) -> impl Module + use<> {
    struct Layers(Vec<Linear>);
    impl Module for Layers {
        fn forward(&self, x: &Tensor) -> Tensor {
            let (last, inner) = self.0.split_last().expect("it has layers");
            last.forward(&inner.iter().fold(x.clone(), |x, layer| layer.forward(&x).relu()))
        }
        fn visit(&self, visitor: &mut Visitor) {
            self.0.iter().enumerate().for_each(|(i, layer)| visitor.module(&i.to_string(), layer));
        }
    }
    Layers(sizes.windows(2).zip(seed..).map(|(pair, seed)| linear(seed, pair[0], pair[1], device)).collect())
}

fn mlp_with_momentum(device: &Device) -> Box<dyn FnMut() -> Tensor> {
    let model = relu_network(211, &[784, 512, 256, 10], device);
    let (x, y) = (uniform(201, &[128, 784], 1.0, device), below(202, &[128], 10, device));
    let optimizer = SGD::new(model.params(), 0.01).momentum(0.9);
    train(move || model.forward(&x).cross_entropy(&y), optimizer, false)
}

fn small_mlp_with_adam(device: &Device, clipped: bool) -> Box<dyn FnMut() -> Tensor> {
    let model = relu_network(311, &[64, 128, 10], device);
    let (x, y) = (uniform(301, &[32, 64], 1.0, device), below(302, &[32], 10, device));
    let optimizer = Adam::new(model.params(), 1e-3);
    train(move || model.forward(&x).cross_entropy(&y), optimizer, clipped)
}

/// Gain and shift of a normalisation.
struct Norm(Var, Var);

impl Norm {
    fn new(width: usize, device: &Device) -> Norm {
        let ones = Tensor::ones([width], device);
        Norm(Var::parameter(ones.clone()), Var::parameter(ones.zeros_like()))
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm([WIDTH], Some(&self.0.tensor()), Some(&self.1.tensor()), 1e-5)
    }
}

struct Block {
    norms: [Norm; 2],
    /// Queries, keys and values; their projection; the two layers of the feed-forward part.
    layers: [Linear; 4],
}

const WIDTH: usize = 128;
const HEADS: usize = 4;
const CONTEXT: usize = 64;
const BATCH: usize = 8;
const VOCABULARY: usize = 65;
const LAYERS: usize = 4;

impl Block {
    fn forward(&self, x: &Tensor) -> Tensor {
        let [qkv, projection, up, down] = &self.layers;
        let heads = |x: &Tensor| x.reshape([BATCH, CONTEXT, HEADS, WIDTH / HEADS]).transpose(1, 2);
        let parts = qkv.forward(&self.norms[0].forward(x)).split(WIDTH, 2);
        let [q, k, v] = [0, 1, 2].map(|i| heads(&parts[i]));
        let seen = q.scaled_dot_product_attention(&k, &v, None, true, None);
        let x = x + projection.forward(&seen.transpose(1, 2).reshape([BATCH, CONTEXT, WIDTH]));
        &x + down.forward(&up.forward(&self.norms[1].forward(&x)).gelu_tanh())
    }

    fn params(&self) -> Vec<Var> {
        let norms = self.norms.iter().flat_map(|norm| [norm.0.clone(), norm.1.clone()]);
        norms.chain(self.layers.iter().flat_map(Module::params)).collect()
    }
}

fn gpt(device: &Device, clipped: bool) -> Box<dyn FnMut() -> Tensor> {
    let tokens = Var::parameter(uniform(411, &[VOCABULARY, WIDTH], 0.05, device));
    let positions = Var::parameter(uniform(412, &[CONTEXT, WIDTH], 0.05, device));
    let block = |seed: u64| Block {
        norms: [(); 2].map(|()| Norm::new(WIDTH, device)),
        layers: [
            linear(seed, WIDTH, 3 * WIDTH, device),
            linear(seed + 1, WIDTH, WIDTH, device),
            linear(seed + 2, WIDTH, 4 * WIDTH, device),
            linear(seed + 3, 4 * WIDTH, WIDTH, device),
        ],
    };
    let blocks: Vec<Block> = (0..LAYERS as u64).map(|layer| block(420 + 10 * layer)).collect();
    let (norm, head) = (Norm::new(WIDTH, device), linear(413, WIDTH, VOCABULARY, device));
    let mut params = vec![tokens.clone(), positions.clone(), norm.0.clone(), norm.1.clone()];
    params.extend(blocks.iter().flat_map(Block::params));
    params.extend(head.params());
    let x = below(401, &[BATCH, CONTEXT], VOCABULARY as u64, device);
    let y = below(402, &[BATCH * CONTEXT], VOCABULARY as u64, device);
    let loss = move || {
        let embedded = x.embedding(&tokens.tensor()) + positions.tensor();
        let hidden = blocks.iter().fold(embedded, |x, block| block.forward(&x));
        head.forward(&norm.forward(&hidden)).reshape([BATCH * CONTEXT, VOCABULARY]).cross_entropy(&y)
    };
    train(loss, AdamW::new(params, 3e-4).weight_decay(0.1), clipped)
}

fn cnn(device: &Device) -> Box<dyn FnMut() -> Tensor> {
    let conv = |seed: u64, inputs: usize, outputs: usize| {
        let scale = 1.0 / ((9 * inputs) as f32).sqrt();
        let weight = Var::parameter(uniform(seed, &[outputs, inputs, 3, 3], scale, device));
        (weight, Var::parameter(Tensor::zeros([outputs], device)))
    };
    let (convs, last) = ([conv(511, 1, 16), conv(512, 16, 32)], linear(513, 1568, 10, device));
    let (x, y) = (uniform(501, &[64, 1, 28, 28], 1.0, device), below(502, &[64], 10, device));
    let params = convs.iter().flat_map(|(weight, bias)| [weight.clone(), bias.clone()]);
    let optimizer = SGD::new(params.chain(last.params()).collect(), 0.01);
    let loss = move || {
        let features = convs.iter().fold(x.clone(), |x, (weight, bias)| {
            let conv = ConvOptions { padding: [1, 1], ..ConvOptions::default() };
            let x = x.conv2d(&weight.tensor(), Some(&bias.tensor()), conv);
            x.relu().max_pool2d(PoolOptions::new([2, 2]))
        });
        last.forward(&features.flatten(1, 3)).cross_entropy(&y)
    };
    train(loss, optimizer, false)
}

fn elementwise(device: &Device) -> Box<dyn FnMut() -> Tensor> {
    let inputs = [601, 602, 603].map(|seed| uniform(seed, &[1 << 20], 1.0, device));
    differentiate(inputs.into(), |xs| {
        let [x, a, b] = xs else { unreachable!("three inputs") };
        ((x * a + b).tanh() * x.sigmoid() + x * x).sum()
    })
}

fn cross_entropy(device: &Device) -> Box<dyn FnMut() -> Tensor> {
    let (logits, y) = (uniform(701, &[4096, 1000], 3.0, device), below(702, &[4096], 1000, device));
    differentiate(vec![logits], move |xs| xs[0].cross_entropy(&y))
}

fn broadcast(device: &Device) -> Box<dyn FnMut() -> Tensor> {
    let inputs = vec![
        uniform(801, &[8192, 1024], 1.0, device),
        uniform(802, &[1024], 1.0, device),
        uniform(803, &[1024], 1.0, device),
    ];
    differentiate(inputs, |xs| (&xs[0] * &xs[1] + &xs[2]).square().sum())
}
