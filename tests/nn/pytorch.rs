//! Each layer against PyTorch (`scripts/fixtures.py`): its weights load by their names and no others, and give the same
//! results and gradients; what is saved here it loads in turn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wgrad::io::{load, load_tensors, save, save_tensors};
use wgrad::nn::*;
use wgrad::{Device, Tensor, autograd};

use crate::common::{F32, Host, Tolerance, gpu};

/// PyTorch computed in f64. Here sums of some dozens of terms of about 1 are in f32, one behind the other.
const GPU: Tolerance = Tolerance { atol: 2e-5, rtol: 2e-5 };

type Tensors = BTreeMap<String, Tensor>;

/// Those whose names begin so, without the beginning.
fn under(tensors: &Tensors, prefix: &str) -> Tensors {
    let named =
        |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()));
    tensors.iter().filter_map(named).collect()
}

fn fixture(name: &str, device: &Device) -> Tensors {
    let path = format!("{}/tests/fixtures/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    load_tensors(path, device).unwrap_or_else(|error| panic!("{error}"))
}

/// What a layer gives: a tensor, or outputs and a state.
trait Results {
    fn flat(self) -> Vec<Tensor>;
}

impl Results for Tensor {
    fn flat(self) -> Vec<Tensor> {
        vec![self]
    }
}

impl<const N: usize> Results for (Tensor, [Tensor; N]) {
    fn flat(self) -> Vec<Tensor> {
        [self.0].into_iter().chain(self.1).collect()
    }
}

/// A layer and how it is called.
struct Call<M> {
    model: M,
    forward: fn(&M, &[Tensor]) -> Vec<Tensor>,
}

fn check<M: Module>(name: &str, device: &Device, call: fn(&Device) -> Call<M>) {
    let (Call { model, forward }, tensors) = (call(device), fixture(name, device));
    let tolerance = if device.is_cpu() { F32 } else { GPU };
    let agree = |what: &str, got: &Tensor| {
        let want = tensors.get(what).unwrap_or_else(|| panic!("{name}: PyTorch gives no {what}"));
        Host::read(got).assert_close(&format!("{name}: {what}"), &Host::read(want), tolerance);
    };
    let state = under(&tensors, "state.");
    model.load_state_dict(&state).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (key, tensor) in model.to_state_dict() {
        assert_eq!(Host::read(&tensor), Host::read(&state[&key]), "{name}: {key} was not loaded");
    }

    let inputs = under(&tensors, "input.").into_values();
    let inputs: Vec<Tensor> =
        inputs.map(|x| if x.dtype().is_float() { x.requires_grad() } else { x }).collect();
    let outputs = forward(&model, &inputs);
    let seeds: Vec<Tensor> = under(&tensors, "seed.").into_values().collect();
    assert_eq!(outputs.len(), seeds.len(), "{name}: the results");
    autograd::backward(&outputs.iter().collect::<Vec<_>>(), &seeds.iter().collect::<Vec<_>>(), false);
    outputs.iter().enumerate().for_each(|(i, output)| agree(&format!("output.{i}"), output));

    let mut gradients = 0;
    for (i, input) in inputs.iter().enumerate().filter(|(_, input)| input.dtype().is_float()) {
        gradients += 1;
        agree(&format!("grad.input.{i}"), &input.grad().expect("it is a leaf"));
    }
    for (key, var) in model.named_params() {
        gradients += 1;
        agree(&format!("grad.{key}"), &var.grad().unwrap_or_else(|| panic!("{name}: {key} has no gradient")));
    }
    assert_eq!(gradients, under(&tensors, "grad.").len(), "{name}: gradients");
    let after = model.to_state_dict();
    under(&tensors, "after.").keys().for_each(|key| agree(&format!("after.{key}"), &after[key]));
}

/// Fresh weights and their results: in the folder that `WGRAD_SAVE` names, for PyTorch, or in one that is forgotten. They come
/// back bit for bit.
fn save_for_pytorch<M: Module>(name: &str, call: fn(&Device) -> Call<M>) {
    let (forgotten, device) = (tempfile::tempdir().unwrap(), Device::cpu());
    let folder: PathBuf = std::env::var_os("WGRAD_SAVE").map_or(forgotten.path().to_owned(), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    let file = |ending: &str| folder.join(format!("{name}{ending}"));

    wgrad::manual_seed(5);
    let Call { model, forward } = call(&device);
    save(file(".safetensors"), &model).unwrap();
    let inputs: Vec<Tensor> = under(&fixture(name, &device), "input.").into_values().collect();
    let outputs = forward(&model, &inputs);
    let named =
        outputs.iter().enumerate().map(|(i, output)| (format!("output.{i}"), output.clone())).collect();
    save_tensors(file(".output.safetensors"), &named).unwrap();

    let Call { model: other, forward } = call(&device);
    load(file(".safetensors"), &other).unwrap();
    let again = forward(&other, &inputs);
    outputs.iter().zip(&again).for_each(|(a, b)| assert_eq!(Host::read(a), Host::read(b), "{name}"));
}

macro_rules! layers {
    ($($name:ident |$device:ident| $model:expr, |$layer:ident, $xs:ident| $result:expr;)*) => {
        mod calls {
            use super::*;
            $(pub fn $name($device: &Device) -> Call<impl Module + use<>> {
                fn typed<M>(model: M, forward: fn(&M, &[Tensor]) -> Vec<Tensor>) -> Call<M> {
                    Call { model, forward }
                }
                typed($model, |$layer, $xs| Results::flat($result))
            })*
        }
        mod on_cpu {
            $(#[test] fn $name() {
                super::check(stringify!($name), &wgrad::Device::cpu(), super::calls::$name);
            })*
        }
        mod on_gpu {
            $(#[test] fn $name() { super::check(stringify!($name), &super::gpu(), super::calls::$name); })*
        }
        mod saved {
            $(#[test] fn $name() { super::save_for_pytorch(stringify!($name), super::calls::$name); })*
        }
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

layers! {
    linear |dev| Linear::new(5, 3, dev), |m, x| m.forward(&x[0]);
    linear_without_bias |dev| Linear::new(5, 3, dev).without_bias(), |m, x| m.forward(&x[0]);
    bilinear |dev| Bilinear::new(4, 5, 3, dev), |m, x| m.forward(&x[0], &x[1]);
    conv1d |dev| Conv1d::new(4, 6, [3], dev).stride([2]).padding([2]).groups(2), |m, x| m.forward(&x[0]);
    conv2d |dev| Conv2d::new(3, 4, [3, 2], dev).stride([1, 2]).padding([1, 0]).dilation([2, 1]),
        |m, x| m.forward(&x[0]);
    conv_transpose2d |dev| ConvTranspose2d::new(4, 6, [3, 2], dev)
        .stride([2, 2]).padding([1, 0]).output_padding([1, 0]).groups(2), |m, x| m.forward(&x[0]);
    max_pool1d |_dev| MaxPool1d { stride: 2, padding: 1, ..MaxPool1d::new(3) }, |m, x| m.forward(&x[0]);
    avg_pool1d |_dev| AvgPool1d { stride: 2, padding: 1, ..AvgPool1d::new(3) }, |m, x| m.forward(&x[0]);
    adaptive_avg_pool1d |_dev| AdaptiveAvgPool1d(3), |m, x| m.forward(&x[0]);
    batch_norm1d |dev| BatchNorm1d::new(3, dev), |m, x| m.forward(&x[0]);
    batch_norm1d_of_sequences |dev| BatchNorm1d::new(3, dev).without_affine(), |m, x| m.forward(&x[0]);
    batch_norm2d |dev| BatchNorm2d::new(3, dev).momentum(0.3), |m, x| m.forward(&x[0]);
    batch_norm2d_eval |dev| { let norm = BatchNorm2d::new(3, dev); norm.eval(); norm }, |m, x| m.forward(&x[0]);
    layer_norm |dev| LayerNorm::new([3, 5], dev), |m, x| m.forward(&x[0]);
    group_norm |dev| GroupNorm::new(2, 6, dev), |m, x| m.forward(&x[0]);
    rms_norm |dev| RMSNorm::new([7], dev), |m, x| m.forward(&x[0]);
    embedding |dev| Embedding::new(11, 4, dev), |m, x| m.forward(&x[0]);
    embedding_padded |dev| Embedding::new(11, 4, dev).padding(3), |m, x| m.forward(&x[0]);
    self_attention |dev| MultiheadAttention::new(8, 2, dev), |m, x| m.forward(&x[0], &x[0], &x[0], None, true);
    cross_attention |dev| MultiheadAttention::new(6, 3, dev).without_bias(),
        |m, x| m.forward(&x[0], &x[1], &x[2], Some(&seen(x[0].device())), false);
    rotary |dev| RotaryEmbedding::new(8, 16, 100.0, dev), |m, x| m.forward(&x[0]);
    transformer_block |dev| TransformerBlock::new(8, 2, dev), |m, x| m.forward(&x[0]);
    language_model |dev| LanguageModel::new(dev), |m, x| m.forward(&x[0]);
    cnn |dev| Sequential::new()
        .add(Conv2d::new(1, 4, [3, 3], dev).padding([1, 1]).without_bias())
        .add(BatchNorm2d::new(4, dev)).add(ReLU).add(MaxPool2d::new([2, 2]))
        .add(Flatten).add(Linear::new(36, 5, dev)), |m, x| m.forward(&x[0]);
    rnn |dev| RNN::new(4, 5, dev), |m, x| m.forward(&x[0], None);
    lstm |dev| LSTM::new(4, 5, dev).num_layers(2).bidirectional(), |m, x| m.forward(&x[0], None);
    lstm_from_a_state |dev| LSTM::new(4, 5, dev).without_bias().batch_first(false),
        |m, x| m.forward(&x[0], Some(&[x[1].clone(), x[2].clone()]));
    gru |dev| GRU::new(4, 5, dev).num_layers(2), |m, x| m.forward(&x[0], Some(&[x[1].clone()]));
}

/// The script's `SEEN`: which keys each query of two samples sees.
fn seen(device: &Device) -> Tensor {
    let first = [[1, 1, 0, 1, 1], [1, 0, 0, 0, 1], [0, 1, 1, 1, 1]];
    let rows = first.into_iter().chain([[1, 0, 0, 0, 0]; 3]).flatten().map(|seen| seen == 1);
    Tensor::new(rows.collect::<Vec<bool>>(), [2, 1, 3, 5], device)
}

/// The script's `LanguageModel`.
struct LanguageModel {
    tokens: Embedding,
    blocks: ModuleList<TransformerBlock>,
    norm: LayerNorm,
    head: Linear,
}

impl LanguageModel {
    fn new(device: &Device) -> LanguageModel {
        LanguageModel {
            tokens: Embedding::new(11, 8, device),
            blocks: (0..2).map(|_| TransformerBlock::new(8, 2, device).causal()).collect(),
            norm: LayerNorm::new([8], device),
            head: Linear::new(8, 11, device).without_bias(),
        }
    }
}

impl Module for LanguageModel {
    fn forward(&self, tokens: &Tensor) -> Tensor {
        let x = self.blocks.iter().fold(self.tokens.forward(tokens), |x, block| block.forward(&x));
        self.head.forward(&self.norm.forward(&x))
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("tokens", &self.tokens);
        visitor.module("blocks", &self.blocks);
        visitor.module("norm", &self.norm);
        visitor.module("head", &self.head);
    }
}

#[test]
fn every_fixture_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let stem = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()
    };
    let mut files: Vec<String> = std::fs::read_dir(folder).unwrap().map(stem).collect();
    files.sort_unstable();
    let mut names = NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(files, names);
}
