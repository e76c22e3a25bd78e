//! What all modules share: modes, freezing, state dicts, and the refusals of mistakes.

use std::collections::BTreeMap;

use wgrad::nn::*;
use wgrad::optim::{Optimizer, SGD};
use wgrad::{Device, Error, Tensor};

use crate::common::refusal::refused;
use crate::common::{F32, Host, gpu};

fn devices() -> [Device; 2] {
    [Device::cpu(), gpu()]
}

fn small(device: &Device) -> Sequential {
    wgrad::manual_seed(1);
    let inner = Sequential::new().add(BatchNorm1d::new(4, device)).add(Dropout::new(0.5));
    Sequential::new().add(Linear::new(3, 4, device)).add(inner).add(Linear::new(4, 2, device))
}

fn state(model: &dyn Module) -> BTreeMap<String, Host> {
    model.to_state_dict().iter().map(|(name, tensor)| (name.clone(), Host::read(tensor))).collect()
}

#[test]
fn train_and_eval_reach_every_layer() {
    for device in devices() {
        let model = small(&device);
        let x = Host::draw(1, &[6, 3], -1.0..1.0).tensor(&device);
        let output = || Host::read(&model.forward(&x));
        assert_ne!(output(), output(), "dropout draws anew");
        let trained = state(&model);
        assert_eq!(trained["1.0.num_batches_tracked"].data, [2.0]);
        model.eval();
        assert_eq!(output(), output());
        assert_eq!(state(&model), trained, "nothing moves");
        model.train();
        assert_ne!(output(), output());
        assert_eq!(state(&model)["1.0.num_batches_tracked"].data, [4.0]);
    }
}

/// Without a gradient the running statistics move all the same, as in PyTorch, and a clone is the same layer.
#[test]
fn batch_norm_updates_its_statistics_by_the_formula() {
    for device in devices() {
        let norm = BatchNorm2d::new(1, &device).momentum(0.25);
        let same = norm.clone();
        let x = Tensor::new([1.0, 2.0, 3.0, 6.0], [2, 1, 1, 2], &device);
        wgrad::no_grad(|| norm.forward(&x));
        // Mean 3; the unbiased variance is (4 + 1 + 0 + 9) / 3.
        let found = [same.running_mean.tensor(), same.running_var.tensor()].map(|x| x.item().unwrap());
        crate::common::close("statistics", &found, &[0.75, 0.75 + 0.25 * 14.0 / 3.0], 1e-6, 0.0);
        same.eval();
        let want = 1.0 - 0.75;
        let y = norm.forward(&x).to_vec::<f64>().unwrap()[0];
        crate::common::close("output", &[y], &[want / (found[1] + 1e-5).sqrt()], 1e-6, 0.0);
    }
}

/// PyTorch's `momentum=None`: each batch weighs the same.
#[test]
fn batch_norm_without_momentum_has_the_mean_over_all_batches() {
    for device in devices() {
        let norm = BatchNorm1d::new(1, &device).momentum(None);
        for batch in [&[1.0, 2.0, 3.0, 6.0][..], &[0.0, 2.0, 4.0], &[5.0, 7.0]] {
            norm.forward(&Tensor::new(batch, [batch.len(), 1], &device));
        }
        let found = [&norm.running_mean, &norm.running_var].map(|place| place.tensor().sum().item().unwrap());
        let want = [(3.0 + 2.0 + 6.0) / 3.0, (14.0 / 3.0 + 4.0 + 2.0) / 3.0];
        crate::common::close("statistics", &found, &want, 1e-6, 0.0);
    }
}

/// Between the layers and nowhere else: two layers of their own with a dropout between them, of the same random numbers.
#[test]
fn recurrent_layers_apply_dropout_between_layers() {
    for device in devices() {
        let both = LSTM::new(3, 4, &device).num_layers(2).dropout(0.4);
        let (first, second) = (LSTM::new(3, 4, &device), LSTM::new(4, 4, &device));
        for (layer, lstm) in [&first, &second].into_iter().enumerate() {
            let (from, to) = (format!("_l{layer}"), "_l0");
            let own = both.to_state_dict().into_iter().filter(|(name, _)| name.ends_with(&from));
            lstm.load_state_dict(&own.map(|(name, x)| (name.replace(&from, to), x)).collect()).unwrap();
        }
        let x = Host::draw(3, &[2, 5, 3], -1.0..1.0).tensor(&device);
        let apart = |p: f64| {
            wgrad::manual_seed(9);
            second.forward(&first.forward(&x, None).0.dropout(p, true), None).0
        };
        let whole = || {
            wgrad::manual_seed(9);
            Host::read(&both.forward(&x, None).0)
        };
        whole().assert_close("training", &Host::read(&apart(0.4)), F32);
        both.eval();
        whole().assert_close("afterwards", &Host::read(&apart(0.0)), F32);
    }
}

