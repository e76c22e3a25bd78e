//! Saving and loading weights: what is written comes back bit for bit, and what is damaged, hostile or in the way is a
//! clear error that leaves the weights, and an older file, as they were.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use wgrad::io::{load, load_tensors, save, save_tensors};
use wgrad::nn::{Linear, Module, ReLU, Sequential};
use wgrad::{Device, Error, GpuOptions, Tensor};

/// The GPU; without an adapter the test fails with the reason.
fn gpu() -> Device {
    Device::gpu().unwrap_or_else(|error| panic!("{error}"))
}

/// Each function is a test on the CPU and a test on the GPU.
macro_rules! on_each_device {
    ($($test:ident)*) => {
        mod on_cpu { $(#[test] fn $test() { super::$test(&wgrad::Device::cpu()); })* }
        mod on_gpu { $(#[test] fn $test() { super::$test(&super::gpu()); })* }
    };
}

on_each_device! {
    a_file_has_the_names_of_pytorch
    a_fresh_model_gives_the_same_outputs_bit_for_bit
    every_dtype_comes_back
    a_truncated_file_is_refused
    a_wrong_shape_is_refused
    a_wrong_dtype_is_refused
    a_missing_name_is_refused
    a_surplus_name_is_refused
    a_hostile_header_is_refused
    a_directory_is_no_file
    a_missing_file_is_an_error
    a_save_that_fails_leaves_the_old_file
}

fn model(seed: u64, dev: &Device) -> Sequential {
    wgrad::manual_seed(seed);
    Sequential::new().add(Linear::new(5, 7, dev)).add(ReLU).add(Linear::new(7, 3, dev))
}

/// Every weight's bits.
fn bits(model: &dyn Module) -> Vec<Vec<u32>> {
    let bits = |tensor: Tensor| tensor.to_vec::<f32>().unwrap().iter().map(|x| x.to_bits()).collect();
    model.named_vars().iter().map(|(_, var)| bits(var.tensor())).collect()
}

/// A folder of its own, and a model saved in it.
fn saved(dev: &Device) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    save(&path, &model(1, dev)).unwrap();
    (folder, path)
}

/// The file is refused, with its name and these words, and the model's weights stay.
#[track_caller]
fn is_refused(path: &Path, dev: &Device, words: &[&str]) {
    let model = model(2, dev);
    let before = bits(&model);
    names_the_file(load(path, &model), path, words);
    assert_eq!(bits(&model), before, "weights have changed");
}

#[track_caller]
fn names_the_file<T>(result: Result<T, Error>, path: &Path, words: &[&str]) {
    let Err(error) = result else { panic!("{} was accepted", path.display()) };
    assert!(matches!(&error, Error::File { path: named, .. } if named == path), "{error:?}");
    let message = error.to_string();
    for word in [&*path.display().to_string()].iter().chain(words) {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    // The name, and a reason behind it.
    assert!(message.len() > path.display().to_string().len() + 10, "no reason is given: {message}");
}

/// The file's tensors with one change, in another file beside it.
fn changed(path: &Path, dev: &Device, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> PathBuf {
    let mut tensors = load_tensors(path, dev).unwrap();
    change(&mut tensors);
    let other = path.with_file_name("changed.safetensors");
    save_tensors(&other, &tensors).unwrap();
    other
}

fn a_file_has_the_names_of_pytorch(dev: &Device) {
    let (_folder, path) = saved(dev);
    let tensors = load_tensors(&path, dev).unwrap();
    let found: Vec<_> = tensors.iter().map(|(name, tensor)| (&name[..], tensor.shape().to_vec())).collect();
    assert_eq!(
        found,
        [("0.bias", vec![7]), ("0.weight", vec![7, 5]), ("2.bias", vec![3]), ("2.weight", vec![3, 7])]
    );
}

fn a_fresh_model_gives_the_same_outputs_bit_for_bit(dev: &Device) {
    let (_folder, path) = saved(dev);
    let (first, fresh) = (model(1, dev), model(2, dev));
    let x = Tensor::randn([4, 5], dev);
    let outputs = |model: &Sequential| -> Vec<u64> {
        model.forward(&x).to_vec::<f64>().unwrap().iter().map(|y| y.to_bits()).collect()
    };
    assert_ne!(outputs(&first), outputs(&fresh));
    load(&path, &fresh).unwrap();
    assert_eq!(outputs(&first), outputs(&fresh));
    assert_eq!(bits(&first), bits(&fresh));
    // Loaded weights are saved as the same bytes.
    let again = path.with_file_name("again.safetensors");
    save(&again, &fresh).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap());
}

fn every_dtype_comes_back(dev: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tensors.safetensors");
    let floats = [0.0f32, -0.0, 1e-40, f32::MAX, f32::INFINITY, 0.1];
    let tensors = BTreeMap::from([
        ("f32".to_owned(), Tensor::new(floats, [2, 3], dev)),
        ("transposed".to_owned(), Tensor::new(floats, [2, 3], dev).t()),
        ("i32".to_owned(), Tensor::new([i32::MIN, -1, i32::MAX], [3], dev)),
        ("u32".to_owned(), Tensor::new([0u32, u32::MAX], [2], dev)),
        ("bool".to_owned(), Tensor::new([true, false, true, true, false], [5], dev)),
        ("scalar".to_owned(), Tensor::scalar(2.5f32, dev)),
        ("nothing".to_owned(), Tensor::new(Vec::<f32>::new(), [0, 4], dev)),
    ]);
    save_tensors(&path, &tensors).unwrap();
    let read = load_tensors(&path, dev).unwrap();
    assert_eq!(read.keys().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
    for (name, tensor) in &tensors {
        assert_eq!(tensor.to_string(), read[name].to_string(), "{name}");
    }
    let as_bits = |x: Vec<f32>| x.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for name in ["f32", "transposed", "scalar", "nothing"] {
        assert_eq!(as_bits(tensors[name].to_vec().unwrap()), as_bits(read[name].to_vec().unwrap()), "{name}");
    }
    assert_eq!(read["i32"].to_vec::<i32>().unwrap(), [i32::MIN, -1, i32::MAX]);
    assert_eq!(read["u32"].to_vec::<u32>().unwrap(), [0, u32::MAX]);
    assert_eq!(read["bool"].to_vec::<bool>().unwrap(), [true, false, true, true, false]);
}

fn a_truncated_file_is_refused(dev: &Device) {
    let (_folder, path) = saved(dev);
    let whole = fs::read(&path).unwrap();
    for length in [0, 7, 8, 20, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        is_refused(&path, dev, &[]);
    }
    fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    is_refused(&path, dev, &[]);
}

fn a_wrong_shape_is_refused(dev: &Device) {
    let (_folder, path) = saved(dev);
    // As many elements, so only the shape can tell.
    let other = changed(&path, dev, |tensors| {
        tensors.insert("2.weight".into(), Tensor::zeros([7, 3], dev));
    });
    is_refused(&other, dev, &["2.weight", "f32[7, 3]", "f32[3, 7]"]);
}

fn a_wrong_dtype_is_refused(dev: &Device) {
    let (_folder, path) = saved(dev);
    let other = changed(&path, dev, |tensors| {
        tensors.insert("2.bias".into(), Tensor::new([1, 2, 3], [3], dev));
    });
    is_refused(&other, dev, &["2.bias", "i32[3]", "f32[3]"]);
    write_raw(&path, r#"{"x":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#, &[0; 8]);
    is_refused(&path, dev, &["\"x\"", "F64"]);
}

fn a_missing_name_is_refused(dev: &Device) {
    let (_folder, path) = saved(dev);
    let other = changed(&path, dev, |tensors| {
        tensors.remove("2.bias").unwrap();
    });
    is_refused(&other, dev, &["2.bias", "missing"]);
}

fn a_surplus_name_is_refused(dev: &Device) {
    let (_folder, path) = saved(dev);
    let other = changed(&path, dev, |tensors| {
        tensors.insert("4.weight".into(), Tensor::zeros([1], dev));
    });
    is_refused(&other, dev, &["4.weight", "not in the model"]);
}

/// A file with this header, and its length before it.
fn write_raw(path: &Path, header: &str, data: &[u8]) {
    fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()).unwrap();
}

fn a_hostile_header_is_refused(dev: &Device) {
    let (_folder, path) = saved(dev);
    let whole = fs::read(&path).unwrap();
    for length in [u64::MAX, i64::MAX as u64, 1 << 40, whole.len() as u64 - 7] {
        fs::write(&path, [&length.to_le_bytes(), &whole[8..]].concat()).unwrap();
        is_refused(&path, dev, &[]);
    }
    for header in [
        "",
        "no json",
        "{\"0.weight\":",
        r#"{"0.weight":{"dtype":"F32","shape":[7,5],"data_offsets":[0,140]}}"#,
        r#"{"0.weight":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
        r#"{"0.weight":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
        r#"{"0.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,4]}}"#,
        r#"{"0.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}}"#,
        r#"{"0.weight":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#,
        r#"{"0.weight":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}}"#,
        r#"{"0.weight":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}}"#,
    ] {
        write_raw(&path, header, &[0; 4]);
        is_refused(&path, dev, &[]);
    }
}

fn a_directory_is_no_file(dev: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    fs::create_dir(&path).unwrap();
    is_refused(&path, dev, &[]);
    names_the_file(save(&path, &model(1, dev)), &path, &[]);
    assert!(path.is_dir());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left beside it");
}

fn a_missing_file_is_an_error(dev: &Device) {
    let (_folder, path) = saved(dev);
    is_refused(&path.with_file_name("elsewhere.safetensors"), dev, &[]);
    // Neither below a folder that is not there, nor below a file, can anything be saved.
    for below in [path.with_file_name("elsewhere").join("weights"), path.join("weights")] {
        names_the_file(save(&below, &model(1, dev)), &below, &[]);
        is_refused(&below, dev, &[]);
    }
}

fn a_save_that_fails_leaves_the_old_file(dev: &Device) {
    let (_folder, path) = saved(dev);
    let whole = fs::read(&path).unwrap();
    // What is written first has this name; a folder in its place cannot be written to, not even by root.
    let beside = path.with_file_name("weights.safetensors.part");
    fs::create_dir(&beside).unwrap();
    names_the_file(save(&path, &model(2, dev)), &path, &[]);
    assert_eq!(fs::read(&path).unwrap(), whole);
    fs::remove_dir(&beside).unwrap();
    save(&path, &model(2, dev)).unwrap();
    assert_ne!(fs::read(&path).unwrap(), whole);
}

/// A weight waits for an index that only the GPU can find out of range: the save computes it, and fails.
#[test]
fn a_weight_that_cannot_be_computed_leaves_the_old_file() {
    // A device of its own: a shared one computes every waiting weight with whatever another test reads.
    let dev = Device::gpu_with(&GpuOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let (folder, path) = saved(&dev);
    let whole = fs::read(&path).unwrap();
    let model = Sequential::new().add(Linear::new(2, 3, &dev));
    let index = Tensor::arange(3, &dev) * 100;
    model.params()[1].set(Tensor::zeros([3], &dev).index_select(0, &index));
    let error = save(&path, &model).unwrap_err();
    assert!(matches!(error, Error::Index { .. }), "{error:?}");
    assert!(error.to_string().contains("files.rs"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left beside it");
}
