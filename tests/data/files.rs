//! Files as they should be, and damaged in every way.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::{TempDir, tempdir};
use wgrad::data::{Column, Dataset, Images, cifar10, mnist, read_csv, read_idx};
use wgrad::{Device, Error};

fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
    let sizes = shape.iter().flat_map(|size| size.to_be_bytes());
    [0, 0, 8, shape.len() as u8].into_iter().chain(sizes).chain(data.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder with these files.
fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes).unwrap());
    folder
}

/// The error names the file, and says this.
#[track_caller]
fn refused<T>(result: Result<T, Error>, path: &Path, reason: &str) {
    let Err(error) = result else { panic!("{} was accepted, despite: {reason}", path.display()) };
    let text = error.to_string();
    assert!(text.starts_with(&path.display().to_string()) && text.contains(reason), "{text}");
}

#[test]
fn an_idx_file_comes_back_packed_or_not() {
    let data: Vec<u8> = (0..24).collect();
    let plain = idx(&[2, 3, 4], &data);
    let folder = folder(&[("plain", plain.clone()), ("packed", gzip(&plain))]);
    for name in ["plain", "packed"] {
        let found = read_idx(folder.path().join(name)).unwrap();
        assert_eq!((&found.shape[..], &found.data), (&[2, 3, 4][..], &data));
    }
}

#[test]
fn damaged_idx_files_are_refused() {
    let whole = idx(&[2, 3], &[7; 6]);
    let packed = gzip(&whole);
    let mut flipped = packed.clone();
    flipped[packed.len() - 6] ^= 1; // in the checksum
    for (bytes, reason) in [
        (vec![], "the header is incomplete"),
        (whole[..9].to_vec(), "the header is incomplete"),
        (b"P6 2 3 255".to_vec(), "is not an IDX file"),
        ([&[0, 0, 0x0d, 1], &whole[4..]].concat(), "type is 0x0d, not unsigned byte"),
        (whole[..17].to_vec(), "expected 6 bytes for shape [2, 3], found 5"),
        ([&whole[..], &[0]].concat(), "more than the 6 bytes of shape [2, 3]"),
        (idx(&[u32::MAX, u32::MAX], &[0; 8]), ", found 8"),
        (idx(&[u32::MAX; 3], &[0; 8]), "is too large"),
        (packed[..packed.len() - 9].to_vec(), ""),
        (flipped, ""),
    ] {
        let folder = folder(&[("file", bytes)]);
        let path = folder.path().join("file");
        refused(read_idx(&path), &path, reason);
    }
}

#[test]
fn mnist_comes_from_its_folder() {
    let folder = folder(&[
        ("train-images-idx3-ubyte.gz", gzip(&idx(&[3, 2, 2], &(0..12).collect::<Vec<_>>()))),
        ("train-labels-idx1-ubyte", idx(&[3], &[4, 0, 9])),
        ("t10k-images-idx3-ubyte", idx(&[1, 2, 2], &[255; 4])),
        ("t10k-labels-idx1-ubyte.gz", gzip(&idx(&[1], &[7]))),
    ]);
    let (train, test) = mnist(folder.path()).unwrap();
    assert_eq!((train.len(), train.0.shape(), test.len()), (3, [1, 2, 2], 1));
    assert_eq!((train.0.pixels(), train.1.data()), (&(0..12).collect::<Vec<u8>>()[..], &[4, 0, 9][..]));
    let (x, y) = test.batch(&[0], &Device::cpu());
    assert_eq!((x.to_vec::<f32>().unwrap(), y.to_vec::<i32>().unwrap()), (vec![1.0; 4], vec![7]));
}

#[test]
fn a_damaged_mnist_folder_is_refused() {
    let (images, labels) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    let whole = idx(&[3, 2, 2], &[0; 12]);
    for (bytes, classes, culprit, reason) in [
        (whole.clone(), idx(&[2], &[0; 2]), labels, "expected 3 labels, got shape [2]"),
        (whole, idx(&[3], &[0, 10, 1]), labels, "label 10 of sample 1 is not in 0 to 9"),
        (
            idx(&[12], &[0; 12]),
            idx(&[12], &[0; 12]),
            images,
            "expected images [count, height, width], got shape [12]",
        ),
        (idx(&[3, 0, 2], &[]), idx(&[3], &[0; 3]), images, "got shape [3, 0, 2]"),
    ] {
        let folder = folder(&[(images, bytes), (labels, classes)]);
        refused(mnist(folder.path()), &folder.path().join(culprit), reason);
    }
    let empty = tempdir().unwrap();
    refused(mnist(empty.path()), &empty.path().join(images), "there is no such file, nor one with .gz");
}

#[test]
fn cifar_comes_from_its_folder() {
    let record = |class: u8, pixel: u8| [vec![class], vec![pixel; 3072]].concat();
    let mut files: Vec<(String, Vec<u8>)> = (1..=5)
        .map(|i| (format!("data_batch_{i}.bin"), [record(i, 10 * i), record(0, 1)].concat()))
        .collect();
    files.push(("test_batch.bin".into(), record(9, 255)));
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (&name[..], bytes.clone())).collect();
    let whole = folder(&files);
    let ((images, classes), test): ((Images, Column<i32>), _) = cifar10(whole.path()).unwrap();
    assert_eq!(classes.data(), [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
    assert_eq!((images.len(), images.shape(), images.pixels()[4 * 3072]), (10, [3, 32, 32], 30));
    assert_eq!((test.len(), test.1.data()), (1, &[9][..]));

    for (bytes, reason) in [
        (record(1, 0)[..3000].to_vec(), "3000 bytes are not a multiple of 3073"),
        (vec![], "0 bytes are not a multiple of 3073"),
        ([record(3, 0), record(10, 0)].concat(), "label 10 of sample 1"),
    ] {
        let path = whole.path().join("data_batch_3.bin");
        fs::write(&path, bytes).unwrap();
        refused(cifar10(whole.path()), &path, reason);
    }
}

#[test]
fn damaged_tables_are_refused() {
    let folder = folder(&[
        ("good", b"a, b\n1, x\n-2.5e1, y\n".to_vec()),
        ("word", b"a,b\n1,2\n3,four\n".to_vec()),
        ("ragged", b"a,b\n1,2\n3\n".to_vec()),
    ]);
    let path = |name| folder.path().join(name);
    let table = read_csv(path("good")).unwrap();
    assert_eq!((table.names(), table.len()), (&["a".to_owned(), "b".to_owned()][..], 2));
    assert_eq!(table.numbers(&["a"]).unwrap().data(), [1.0, -25.0]);
    refused(table.numbers(&["c"]), &path("good"), r#"there is no column "c", only ["a", "b"]"#);
    let word = read_csv(path("word")).unwrap();
    refused(word.numbers(&["a", "b"]), &path("word"), r#"row 2, column "b": "four" is not a number"#);
    refused(read_csv(path("ragged")), &path("ragged"), "found record with 1 fields");
    refused(read_csv(path("absent")), &path("absent"), "");
}
