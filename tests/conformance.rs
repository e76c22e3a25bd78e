//! PyTorch's results on the CPU reference and on the GPU, one test per group of operations.

#[path = "../examples/conformance/bad.rs"]
mod bad;
#[path = "../examples/conformance/case.rs"]
mod case;
#[path = "../examples/conformance/compare.rs"]
mod compare;
#[path = "../examples/conformance/guard.rs"]
mod guard;
#[path = "../examples/conformance/ops.rs"]
mod ops;
#[path = "../examples/conformance/optim.rs"]
mod optim;
#[path = "../examples/conformance/program.rs"]
mod program;
#[path = "../examples/conformance/suite.rs"]
mod suite;

use std::path::Path;

use wgrad::Device;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance"))
}

fn check(name: &str, device: &Device) {
    let group = case::Group::read(folder(), name).unwrap_or_else(|error| panic!("{error:?}"));
    let (passed, failures) = suite::run(&group, device);
    let lines: Vec<String> = failures.iter().map(|(id, wrong)| format!("\n  {id}: {wrong}")).collect();
    assert!(failures.is_empty(), "{name}: {passed}/{}{}", group.cases.len(), lines.concat());
}

macro_rules! groups {
    ($($group:ident)*) => {
        mod cpu {
            $(#[test] fn $group() { super::check(stringify!($group), &wgrad::Device::cpu()); })*
        }
        mod gpu {
            $(#[test] fn $group() {
                let device = wgrad::Device::gpu().unwrap_or_else(|error| panic!("{error}"));
                super::check(stringify!($group), &device);
            })*
        }
        /// Fails for a group of cases that has no test here.
        #[test]
        fn all_groups_are_tested() {
            let mut tested = [$(stringify!($group)),*];
            tested.sort_unstable();
            assert_eq!(case::groups(folder()).unwrap_or_else(|error| panic!("{error:?}")), tested);
        }
    };
}
groups! {
    elementwise unary compare reduction matmul softmax loss shape indexing norm conv attention
    program higher_order optim schedulers training bad_inputs
}

/// Kernels contain no sizes, so all cases together need a bounded number of them: about 1,280 fused, since what fuses
/// differs from case to case, and 570 with one kernel per node, vectorized ones of large cases among them. GPUs need 60 more,
/// for products and sums by several lanes.
#[test]
fn webgpus_default_limits_are_enough_and_kernels_are_bounded() {
    let options = wgrad::GpuOptions { restricted: true, ..wgrad::GpuOptions::default() };
    let device = Device::gpu_with(&options).unwrap_or_else(|error| panic!("{error}"));
    for name in case::groups(folder()).unwrap_or_else(|error| panic!("{error:?}")) {
        check(&name, &device);
    }
    let (kernels, bound) = (device.counters().pipelines, if options.fuse { 1400 } else { 660 });
    println!("{kernels} kernels");
    assert!(kernels <= bound, "{kernels} kernels, over the bound of {bound}");
}
