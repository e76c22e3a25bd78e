//! Failures: each is reported by the correct call, once or permanently.

use std::panic::Location;
use std::task::Poll;

use super::kernels::*;
use crate::core::error::Error;
use crate::gpu::{Dispatch, Gpu, Options};
use futures::executor::block_on;

#[test]
fn one_read_reports_an_index_fault_with_its_line() {
    let gpu = gpu();
    let gather = pipeline(&gpu, gather());
    let here = Location::caller();
    let site = gpu.site("gather", here);
    assert_eq!(site, gpu.site("gather", here));
    assert_ne!(site, gpu.site("scatter_add", here));

    let x = upload(&gpu, &[5.0; 64]);
    let y = upload(&gpu, &[0.0; 64]);
    let at = |index| {
        let step = dispatch(&gpu, &gather, &[0, 1], 0);
        let uniforms = blocks(&gpu, &[[64, index, site]]);
        gpu.run(&[step], &[&x, &y], &uniforms).unwrap();
    };
    let is_here = |error: Error| {
        assert!(matches!(error, Error::Index { op: "gather", at } if at == here));
        let message = error.to_string();
        assert!(message.contains("gather") && message.contains("failures.rs"));
    };
    at(63);
    assert_eq!(download(&gpu, &y, 64), [5.0; 64]);
    at(64);
    at(1);
    is_here(gpu.read_blocking(&y, 256).unwrap_err());
    assert_eq!(download(&gpu, &y, 64), [5.0; 64], "reported once");
    at(1_000);
    is_here(block_on(gpu.read(&y, 0)).unwrap_err());
    assert!(block_on(gpu.read(&y, 256)).is_ok());

    // Dropping the future of a read does not lose the fault flags that the read copied: a later read reports the fault.
    at(64);
    let first = poll_once(gpu.read(&y, 256));
    let mut reads = (0..1_000).map(|_| gpu.read_blocking(&y, 256));
    match first {
        Poll::Ready(arrived) => is_here(arrived.unwrap_err()),
        Poll::Pending => is_here(reads.find_map(Result::err).expect("the fault")),
    }
}

#[test]
fn a_block_of_uniforms_over_the_limit_is_refused() {
    let gpu = gpu();
    let (x, y) = (upload(&gpu, &[5.0; 64]), upload(&gpu, &[1.0; 64]));
    let step = dispatch(&gpu, &pipeline(&gpu, affine()), &[0, 1], 0);
    let large = Dispatch { uniform_bytes: 2 * gpu.limits().uniform_bytes, ..step };
    let error = gpu.run(&[large], &[&x, &y], &blocks(&gpu, &[[64, 0, 0]])).unwrap_err();
    assert!(error.to_string().contains("max_uniform_buffer_binding_size"), "{error}");
    assert_eq!(download(&gpu, &y, 64), [1.0; 64], "nothing ran");
}

#[test]
fn a_buffer_over_the_limit_is_refused() {
    let gpu = gpu();
    let limit = gpu.limits().binding_bytes.min(gpu.limits().buffer_bytes);
    let error = gpu.allocate(limit + 1).unwrap_err();
    assert!(matches!(error, Error::TooLarge { bytes, .. } if bytes == limit + 1));
    assert!(error.to_string().contains("max_"), "names the limit");
    // The largest size is allowed, and the device still works.
    assert!(gpu.allocate(limit / 16 * 16).is_ok());
    assert!(gpu.upload(&[1, 2, 3]).is_ok());
}

#[test]
fn an_unknown_adapter_is_refused_with_the_list_of_adapters() {
    let options = Options { adapter: Some("Voodoo 2".into()), ..Options::default() };
    let Err(Error::AdapterNotFound { wanted, found }) = Gpu::new(options) else {
        panic!("there is no such adapter");
    };
    assert_eq!(wanted, "Voodoo 2");
    let name = found[0].to_uppercase();
    let options = Options { adapter: Some(name), ..Options::default() };
    assert!(Gpu::new(options).unwrap().describe().contains(&found[0]));
}

fn panic_of(shader: crate::gpu::Shader) -> String {
    let gpu = gpu();
    let attempt = std::panic::AssertUnwindSafe(|| {
        // The shader is compiled together with other shaders, so that another thread compiles it.
        let _ = gpu.pipelines(&[add(), affine(), shader]);
    });
    let panic = std::panic::catch_unwind(attempt).unwrap_err();
    // Other shaders still compile.
    assert!(gpu.pipelines(&[add(), affine()]).is_ok());
    let x = upload(&gpu, &[1.0]);
    assert_eq!(download(&gpu, &x, 1), [1.0]);
    panic.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn invalid_wgsl_panics_with_its_source() {
    let mut broken = add();
    broken.label = "crooked".into();
    broken.source = broken.source.replace("a[id.x] +", "a[id.x] ++");
    let message = panic_of(broken);
    assert!(message.contains("crooked"), "{message}");
    assert!(message.contains("    9 |"), "{message}");

    let mut unbound = add();
    unbound.bindings.pop();
    assert!(panic_of(unbound).contains("add is not valid"));
}

#[test]
fn idle_memory_can_be_released() {
    let gpu = gpu();
    let affine = pipeline(&gpu, affine());
    let (x, y) = (upload(&gpu, &[1.0; 64]), gpu.allocate(256).unwrap());
    let uniforms = blocks(&gpu, &[[64, 0, 0]]);
    gpu.run(&[dispatch(&gpu, &affine, &[0, 1], 0)], &[&x, &y], &uniforms).unwrap();
    drop((x, y));
    assert_eq!(gpu.stats().buffer_bytes_idle, 512);
    gpu.release_idle_memory().unwrap();
    assert_eq!(gpu.stats().buffer_bytes_idle, 0);
    assert_eq!(gpu.stats().buffer_bytes_peak, 512);
}

/// Buffers of increasing sizes, one at a time: unused size classes do not accumulate.
#[test]
fn idle_memory_is_bounded() {
    let gpu = gpu();
    for i in 0..100_000_u64 {
        gpu.allocate(256 << (i % 10 * (i / 20_000) / 4)).unwrap();
    }
    for _ in 0..40_000 {
        gpu.allocate(300).unwrap();
    }
    let stats = gpu.stats();
    assert!(stats.buffer_bytes_idle <= stats.buffer_bytes_peak / 8, "{stats:?}");
}
