//! Failures that need private access: a device that is lost.

use futures::executor::block_on;

use crate::core::error::Error;
use crate::gpu::{Gpu, Options, read};

#[test]
fn a_lost_device_comes_out_of_everything_after() {
    let gpu = Gpu::new(Options::default()).expect("an adapter");
    let buffer = gpu.upload(&[1; 16]).unwrap();
    assert!(gpu.read_blocking(&buffer, 16).is_ok());
    gpu.device.destroy();
    let lost = |error| matches!(error, Error::DeviceLost { .. } | Error::Driver(_));
    assert!(lost(gpu.read_blocking(&buffer, 16).unwrap_err()));
    assert!(lost(block_on(gpu.read(&buffer, 16)).unwrap_err()));
    assert!(lost(gpu.allocate(16).unwrap_err()));
    assert!(lost(gpu.run(&[], &[], &[]).unwrap_err()));
}

#[test]
fn a_failure_wakes_the_tasks_that_wait() {
    let gpu = Gpu::new(Options::default()).expect("an adapter");
    let buffer = gpu.upload(&[1; 16]).unwrap();
    let wanted = [(&buffer, 16)];
    let chunk = read::chunks(&wanted).remove(0);
    let transfer = gpu.submit_copy(&chunk, &wanted).unwrap();
    // No thread has polled yet, so the bytes cannot have arrived before the failure.
    gpu.health.fail(Error::Hang { seconds: 1 });
    gpu.poller.wake_when_done(&gpu.timeline, transfer.ticket, transfer.completion);
    let mapped = block_on(transfer.mapped);
    let error = gpu.unpack(mapped, &chunk, &mut [vec![]]).unwrap_err();
    assert!(matches!(error, Error::Hang { seconds: 1 }));
    assert!(matches!(gpu.allocate(1), Err(Error::Hang { .. })));
}