/// The definition, with the weights of the heads dropped by the same random numbers; and its gradient.
#[test]
fn attention_applies_dropout_to_its_weights() {
    const P: f64 = 0.3;
    for device in devices() {
        let module = MultiheadAttention::new(8, 2, &device).without_bias().dropout(P);
        let by_definition = |x: &Tensor, p: f64| {
            let parts = x.linear(&module.in_proj_weight.tensor(), None).chunk(3, -1);
            let [q, k, v] = [0, 1, 2].map(|i: usize| parts[i].reshape([2, 5, 2, 4]).transpose(1, 2));
            let future = Tensor::ones([5, 5], &device).triu(1) * -1e9;
            let weights = (q.matmul(&k.transpose(-2, -1)) * 0.5 + future).softmax(-1).dropout(p, true);
            module.out_proj.forward(&weights.matmul(&v).transpose(1, 2).reshape([2, 5, 8]))
        };
        let result = |f: &dyn Fn(&Tensor) -> Tensor| {
            wgrad::manual_seed(9);
            let x = Host::draw(4, &[2, 5, 8], -1.0..1.0).tensor(&device).requires_grad();
            let y = f(&x);
            y.square().sum().backward();
            [Host::read(&y), Host::read(&x.grad().unwrap())]
        };
        for p in [P, 0.0] {
            let found = result(&|x| module.forward(x, x, x, None, true));
            let want = result(&|x| by_definition(x, p));
            found[0].assert_close("output", &want[0], F32);
            found[1].assert_close("gradient", &want[1], F32);
            module.eval();
        }
    }
}

#[test]
fn a_transformer_block_applies_dropout_in_training_only() {
    let device = Device::cpu();
    let block = TransformerBlock::new(8, 2, &device);
    let x = Host::draw(5, &[2, 5, 8], -1.0..1.0).tensor(&device);
    let whole = Host::read(&block.forward(&x));
    let block = block.dropout(1.0);
    assert_eq!(Host::read(&block.forward(&x)), Host::read(&x), "both parts are dropped");
    block.eval();
    assert_eq!(Host::read(&block.forward(&x)), whole);
}

#[test]
fn a_frozen_parameter_does_not_change() {
    for device in devices() {
        let model = Sequential::new().add(Linear::new(3, 4, &device)).add(Linear::new(4, 2, &device));
        let all = model.params();
        let frozen = Linear { weight: all[0].clone(), bias: Some(all[1].clone()) };
        let mut optimizer = SGD::new(all.clone(), 0.1);
        let mut step = || {
            let before = state(&model);
            model.forward(&Tensor::ones([5, 3], &device)).square().sum().backward();
            let reached: Vec<bool> = all.iter().map(|var| var.grad().is_some()).collect();
            optimizer.step();
            let after = state(&model);
            let moved: Vec<bool> = before.keys().map(|name| before[name] != after[name]).collect();
            (reached, moved)
        };
        frozen.freeze();
        // In the order of names: 0.bias, 0.weight, 1.bias, 1.weight.
        assert_eq!(step(), (vec![false, false, true, true], vec![false, false, true, true]));
        assert_eq!((model.params().len(), model.num_params()), (2, 10));
        assert_eq!(model.to_state_dict().len(), 4);
        frozen.unfreeze();
        assert_eq!(step(), (vec![true; 4], vec![true; 4]));
        assert_eq!(model.num_params(), 26);
    }
}

/// Statistics are no parameters, also after they were frozen and thawed with the rest.
#[test]
fn batch_statistics_are_not_parameters() {
    let norm = BatchNorm1d::new(4, &Device::cpu());
    norm.freeze();
    assert_eq!(norm.num_params(), 0);
    norm.unfreeze();
    let names: Vec<String> = norm.named_params().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["weight", "bias"]);
    norm.forward(&Tensor::ones([2, 4], &Device::cpu()));
    assert!(!norm.running_mean.trains());
}

/// A head that shares the embedding's weight: two names, one parameter.
#[test]
fn a_shared_parameter_is_trained_once() {
    struct Tied(Embedding, Linear);
    impl Module for Tied {
        fn visit(&self, visitor: &mut Visitor) {
            visitor.module("tokens", &self.0);
            visitor.module("head", &self.1);
        }
    }
    let device = Device::cpu();
    let tokens = Embedding::new(5, 3, &device);
    let head = Linear { weight: tokens.weight.clone(), bias: None };
    let model = Tied(tokens, head);
    assert_eq!((model.params().len(), model.num_params()), (1, 15));
    assert_eq!(model.to_state_dict().into_keys().collect::<Vec<_>>(), ["head.weight", "tokens.weight"]);
    // What has no forward pass of one tensor says so, in the caller's line.
    let refusal = refused(|| model.forward(&Tensor::ones([1], &device))).expect_err("it has none");
    assert!(refusal.message.contains("Tied"), "{refusal:?}");
}

#[test]
fn a_state_dict_moves_between_models_and_devices() {
    let (cpu, gpu) = (small(&Device::cpu()), small(&gpu()));
    cpu.forward(&Host::draw(2, &[6, 3], -1.0..1.0).tensor(&Device::cpu()));
    gpu.load_state_dict(&cpu.to_state_dict()).unwrap();
    for (name, tensor) in state(&cpu) {
        state(&gpu)[&name].assert_close(&name, &tensor, F32);
    }
    assert!(gpu.params().iter().all(|var| var.tensor().needs_grad()));
}

