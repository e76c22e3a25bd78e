//! Uploads and reads, blocking and async.

use std::task::Poll;

use super::kernels::*;
use futures::executor::block_on;
use futures::future::join;

#[test]
fn a_read_returns_the_uploaded_bytes_of_any_size() {
    let gpu = gpu();
    for count in [0, 1, 2, 3, 4, 5, 255, 256, 257, 1_023, 100_001] {
        let bytes: Vec<u8> = (0..count).map(|i| (i % 251) as u8).collect();
        let buffer = gpu.upload(&bytes).unwrap();
        assert_eq!(gpu.read_blocking(&buffer, count as u64).unwrap(), bytes);
    }
}

/// 96 MiB in two buffers: more than one write of an upload, and more than one chunk of a read.
#[test]
fn large_buffers_are_uploaded_and_read_in_parts() {
    let gpu = gpu();
    let pattern = |salt: u32| -> Vec<u8> {
        let words: Vec<u32> = (0..12 << 20).map(|i: u32| i.wrapping_mul(salt)).collect();
        bytemuck::cast_slice(&words).to_vec()
    };
    let patterns = [pattern(2_654_435_761), pattern(40_503)];
    let buffers = patterns.each_ref().map(|data| gpu.upload(data).unwrap());
    let bytes = patterns[0].len() as u64;
    let before = gpu.stats();
    let wanted = [(&buffers[0], bytes), (&buffers[1], bytes)];
    let read = gpu.read_many_blocking(&wanted).unwrap();
    assert!(read == patterns);
    assert_eq!(gpu.stats().submissions - before.submissions, 2);
    assert_eq!(gpu.stats().reads - before.reads, 1);
}

#[test]
fn two_tasks_read_at_once() {
    let gpu = gpu();
    let (a, b) = (upload(&gpu, &[1.0; 64]), upload(&gpu, &[2.0; 64]));
    let sum = async |times: u32, buffer| {
        let mut sum = 0.0;
        for _ in 0..times {
            sum += floats(&gpu.read(buffer, 256).await.unwrap())[63];
        }
        sum
    };
    let sums = block_on(join(sum(100, &a), sum(150, &b)));
    assert_eq!(sums, (100.0, 300.0));
}

/// The first poll returns immediately although the GPU is not done. Dropping the future at this point is safe.
#[test]
fn an_async_read_does_not_block() {
    let gpu = gpu();
    let buffer = upload(&gpu, &[7.0; 64]);
    for _ in 0..20 {
        let polled = poll_once(gpu.read(&buffer, 256));
        assert!(matches!(polled, Poll::Pending | Poll::Ready(Ok(_))));
    }
    assert_eq!(download(&gpu, &buffer, 64), [7.0; 64]);
}

#[test]
fn reads_and_a_buffer_outlive_their_device() {
    let gpu = gpu();
    let buffer = upload(&gpu, &[7.0; 64]);
    let reader = std::thread::spawn({
        let gpu = gpu.clone();
        move || block_on(gpu.read(&upload(&gpu, &[8.0; 4]), 16)).unwrap()
    });
    assert_eq!(floats(&reader.join().unwrap()), [8.0; 4]);
    drop(gpu);
    assert_eq!(buffer.bytes(), 256);
    drop(buffer);
}
