//! The workloads that every library is measured on, defined once: the same inputs and initial weights everywhere (a hash
//! of a seed and an index), so that values can be compared as well as times.

use wgrad::nn::{Linear, Module, Visitor};
use wgrad::optim::{Adam, AdamW, Optimizer, SGD};
use wgrad::{Conv, Device, Error, Pool2d, Tensor, Var, autograd};

/// A workload on a device.
pub struct Case {
    pub name: &'static str,
    pub metric: Metric,
    /// Units in a timed region.
    pub units: usize,
    /// Does one unit, and gives what is to be read at the end: a loss, a value.
    pub unit: Box<dyn FnMut() -> Tensor>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// So many floating-point operations a unit.
    GigaFlops(f64),
    StepsPerSecond,
    Milliseconds,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Metric::GigaFlops(_) => "GFLOP/s",
            Metric::StepsPerSecond => "steps/s",
            Metric::Milliseconds => "ms",
        }
    }

    /// From seconds a unit.
    pub fn value(self, seconds: f64) -> f64 {
        match self {
            Metric::GigaFlops(operations) => operations / seconds / 1e9,
            Metric::StepsPerSecond => 1.0 / seconds,
            Metric::Milliseconds => 1e3 * seconds,
        }
    }
}

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

pub fn case(name: &str, device: &Device) -> Option<Case> {
    let name = *NAMES.iter().find(|known| **known == name)?;
    let (metric, units, unit): (Metric, usize, Box<dyn FnMut() -> Tensor>) = match name {
        "W2" => (Metric::StepsPerSecond, 20, mlp_with_momentum(device)),
        "W3" => (Metric::StepsPerSecond, 100, small_mlp_with_adam(device)),
        "W4" => (Metric::StepsPerSecond, 10, gpt(device)),
        "W5" => (Metric::StepsPerSecond, 10, cnn(device)),
        "W6" => (Metric::Milliseconds, 10, elementwise(device)),
        "W7" => (Metric::Milliseconds, 10, cross_entropy(device)),
        "W8" => (Metric::Milliseconds, 10, broadcast(device)),
        product => {
            let mut parts = product.split('-').skip(1);
            let n: usize = parts.next().and_then(|size| size.parse().ok()).expect("W1 has a size");
            let units = ((1 << 28) / (n * n * n)).max(4);
            (
                Metric::GigaFlops(2.0 * (n as f64).powi(3)),
                units,
                matmul(n, parts.next().unwrap_or("NN"), device),
            )
        }
    };
    Some(Case { name, metric, units, unit })
}

fn hash(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E3779B97F4A7C15).wrapping_add((i + 1).wrapping_mul(0xBF58476D1CE4E5B9));
    z ^= z >> 30;
    z = z.wrapping_mul(0xBF58476D1CE4E5B9);
    z ^= z >> 27;
    z = z.wrapping_mul(0x94D049BB133111EB);
    z ^ (z >> 31)
}

/// Uniform in ±`scale`.
fn uniform(seed: u64, shape: &[usize], scale: f32, device: &Device) -> Tensor {
    let count = shape.iter().product::<usize>() as u64;
    let of = |i| ((hash(seed, i) >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale;
    Tensor::new((0..count).map(of).collect::<Vec<f32>>(), shape, device)
}

/// Integers from 0 to below `n`.
fn below(seed: u64, shape: &[usize], n: u64, device: &Device) -> Tensor {
    let count = shape.iter().product::<usize>() as u64;
    let of = |i| ((hash(seed, i) >> 33) % n) as i32;
    Tensor::new((0..count).map(of).collect::<Vec<i32>>(), shape, device)
}

/// The seed is that of the weight `[in, out]`; a [`Linear`] holds it transposed.
fn linear(seed: u64, inputs: usize, outputs: usize, device: &Device) -> Linear {
    let layer = Linear::new(inputs, outputs, device);
    let scale = 1.0 / (inputs as f32).sqrt();
    let of = |i: usize| {
        let (row, col) = (i % inputs, i / inputs);
        ((hash(seed, (row * outputs + col) as u64) >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
    };
    let weight: Vec<f32> = (0..inputs * outputs).map(of).collect();
    layer.weight.set(Tensor::new(weight, [outputs, inputs], device));
    layer.bias.as_ref().expect("it has one").set(Tensor::zeros([outputs], device));
    layer
}

/// In the layouts NT and TN the right or the left matrix lies transposed in memory.
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

/// Forward, backward, update.
fn train(
    mut loss: impl FnMut() -> Tensor + 'static,
    mut optimizer: impl Optimizer + 'static,
) -> Box<dyn FnMut() -> Tensor> {
    Box::new(move || {
        let loss = loss();
        loss.backward();
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
    train(move || model.forward(&x).cross_entropy(&y), optimizer)
}

fn small_mlp_with_adam(device: &Device) -> Box<dyn FnMut() -> Tensor> {
    let model = relu_network(311, &[64, 128, 10], device);
    let (x, y) = (uniform(301, &[32, 64], 1.0, device), below(302, &[32], 10, device));
    let optimizer = Adam::new(model.params(), 1e-3);
    train(move || model.forward(&x).cross_entropy(&y), optimizer)
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

fn gpt(device: &Device) -> Box<dyn FnMut() -> Tensor> {
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
    let blocks: Vec<Block> = (0..4).map(|layer| block(420 + 10 * layer)).collect();
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
    train(loss, AdamW::new(params, 3e-4).weight_decay(0.1))
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
            let conv = Conv { padding: [1, 1], ..Conv::default() };
            let x = x.conv2d(&weight.tensor(), Some(&bias.tensor()), conv);
            x.relu().max_pool2d(Pool2d::new([2, 2]))
        });
        last.forward(&features.flatten(1, 3)).cross_entropy(&y)
    };
    train(loss, optimizer)
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

/// What a read waits for.
pub fn read(value: &Tensor) -> Result<f64, Error> {
    value.item()
}
