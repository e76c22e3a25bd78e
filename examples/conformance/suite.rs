//! Selects the check for a case.

use wgrad::Device;

use crate::case::{Case, Group};
use crate::guard::catch;
use crate::{bad, ops, optim, program};

/// Fails with the difference.
pub fn check(case: &Case) -> Result<(), String> {
    let check = match case.op() {
        _ if case.group.name == "bad_inputs" => bad::check,
        "program" => program::check,
        "jacobian" | "hessian" | "vjp" | "jvp" => program::check_functional,
        "training" => optim::check_training,
        "clip_grad_norm_" => optim::check_clip,
        _ if !case.json["expected_lr"].is_null() => optim::check_schedule,
        _ if !case.json["step_grads"].is_null() => optim::check,
        _ => ops::check,
    };
    catch(|| check(case)).unwrap_or_else(|fault| Err(fault.to_string()))
}

/// Runs a group. Returns the number of cases that passed, and each failure as `(id, difference)`.
pub fn run<'a>(group: &'a Group, device: &'a Device) -> (usize, Vec<(&'a str, String)>) {
    let mut failures = Vec::new();
    for json in &group.cases {
        let case = Case { group, json, device };
        if let Err(wrong) = check(&case) {
            failures.push((case.id(), wrong));
        }
    }
    (group.cases.len() - failures.len(), failures)
}
