//! The output of `WGRAD_LOG`.

use std::process::Command;

use wgrad::{Device, GpuOptions, Tensor};

/// The log of a product of exponentials, of its consumers, and of a sum that 8 storage buffers split.
#[test]
#[ignore = "is run by the next one, as a process of its own"]
fn speaks() {
    let device = Device::gpu_with(&GpuOptions { restricted: true, ..GpuOptions::default() }).unwrap();
    let leaf = |shape: &[usize]| Tensor::new(vec![0f32; shape.iter().product()], shape, &device);
    let x = leaf(&[8, 8]).requires_grad();
    let held = x.exp().matmul(&x).tanh(); // held
    held.realize().unwrap();
    let xs: Vec<Tensor> = (0..9).map(|_| leaf(&[64])).collect();
    let sum = xs[1..].iter().fold(xs[0].clone(), |sum, x| sum + x); // split
    sum.realize().unwrap();
}

/// The variable is read once per process, so a child process prints the log.
#[test]
fn the_log_names_kernels_lines_and_reasons() {
    let said = |topics: &str| {
        let program = std::env::current_exe().unwrap();
        let arguments = ["--exact", "speaks", "--ignored", "--nocapture"];
        let child = Command::new(program)
            .args(arguments)
            .env("WGRAD_LOG", topics)
            .env("WGRAD_FUSE", "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        String::from_utf8(child.stderr).unwrap()
    };
    // The line of a place in this file ends with this comment.
    let is_at = |place: &str, comment: &str| {
        let (_, rest) = place.split_once("log.rs:").unwrap();
        let line: usize = rest.split(':').next().unwrap().parse().unwrap();
        include_str!("log.rs").lines().nth(line - 1).unwrap().ends_with(comment)
    };
    let all = said("plan,kernel,wgsl");
    println!("{all}");
    let find = |part: &str| {
        all.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part} in {all}"))
    };
    assert!(is_at(find("kept: handle from"), "// held"), "for whom");
    assert!(find("kept: for backward").contains("(exp, slot"), "a backward pass may come");
    assert!(find("one kernel would bind").contains("of 8"), "why the sum is not one kernel");
    assert!(is_at(find("wgrad: matmul"), "// held"), "which kernel, for which line");
    assert!(find("wgrad: matmul").contains(" workgroups, 768 bytes"), "how much of it");
    let (_, text) = all.split_once("wgrad: kernel matmul").expect("its text");
    assert!(text.contains("@compute") && text.contains("= tanh_("), "with its epilogue");

    let plans = said("plan");
    assert!(
        plans.contains("wgrad: a plan") && !plans.contains("wgrad: matmul") && !plans.contains("@compute")
    );
    assert!(!said("").contains("wgrad:"));

    let forms = said("after:regions");
    assert!(forms.contains("wgrad: after regions") && !forms.contains("wgrad: after lower"));
    let unknown = said("after:region,plans");
    assert!(unknown.contains("not after:region\n") && unknown.contains("not plans\n"), "{unknown}");
}