#[test]
fn a_state_dict_that_does_not_fit_is_refused_unchanged() {
    type Change = fn(&mut BTreeMap<String, Tensor>);
    let changes: [(Change, &[&str]); 5] = [
        (|dict| drop(dict.remove("2.bias")), &["\"2.bias\" is missing"]),
        (
            |dict| drop(dict.insert("3.bias".into(), Tensor::ones([1], &Device::cpu()))),
            &["\"3.bias\" is not in"],
        ),
        (
            |dict| drop(dict.insert("0.weight".into(), Tensor::ones([3, 4], &Device::cpu()))),
            &["\"0.weight\"", "f32[3, 4]", "f32[4, 3]"],
        ),
        (
            |dict| drop(dict.insert("1.0.num_batches_tracked".into(), Tensor::scalar(1.0, &Device::cpu()))),
            &["num_batches_tracked", "f32[]", "i32[]"],
        ),
        // All that is wrong is said at once.
        (
            |dict| *dict = BTreeMap::from([("x".to_owned(), dict["2.bias"].clone())]),
            &["0.weight", "2.bias", "\"x\""],
        ),
    ];
    for (change, words) in changes {
        for device in devices() {
            let model = small(&device);
            let before = state(&model);
            let mut dict = small(&Device::cpu()).to_state_dict();
            dict.values_mut().for_each(|tensor| *tensor = &*tensor + 1);
            change(&mut dict);
            let error = model.load_state_dict(&dict).expect_err("it does not fit");
            assert!(matches!(error, Error::State { .. }), "{error:?}");
            words
                .iter()
                .for_each(|word| assert!(error.to_string().contains(word), "{word:?} is not in: {error}"));
            assert_eq!(state(&model), before, "{words:?}: something changed");
        }
    }
}

#[test]
fn mistakes_are_refused_in_the_callers_line() {
    let dev = &Device::cpu();
    let x = |shape: &[usize]| Tensor::ones(shape, dev);
    let attend = |x: &Tensor| MultiheadAttention::new(8, 2, dev).forward(x, x, x, None, false);
    let mistakes: [(&str, &dyn Fn()); 19] = [
        ("[4, 3]", &|| drop(Linear::new(3, 4, dev).forward(&x(&[2, 5])))),
        ("[4, 2, 3]", &|| drop(Bilinear::new(2, 3, 4, dev).forward(&x(&[2, 2]), &x(&[2, 2])))),
        ("by groups 2", &|| drop(Conv2d::new(3, 4, [3, 3], dev).groups(2))),
        ("conv2d", &|| drop(Conv2d::new(3, 4, [3, 3], dev).forward(&x(&[1, 2, 8, 8])))),
        ("BatchNorm2d", &|| drop(BatchNorm2d::new(3, dev).forward(&x(&[2, 3])))),
        ("BatchNorm1d", &|| drop(BatchNorm1d::new(3, dev).forward(&x(&[2, 3, 4, 4])))),
        ("layer_norm", &|| drop(LayerNorm::new([3], dev).forward(&x(&[2, 4])))),
        ("padding row 5", &|| drop(Embedding::new(5, 2, dev).padding(5))),
        ("1.5", &|| drop(Dropout::new(1.5))),
        ("num_heads 3", &|| drop(MultiheadAttention::new(8, 3, dev))),
        ("MultiheadAttention", &|| drop(attend(&x(&[2, 3, 6])))),
        ("width 3", &|| drop(RotaryEmbedding::new(3, 8, 1e4, dev))),
        ("below 8", &|| drop(RotaryEmbedding::new(4, 8, 1e4, dev).forward_from(&x(&[4, 4]), 5))),
        ("LSTM", &|| drop(LSTM::new(3, 4, dev).forward(&x(&[2, 5]), None))),
        ("the state", &|| drop(GRU::new(3, 4, dev).forward(&x(&[2, 5, 3]), Some(&[x(&[1, 3, 4])])))),
        ("num_layers > 0", &|| drop(RNN::new(3, 4, dev).num_layers(0))),
        ("orthogonal", &|| init::orthogonal(&wgrad::Var::parameter(x(&[3])), 1.0)),
        ("xavier_normal", &|| init::xavier_normal(&wgrad::Var::parameter(x(&[3])), 1.0)),
        ("trunc_normal", &|| init::trunc_normal(&wgrad::Var::parameter(x(&[3])), 0.0, 1.0, 9.0, 10.0)),
    ];
    for (words, mistake) in mistakes {
        let refusal = refused(mistake).expect_err(words);
        assert!(refusal.message.contains(words), "{words:?} is not in: {refusal:?}");
        assert!(refusal.file.ends_with("modules.rs"), "{words:?} blames another line: {refusal:?}");
    }
}
