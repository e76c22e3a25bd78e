//! RLX on wgpu: `peer-rlx W2` serves a workload. The optimizer is RLX's own on the host: inside the graph its default
//! backend for Vulkan changes no parameter.

#[path = "../../../workloads/inputs.rs"]
mod inputs;
#[path = "../../serve.rs"]
mod serve;

use rlx::prelude::*;
use rlx_optim::{AdamW, Optimizer, Sgd};

/// A forward graph, and what its parameters hold.
struct Model {
    graph: Graph,
    /// Name, node, shape, value; whether it trains.
    parameters: Vec<(String, NodeId, Vec<usize>, Vec<f32>, bool)>,
}

impl Model {
    fn new() -> Model {
        Model { graph: Graph::new("workload"), parameters: Vec::new() }
    }

    fn parameter(&mut self, shape: &[usize], value: Vec<f32>, trains: bool) -> NodeId {
        let name = format!("p{}", self.parameters.len());
        let node = self.graph.param(&name, Shape::new(shape, DType::F32));
        self.parameters.push((name, node, shape.to_vec(), value, trains));
        node
    }

    fn data(&mut self, shape: &[usize], value: Vec<f32>) -> NodeId {
        self.parameter(shape, value, false)
    }

    /// RLX's indices are f32.
    fn below(&mut self, seed: u64, count: usize, n: u64) -> NodeId {
        let value = inputs::below(seed, count, n).into_iter().map(|index| index as f32).collect();
        self.data(&[count], value)
    }

    fn uniform(&mut self, seed: u64, shape: &[usize], scale: f32) -> NodeId {
        let value = inputs::uniform(seed, shape.iter().product(), scale);
        self.parameter(shape, value, true)
    }

    fn linear(&mut self, x: NodeId, seed: u64, inputs: usize, outputs: usize) -> NodeId {
        let weight = self.parameter(&[inputs, outputs], inputs::linear(seed, inputs, outputs), true);
        let bias = self.parameter(&[outputs], vec![0.0; outputs], true);
        let product = self.graph.mm(x, weight);
        self.graph.add(product, bias)
    }

    fn norm(&mut self, x: NodeId) -> NodeId {
        let gain = self.parameter(&[128], vec![1.0; 128], true);
        let shift = self.parameter(&[128], vec![0.0; 128], true);
        self.graph.ln(x, gain, shift, 1e-5)
    }

    fn cross_entropy(mut self, logits: NodeId, y: NodeId) -> Model {
        let rows = self.graph.softmax_cross_entropy_with_logits(logits, y);
        let loss = self.graph.mean(rows, vec![0], false);
        self.graph.set_outputs(vec![loss]);
        self
    }

    fn sum(mut self, x: NodeId, dims: Vec<usize>) -> Model {
        let sum = self.graph.sum(x, dims, false);
        self.graph.set_outputs(vec![sum]);
        self
    }

    fn mlp(seeds: [u64; 3], batch: usize, sizes: &[usize]) -> Model {
        let mut model = Model::new();
        let [data, labels, weights] = seeds;
        let mut x = model.data(&[batch, sizes[0]], inputs::uniform(data, batch * sizes[0], 1.0));
        let y = model.below(labels, batch, 10);
        for (layer, (pair, seed)) in sizes.windows(2).zip(weights..).enumerate() {
            x = model.linear(x, seed, pair[0], pair[1]);
            if layer + 2 < sizes.len() {
                x = model.graph.relu(x);
            }
        }
        model.cross_entropy(x, y)
    }

    fn gpt() -> Model {
        let mut model = Model::new();
        let (tokens, y) = (model.below(401, 512, 65), model.below(402, 512, 65));
        let embeddings = model.uniform(411, &[65, 128], 0.05);
        let positions = model.uniform(412, &[64, 128], 0.05);
        let mask = (0..64 * 64).map(|i| if i % 64 <= i / 64 { 0.0 } else { -1e9 }).collect();
        let mask = model.data(&[64, 64], mask);
        let scale = model.graph.constant(1.0 / 32f64.sqrt(), DType::F32);
        let x = model.graph.gather_(embeddings, tokens, 0);
        let x = model.graph.reshape_(x, vec![8, 64, 128]);
        let x = model.graph.add(x, positions);
        let mut x = model.graph.reshape_(x, vec![512, 128]);
        for seed in [420, 430, 440, 450] {
            let normal = model.norm(x);
            let qkv = model.linear(normal, seed, 128, 384);
            let g = &mut model.graph;
            let mut heads = |part: usize, order: [usize; 4]| {
                let part = g.narrow_(qkv, 1, part * 128, 128);
                let part = g.reshape_(part, vec![8, 64, 4, 32]);
                g.transpose_(part, order.to_vec())
            };
            let (q, k, v) = (heads(0, [0, 2, 1, 3]), heads(1, [0, 2, 3, 1]), heads(2, [0, 2, 1, 3]));
            let scores = g.mm(q, k);
            let scores = g.mul(scores, scale);
            let scores = g.add(scores, mask);
            let weights = g.sm(scores, -1);
            let seen = g.mm(weights, v);
            let seen = g.transpose_(seen, vec![0, 2, 1, 3]);
            let seen = g.reshape_(seen, vec![512, 128]);
            let seen = model.linear(seen, seed + 1, 128, 128);
            x = model.graph.add(x, seen);
            let up = model.norm(x);
            let up = model.linear(up, seed + 2, 128, 512);
            let up = model.graph.gelu_approx(up);
            let down = model.linear(up, seed + 3, 512, 128);
            x = model.graph.add(x, down);
        }
        let x = model.norm(x);
        let logits = model.linear(x, 413, 128, 65);
        model.cross_entropy(logits, y)
    }

