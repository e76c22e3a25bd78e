//! Checkpoints: a run that is killed and resumed gives the same bits as an uninterrupted run, and loading an incomplete file
//! or that of another program changes nothing.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::gpu;
use proptest::prelude::*;
use wgrad::data::{Column, DataLoader};
use wgrad::io::{Stateful, load_checkpoint, save, save_checkpoint};
use wgrad::metrics::{Accuracy, FiniteCheck, Mean};
use wgrad::nn::{Linear, Module, Sequential};
use wgrad::optim::{
    AdamW, CosineAnnealingLR, Ema, Optimizer, ReduceLROnPlateau, SGD, Schedule, clip_grad_norm,
};
use wgrad::{Device, Error, Tensor, Var};

const STEPS: usize = 9;

/// A run with every kind of state: two optimizers as groups, a schedule, an average, shuffled batches with a shorter last
/// one, dropout, metrics.
struct Run {
    model: Sequential,
    optimizer: AdamW,
    ema: Ema,
    plateau: ReduceLROnPlateau,
    losses: Mean,
    hits: Accuracy,
    finite: FiniteCheck,
    loader: DataLoader<(Column<f32>, Column<i32>)>,
    step: usize,
    device: Device,
}

impl Run {
    fn new(seed: u64, device: &Device) -> Run {
        wgrad::manual_seed(seed);
        let model = Sequential::new().add(Linear::new(3, 8, device)).add(Linear::new(8, 2, device));
        let (matrices, biases): (Vec<Var>, Vec<Var>) =
            model.params().into_iter().partition(|param| param.tensor().rank() == 2);
        let optimizer = AdamW::new(matrices, 0.05).group(SGD::new(biases, 0.1).momentum(0.9));
        let ema = Ema::new(model.params(), 0.8);
        let x = wgrad::Generator::new(5).uniform(3 * 10);
        let y = (0..10).map(|i| i % 2).collect();
        let loader = DataLoader::new((Column::new(x, [3]), Column::new(y, ())), 4, device).shuffle(seed);
        let plateau = ReduceLROnPlateau::new(0.5, 1);
        let (losses, hits) = (Mean::new(device), Accuracy::new(device));
        let finite = FiniteCheck::new(&["loss", "gradient norm"], device);
        let device = device.clone();
        Run { model, optimizer, ema, plateau, losses, hits, finite, loader, step: 0, device }
    }

    /// Trains up to this step; an epoch has three steps.
    fn train(&mut self, until: usize) {
        let schedule = CosineAnnealingLR::new(0.05, STEPS);
        while self.step < until {
            for (x, y) in self.loader.epoch() {
                let [w, b, v, c] = &self.model.params()[..] else { unreachable!("two layers") };
                let hidden = x.linear(&w.tensor(), Some(&b.tensor())).relu().dropout(0.3, true);
                let logits = hidden.linear(&v.tensor(), Some(&c.tensor()));
                let loss = logits.cross_entropy(&y);
                loss.backward();
                let norm = clip_grad_norm(&self.model.params(), 1.0, 2.0);
                self.losses.add(&loss, y.numel());
                self.hits.add(&logits, &y);
                // As if it had once been infinite: what is remembered is a step.
                let norm = if self.step == 2 { norm / 0.0 } else { norm };
                self.finite.watch(self.step, &[&loss, &norm]);
                schedule.apply(self.step, &mut self.optimizer);
                self.optimizer.step();
                self.ema.update();
                self.plateau.step(1.0 + self.step as f64, &mut self.optimizer);
                self.step += 1;
                if self.step == until {
                    return;
                }
            }
        }
    }

    fn save(&self, path: &Path) {
        let Run { model, optimizer, ema, plateau, losses, hits, finite, loader, step, device } = self;
        let parts: &[(&str, &dyn Stateful)] = &[
            ("model", model),
            ("optimizer", optimizer),
            ("ema", ema),
            ("plateau", plateau),
            ("losses", losses),
            ("hits", hits),
            ("finite", finite),
            ("loader", loader),
            ("step", step),
        ];
        save_checkpoint(path, parts, device).unwrap();
    }

    fn load(&mut self, path: &Path) -> Result<Vec<String>, Error> {
        let Run { model, optimizer, ema, plateau, losses, hits, finite, loader, step, device } = self;
        let parts: &mut [(&str, &mut dyn Stateful)] = &mut [
            ("model", model),
            ("optimizer", optimizer),
            ("ema", ema),
            ("plateau", plateau),
            ("losses", losses),
            ("hits", hits),
            ("finite", finite),
            ("loader", loader),
            ("step", step),
        ];
        load_checkpoint(path, parts, device)
    }

    /// Its whole state, as the bytes of a checkpoint.
    fn bits(&self) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bits");
        self.save(&path);
        fs::read(path).unwrap()
    }
}

fn killed_at_any_step(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let mut whole = Run::new(1, device);
    whole.train(STEPS);
    let want = whole.bits();
    assert!(whole.losses.mean().unwrap().is_finite() && whole.hits.accuracy().unwrap() > 0.0);
    let infinite = whole.finite.result().unwrap_err().to_string();
    assert_eq!(infinite, "gradient norm was not finite at step 2");
    for killed in 0..=STEPS {
        let mut first = Run::new(1, device);
        first.train(killed);
        first.save(&path);
        drop(first);
        // Another program, with different state.
        let mut resumed = Run::new(2, device);
        Tensor::rand([3], device);
        assert_eq!(resumed.load(&path).unwrap(), Vec::<String>::new());
        assert_eq!(resumed.step, killed);
        resumed.train(STEPS);
        // Not assert_eq, which would print the bytes.
        assert!(resumed.bits() == want, "killed at step {killed} on {device}: another end");
    }
}

