//! candle on the CPU: `peer-candle W2` serves a workload.

#[path = "../../../workloads/inputs.rs"]
mod inputs;
#[path = "../../serve.rs"]
mod serve;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::loss::cross_entropy;
use candle_nn::{AdamW, Module, Optimizer, ParamsAdamW, ops};

const CPU: Device = Device::Cpu;

fn uniform(seed: u64, shape: &[usize], scale: f32) -> Result<Tensor> {
    Tensor::from_vec(inputs::uniform(seed, shape.iter().product(), scale), shape, &CPU)
}

fn below(seed: u64, shape: &[usize], n: u64) -> Result<Tensor> {
    Tensor::from_vec(inputs::below(seed, shape.iter().product(), n), shape, &CPU)?.to_dtype(DType::U32)
}

struct Linear {
    /// `[outputs, inputs]`
    weight: Var,
    bias: Var,
}

impl Linear {
    fn new(seed: u64, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = Tensor::from_vec(inputs::linear(seed, inputs, outputs), (inputs, outputs), &CPU)?;
        Ok(Linear {
            weight: Var::from_tensor(&weight.t()?.contiguous()?)?,
            bias: Var::zeros(outputs, DType::F32, &CPU)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::Linear::new(self.weight.as_tensor().clone(), Some(self.bias.as_tensor().clone()))
            .forward(x)
    }

    fn vars(&self) -> [Var; 2] {
        [self.weight.clone(), self.bias.clone()]
    }
}

struct Norm(Var, Var);

impl Norm {
    fn new() -> Result<Norm> {
        Ok(Norm(Var::ones(128, DType::F32, &CPU)?, Var::zeros(128, DType::F32, &CPU)?))
    }

    /// `candle_nn::LayerNorm` loses the gradient without a word; this one differentiates.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm_slow(x, &self.0, &self.1, 1e-5)
    }

    fn vars(&self) -> [Var; 2] {
        [self.0.clone(), self.1.clone()]
    }
}

struct Mlp(Vec<Linear>);

impl Mlp {
    fn new(seed: u64, sizes: &[usize]) -> Result<Mlp> {
        let pairs = sizes.windows(2).zip(seed..);
        Ok(Mlp(pairs.map(|(pair, seed)| Linear::new(seed, pair[0], pair[1])).collect::<Result<_>>()?))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (last, inner) = self.0.split_last().expect("it has layers");
        last.forward(&inner.iter().try_fold(x.clone(), |x, layer| layer.forward(&x)?.relu())?)
    }

    fn vars(&self) -> Vec<Var> {
        self.0.iter().flat_map(Linear::vars).collect()
    }
}

struct Block {
    norms: [Norm; 2],
    /// Queries, keys and values; their projection; the two layers of the feed-forward part.
    layers: [Linear; 4],
}

struct Gpt {
    tokens: Var,
    positions: Var,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
    seen: Tensor,
    hidden: Tensor,
}

impl Gpt {
    fn new() -> Result<Gpt> {
        let block = |seed| -> Result<Block> {
            Ok(Block {
                norms: [Norm::new()?, Norm::new()?],
                layers: [
                    Linear::new(seed, 128, 384)?,
                    Linear::new(seed + 1, 128, 128)?,
                    Linear::new(seed + 2, 128, 512)?,
                    Linear::new(seed + 3, 512, 128)?,
                ],
            })
        };
        let seen = (0..64 * 64).map(|i| u8::from(i % 64 <= i / 64)).collect::<Vec<_>>();
        Ok(Gpt {
            tokens: Var::from_tensor(&uniform(411, &[65, 128], 0.05)?)?,
            positions: Var::from_tensor(&uniform(412, &[64, 128], 0.05)?)?,
            blocks: (0..4).map(|layer| block(420 + 10 * layer)).collect::<Result<_>>()?,
            norm: Norm::new()?,
            head: Linear::new(413, 128, 65)?,
            seen: Tensor::from_vec(seen, (64, 64), &CPU)?.broadcast_as((8, 4, 64, 64))?,
            hidden: Tensor::new(-1e9f32, &CPU)?.broadcast_as((8, 4, 64, 64))?,
        })
    }

    fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let embedded = self.tokens.embedding(&tokens.flatten_all()?)?.reshape((8, 64, 128))?;
        let mut x = embedded.broadcast_add(&self.positions)?;
        for Block { norms, layers: [qkv, projection, up, down] } in &self.blocks {
            let qkv = qkv.forward(&norms[0].forward(&x)?)?;
            let heads = |part: usize| {
                qkv.narrow(2, part * 128, 128)?.reshape((8, 64, 4, 32))?.transpose(1, 2)?.contiguous()
            };
            let scores = (heads(0)?.matmul(&heads(1)?.t()?)? * (1.0 / 32f64.sqrt()))?;
            let weights = ops::softmax(&self.seen.where_cond(&scores, &self.hidden)?, 3)?;
            let out = weights.matmul(&heads(2)?)?.transpose(1, 2)?.reshape((8, 64, 128))?;
            x = (x + projection.forward(&out)?)?;
            let up = up.forward(&norms[1].forward(&x)?)?.gelu()?;
            x = (x + down.forward(&up)?)?;
        }
        self.head.forward(&self.norm.forward(&x)?)?.reshape((512, 65))
    }

    fn vars(&self) -> Vec<Var> {
        let blocks = self.blocks.iter().flat_map(|block| {
            let norms = block.norms.iter().flat_map(Norm::vars);
            norms.chain(block.layers.iter().flat_map(Linear::vars))
        });
        let ends = [self.tokens.clone(), self.positions.clone()];
        ends.into_iter().chain(self.norm.vars()).chain(self.head.vars()).chain(blocks).collect()
    }
}

/// `candle_nn::SGD` has no momentum; this is what a user writes.
fn sgd(vars: Vec<Var>, rate: f64, momentum: f64) -> impl FnMut(&Tensor) -> Result<()> {
    let mut velocities: Vec<Option<Tensor>> = vec![None; vars.len()];
    move |loss| {
        let gradients = loss.backward()?;
        for (var, velocity) in vars.iter().zip(&mut velocities) {
            let gradient = gradients.get(var).expect("the loss depends on it");
            let next = match velocity {
                Some(velocity) => ((&*velocity * momentum)? + gradient)?,
                None => gradient.clone(),
            };
            var.set(&(var.as_tensor() - (&next * rate)?)?)?;
            *velocity = Some(next.detach());
        }
        Ok(())
    }
}

fn adamw(vars: Vec<Var>, lr: f64, weight_decay: f64) -> Result<impl FnMut(&Tensor) -> Result<()>> {
    let params = ParamsAdamW { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay };
    let mut optimizer = AdamW::new(vars, params)?;
    Ok(move |loss: &Tensor| optimizer.backward_step(loss))
}

fn repeat(units: usize, mut unit: impl FnMut() -> Result<Tensor>) -> Result<f64> {
    let mut last = unit()?;
    for _ in 1..units {
        last = unit()?;
    }
    Ok(last.to_scalar::<f32>()? as f64)
}

/// Forward, backward, update.
fn train(mut update: impl FnMut(&Tensor) -> Result<()>, y: Tensor, logits: impl Fn() -> Result<Tensor>) {
    serve::serve(|units| {
        let step = || {
            let loss = cross_entropy(&logits()?, &y)?;
            update(&loss)?;
            Ok(loss)
        };
        repeat(units, step).expect("a step")
    });
}

/// A scalar, and its gradients by `inputs`.
fn differentiate(inputs: &[Var], value: impl Fn() -> Result<Tensor>) {
    serve::serve(|units| {
        let unit = || {
            let value = value()?;
            let gradients = value.backward()?;
            assert!(inputs.iter().all(|input| gradients.get(input).is_some()));
            Ok(value)
        };
        repeat(units, unit).expect("gradients")
    });
}

