//! What augmentation does to pixels, against a plain definition.

use std::collections::BTreeSet;

use wgrad::data::{DataLoader, Dataset, Images};
use wgrad::{Device, manual_seed};

/// Two images of 2 channels, 3 x 4: each byte tells where it is, and none is 0.
fn images() -> Images {
    Images::new((1..=48).collect(), [2, 3, 4])
}

fn bytes(images: &Images, samples: &[usize]) -> Vec<i32> {
    let floats = images.batch(samples, &Device::cpu()).to_vec::<f32>().unwrap();
    floats.iter().map(|x| (x * 255.0).round() as i32).collect()
}

#[test]
fn as_they_are_they_run_from_0_to_1() {
    let x = images().batch(&[1, 0], &Device::cpu());
    assert_eq!(x.shape()[..], [2, 2, 3, 4]);
    let expected: Vec<f32> = (25..=48).chain(1..=24).map(|byte| byte as f32 * (1.0 / 255.0)).collect();
    assert_eq!(x.to_vec::<f32>().unwrap(), expected);
}

#[test]
fn normalising_is_by_channel() {
    let x = images().normalise(&[0.5, 0.25], &[0.2, 0.1]).batch(&[0], &Device::cpu());
    for (i, x) in x.to_vec::<f32>().unwrap().into_iter().enumerate() {
        let (mean, std) = if i < 12 { (0.5, 0.2) } else { (0.25, 0.1) };
        let expected = ((i + 1) as f64 / 255.0 - mean) / std;
        assert!((f64::from(x) - expected).abs() < 1e-6, "{x} instead of {expected}");
    }
}

/// The window of `height` x `width` whose corner lies at `(top, left)`, 0 outside, mirrored or not.
fn window(top: i32, left: i32, [height, width]: [i32; 2], mirrored: bool) -> Vec<i32> {
    let mut window = Vec::new();
    for channel in 0..2 {
        for row in 0..height {
            for column in 0..width {
                let (y, x) = (top + row, left + if mirrored { width - 1 - column } else { column });
                let inside = (0..3).contains(&y) && (0..4).contains(&x);
                window.push(if inside { channel * 12 + y * 4 + x + 1 } else { 0 });
            }
        }
    }
    window
}

/// Everything that an augmentation may give comes, and nothing else.
fn expect(images: &Images, allowed: BTreeSet<Vec<i32>>) {
    manual_seed(1);
    let found: BTreeSet<_> = (0..60 * allowed.len()).map(|_| bytes(images, &[0])).collect();
    assert_eq!(found, allowed);
}

#[test]
fn images_are_shifted_by_every_distance() {
    let places = |n: i32| (-n..=n).flat_map(move |top| (-n..=n).map(move |left| (top, left)));
    expect(&images().shift(1), places(1).map(|(top, left)| window(top, left, [3, 4], false)).collect());
}

#[test]
fn images_are_flipped_or_not() {
    expect(&images().flip(), [false, true].map(|mirrored| window(0, 0, [3, 4], mirrored)).into());
}

#[test]
fn crops_are_at_every_position() {
    let places = (0..2).flat_map(|top| (0..3).map(move |left| (top, left)));
    expect(&images().crop([2, 2]), places.map(|(top, left)| window(top, left, [2, 2], false)).collect());
    assert_eq!(images().crop([2, 2]).shape(), [2, 2, 2]);
}

#[test]
fn a_loader_seeds_them() {
    let load = |seed, workers| {
        let images = images().shift(2).flip().crop([2, 3]);
        let loader = DataLoader::new(images, 1, &Device::cpu()).seed(seed).workers(workers);
        loader.batches().take(8).map(|x| x.to_vec::<f32>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(load(1, 0), load(1, 3));
    assert_ne!(load(1, 0), load(2, 0));
}

#[test]
#[should_panic(expected = "crop: the window [4, 4] does not fit into images of [3, 4]")]
fn a_window_that_does_not_fit_is_refused() {
    let _ = images().crop([4, 4]);
}

#[test]
#[should_panic(expected = "images: 47 bytes are not a multiple of the image shape [2, 3, 4]")]
fn half_an_image_is_refused() {
    let _ = Images::new(vec![0; 47], [2, 3, 4]);
}