#[test]
fn a_run_killed_at_any_step_resumes_with_the_same_bits_on_the_cpu() {
    killed_at_any_step(&Device::cpu());
}

#[test]
fn a_run_killed_at_any_step_resumes_with_the_same_bits_on_the_gpu() {
    killed_at_any_step(&gpu());
}

/// The checkpoint of a trained run.
fn saved(folder: &Path) -> PathBuf {
    let path = folder.join("run.safetensors");
    let mut run = Run::new(1, &Device::cpu());
    run.train(4);
    run.save(&path);
    path
}

/// Loading fails with the file's name and these words, and changes no weight, state, counter or random number.
#[track_caller]
fn is_refused(path: &Path, words: &[&str]) {
    let mut run = Run::new(2, &Device::cpu());
    run.train(2);
    let before = (run.bits(), wgrad::generator());
    let error = run.load(path).expect_err("it was accepted");
    assert!(matches!(&error, Error::File { path: named, .. } if named == path), "{error:?}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
    assert!((run.bits(), wgrad::generator()) == before, "something has changed: {error}");
}

/// The file with one change to its tensors or its numbers, and the checksum of neither.
fn rewritten(path: &Path, part: &str) -> PathBuf {
    let other = path.with_file_name("other.safetensors");
    let device = Device::cpu();
    let mut run = Run::new(1, &device);
    run.train(4);
    let Run { model, optimizer, ema, plateau, losses, hits, finite, loader, step, .. } = &run;
    let larger = Linear::new(3, 9, &device);
    let wide = Sequential::new().add(larger).add(Linear::new(9, 2, &device));
    let fresh = SGD::new(model.params(), 0.1);
    let mut parts: Vec<(&str, &dyn Stateful)> = vec![
        ("model", model),
        ("optimizer", optimizer),
        ("ema", ema),
        ("plateau", plateau),
        ("losses", losses),
        ("hits", hits),
        ("finite", finite),
        ("loader", loader),
        ("step", step),
    ];
    match part {
        "a wrong shape" => parts[0].1 = &wide,
        "a missing part" => drop(parts.remove(3)),
        "a surplus part" => parts.push(("more", step)),
        "another optimizer" => parts[1].1 = &fresh,
        _ => unreachable!(),
    }
    save_checkpoint(&other, &parts, &device).unwrap();
    other
}

#[test]
fn a_checkpoint_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    is_refused(&rewritten(&path, "a wrong shape"), &["model", "0.weight", "f32[9, 3]", "f32[8, 3]"]);
    is_refused(&rewritten(&path, "a missing part"), &["plateau", "best", "missing"]);
    is_refused(&rewritten(&path, "a surplus part"), &["more.value", "not known"]);
    is_refused(&rewritten(&path, "another optimizer"), &["optimizer"]);
    let weights = path.with_file_name("weights.safetensors");
    save(&weights, &Run::new(1, &Device::cpu()).model).unwrap();
    is_refused(&weights, &["not a checkpoint"]);
    is_refused(&path.with_file_name("elsewhere"), &[]);
}

#[test]
fn a_hostile_header_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile");
    let write = |header: &str| {
        fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8]].concat())
            .unwrap();
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!(r#"{{"a":{}1{}}}"#, r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let inside = format!(r#"{{"__metadata__":{{"checkpoint":"{}"}}}}"#, "[".repeat(100_000));
    for header in [
        deep.as_str(),
        nested.as_str(),
        inside.as_str(),
        r#"{"__metadata__":{"checkpoint":"{\"checksum\":\"0\"}"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[18446744073709551615,4],"data_offsets":[0,8]}}"#,
        r#"{"a":{"dtype":"F64","shape":[1],"data_offsets":[8,16]}}"#,
        r#"{"__metadata__":{"checkpoint":"{\"checksum\":1}"},"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#,
        r#"{"__metadata__":{"checkpoint":"{\"checksum\":\"0\"}"},"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#,
    ] {
        write(header);
        is_refused(&path, &[]);
    }
    for length in [u64::MAX, 1 << 40, 9] {
        fs::write(&path, [&length.to_le_bytes()[..], b"{}"].concat()).unwrap();
        is_refused(&path, &[]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_cut_off_or_flipped_is_refused(cut in 0.0..1.0, place in 0.0..1.0, flip in 1u8..) {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path());
        let whole = fs::read(&path).unwrap();
        let at = |share: f64| (share * whole.len() as f64) as usize;
        fs::write(&path, &whole[..at(cut)]).unwrap();
        is_refused(&path, &[]);
        let mut flipped = whole.clone();
        flipped[at(place)] ^= flip;
        // Spaces and the order of names in the header's text mean nothing: such a file is the same checkpoint.
        fs::write(&path, &flipped).unwrap();
        let (mut one, mut other) = (Run::new(3, &Device::cpu()), Run::new(3, &Device::cpu()));
        if one.load(&path).is_ok() {
            fs::write(&path, &whole).unwrap();
            other.load(&path).unwrap();
            prop_assert!(one.bits() == other.bits());
        } else {
            is_refused(&path, &[]);
        }
    }
}

/// A crash during a write leaves a partial temporary file, and the checkpoint is intact.
#[test]
fn a_crash_during_a_write_keeps_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let whole = fs::read(&path).unwrap();
    let beside = folder.path().join("run.safetensors.part");
    fs::write(&beside, &whole[..100]).unwrap();
    let mut run = Run::new(2, &Device::cpu());
    run.load(&path).unwrap();
    let whole_run = run.bits();
    run.save(&path);
    run.load(&path).unwrap();
    assert!(!beside.exists());
    assert!(run.bits() == whole_run);
}

#[test]
fn another_adapter_gives_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let warnings = Run::new(1, &gpu()).load(&path).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("the CPU reference"), "{warnings:?}");
}