fn main() -> Result<()> {
    let workload = std::env::args().nth(1).expect("a workload's name");
    match workload.as_str() {
        "W2" => {
            let (x, y) = (uniform(201, &[128, 784], 1.0)?, below(202, &[128], 10)?);
            let model = Mlp::new(211, &[784, 512, 256, 10])?;
            train(sgd(model.vars(), 0.01, 0.9), y, || model.forward(&x));
        }
        "W3" => {
            let (x, y) = (uniform(301, &[32, 64], 1.0)?, below(302, &[32], 10)?);
            let model = Mlp::new(311, &[64, 128, 10])?;
            train(adamw(model.vars(), 1e-3, 0.0)?, y, || model.forward(&x));
        }
        "W4" => {
            let (x, y) = (below(401, &[8, 64], 65)?, below(402, &[512], 65)?);
            let model = Gpt::new()?;
            train(adamw(model.vars(), 3e-4, 0.1)?, y, || model.forward(&x));
        }
        "W5" => {
            let (x, y) = (uniform(501, &[64, 1, 28, 28], 1.0)?, below(502, &[64], 10)?);
            let conv = |seed, inputs: usize, outputs: usize| -> Result<[Var; 2]> {
                let weight = uniform(seed, &[outputs, inputs, 3, 3], 1.0 / ((9 * inputs) as f32).sqrt())?;
                Ok([Var::from_tensor(&weight)?, Var::zeros((1, outputs, 1, 1), DType::F32, &CPU)?])
            };
            let (convs, last) = ([conv(511, 1, 16)?, conv(512, 16, 32)?], Linear::new(513, 1568, 10)?);
            let vars = convs.iter().flatten().cloned().chain(last.vars()).collect();
            train(sgd(vars, 0.01, 0.0), y, || {
                let features = convs.iter().try_fold(x.clone(), |x, [weight, bias]| {
                    x.conv2d(weight, 1, 1, 1, 1)?.broadcast_add(bias)?.relu()?.max_pool2d(2)
                })?;
                last.forward(&features.flatten_from(1)?)
            });
        }
        "W6" => {
            let input = |seed| Var::from_tensor(&uniform(seed, &[1 << 20], 1.0)?);
            let [x, a, b] = [input(601)?, input(602)?, input(603)?];
            differentiate(&[x.clone(), a.clone(), b.clone()], || {
                let inner = ((x.as_tensor() * a.as_tensor())? + b.as_tensor())?.tanh()?;
                ((inner * ops::sigmoid(&x)?)? + x.sqr()?)?.sum_all()
            });
        }
        "W7" => {
            let logits = Var::from_tensor(&uniform(701, &[4096, 1000], 3.0)?)?;
            let y = below(702, &[4096], 1000)?;
            differentiate(&[logits.clone()], || cross_entropy(&logits, &y));
        }
        "W8" => {
            let x = Var::from_tensor(&uniform(801, &[8192, 1024], 1.0)?)?;
            let vector = |seed| Var::from_tensor(&uniform(seed, &[1024], 1.0)?);
            let (g, b) = (vector(802)?, vector(803)?);
            differentiate(&[x.clone(), g.clone(), b.clone()], || {
                x.broadcast_mul(&g)?.broadcast_add(&b)?.sqr()?.sum_all()
            });
        }
        product => {
            let n: usize = product.strip_prefix("W1-").and_then(|n| n.parse().ok()).expect("a workload");
            let (a, b) = (uniform(101, &[n, n], 1.0)?, uniform(102, &[n, n], 1.0)?);
            serve::serve(|units| repeat(units, || a.matmul(&b)?.get(0)?.get(0)).expect("a product"));
        }
    }
    Ok(())
}