    fn cnn() -> Model {
        let mut model = Model::new();
        let mut x = model.data(&[64, 1, 28, 28], inputs::uniform(501, 64 * 784, 1.0));
        let y = model.below(502, 64, 10);
        for (seed, inputs, outputs) in [(511, 1, 16), (512, 16, 32)] {
            let weight = model.uniform(seed, &[outputs, inputs, 3, 3], 1.0 / ((9 * inputs) as f32).sqrt());
            let bias = model.parameter(&[outputs], vec![0.0; outputs], true);
            let g = &mut model.graph;
            let conv = g.conv2d(x, weight, [3, 3], [1, 1], [1, 1], [1, 1], 1);
            let bias = g.reshape_(bias, vec![1, outputs as i64, 1, 1]);
            let conv = g.add(conv, bias);
            let conv = g.relu(conv);
            x = g.pool2d(conv, ReduceOp::Max, [2, 2], [2, 2], [0, 0]);
        }
        let x = model.graph.reshape_(x, vec![64, 1568]);
        let logits = model.linear(x, 513, 1568, 10);
        model.cross_entropy(logits, y)
    }

    /// The value and its gradients by the parameters that train.
    fn compile(&self) -> CompiledGraph {
        let trained = self.parameters.iter().filter(|parameter| parameter.4);
        let nodes: Vec<NodeId> = trained.map(|parameter| parameter.1).collect();
        let gradients = grad_with_loss(&self.graph, &nodes);
        let mut compiled = Session::new(Device::Gpu).compile_with(gradients, &CompileOptions::new());
        for (name, _, _, value, _) in &self.parameters {
            compiled.set_param(name, value);
        }
        compiled
    }

    /// Forward, backward, update.
    fn train(mut self, mut optimizer: impl Optimizer) {
        let mut compiled = self.compile();
        serve::serve(|units| {
            let mut loss = f32::NAN;
            for _ in 0..units {
                let outputs = compiled.run(&[("d_output", &[1.0])]);
                let trained = self.parameters.iter_mut().filter(|parameter| parameter.4);
                for ((name, _, shape, value, _), gradient) in trained.zip(&outputs[1..]) {
                    optimizer.step(name, shape, value, gradient);
                    compiled.set_param(name, value);
                }
                optimizer.end_iteration();
                loss = outputs[0][0];
            }
            loss as f64
        });
    }

    fn differentiate(self) {
        let mut compiled = self.compile();
        serve::serve(|units| {
            let mut run = || compiled.run_read_outputs(&[("d_output", &[1.0])], Some(&[0]))[0][0];
            (0..units).map(|_| run()).last().expect("a region has a unit") as f64
        });
    }
}

/// RLX sends inputs anew with each run.
fn matmul(n: usize) {
    let [a, b] = [101, 102].map(|seed| inputs::uniform(seed, n * n, 1.0));
    let mut graph = Graph::new("matmul");
    let left = graph.input("a", Shape::new(&[n, n], DType::F32));
    let right = graph.param("b", Shape::new(&[n, n], DType::F32));
    let product = graph.mm(left, right);
    graph.set_outputs(vec![product]);
    let mut compiled = Session::new(Device::Gpu).compile(graph);
    compiled.set_param("b", &b);
    serve::serve(|units| {
        rlx::ir::env::set("RLX_BENCH_DISPATCH_ONLY", "1"); // without reading back, but for the last
        for _ in 1..units {
            compiled.run(&[("a", &a)]);
        }
        rlx::ir::env::unset("RLX_BENCH_DISPATCH_ONLY");
        compiled.run(&[("a", &a)])[0][0] as f64
    });
}

fn main() {
    let workload = std::env::args().nth(1).expect("a workload's name");
    let mut model = Model::new();
    match workload.as_str() {
        "W2" => {
            let optimizer = Sgd::new(0.01).with_momentum(0.9, false);
            Model::mlp([201, 202, 211], 128, &[784, 512, 256, 10]).train(optimizer);
        }
        "W3" => {
            Model::mlp([301, 302, 311], 32, &[64, 128, 10]).train(AdamW::new(1e-3).with_weight_decay(0.0))
        }
        "W4" => Model::gpt().train(AdamW::new(3e-4).with_weight_decay(0.1)),
        "W5" => Model::cnn().train(Sgd::new(0.01)),
        "W6" => {
            let [x, a, b] = [601, 602, 603].map(|seed| model.uniform(seed, &[1 << 20], 1.0));
            let g = &mut model.graph;
            let inner = g.mul(x, a);
            let inner = g.add(inner, b);
            let (inner, sigmoid, square) = (g.tanh(inner), g.sigmoid(x), g.mul(x, x));
            let product = g.mul(inner, sigmoid);
            let all = g.add(product, square);
            model.sum(all, vec![0]).differentiate();
        }
        "W7" => {
            let logits = model.uniform(701, &[4096, 1000], 3.0);
            let y = model.below(702, 4096, 1000);
            model.cross_entropy(logits, y).differentiate();
        }
        "W8" => {
            let x = model.uniform(801, &[8192, 1024], 1.0);
            let [gain, shift] = [802, 803].map(|seed| model.uniform(seed, &[1024], 1.0));
            let z = model.graph.mul(x, gain);
            let z = model.graph.add(z, shift);
            let square = model.graph.mul(z, z);
            model.sum(square, vec![0, 1]).differentiate();
        }
        product => matmul(product.strip_prefix("W1-").and_then(|n| n.parse().ok()).expect("a workload")),
    }
}
