//! Where gradients gather, what is kept of a graph, and how to step out of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Place;
use wgrad::{Tensor, Var, autograd, enable_grad, is_grad_enabled, no_grad};

on_both_devices!(
    two_graphs_accumulate,
    a_retained_graph_accumulates,
    a_second_pass_is_refused,
    a_shared_part_given_up_is_refused,
    what_cannot_be_differentiated_is_refused,
    intermediate_gradients_on_request,
    a_loss_may_be_read_before_backward,
    leaf_gradients_survive,
    zero_grad_starts_again,
    no_grad_records_nothing,
    detach_stops_gradients,
    grad_leaves_no_trace,
    several_outputs_in_one_pass,
);

/// The message that `f` panics with.
#[track_caller]
fn refusal(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("this must be refused");
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().expect("a panic carries a text").to_string(),
    }
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "the message should say {part:?}: {message}");
    }
}

/// A second graph adds its gradient to the first one's: 2 x + 3 at x = 5.
fn two_graphs_accumulate(on: &Place) {
    let x = on.number(5.0);
    (&x * &x).backward();
    on.close_grad("first", &x, &[10.0]);
    (&x * 3.0).backward();
    on.close_grad("first and second", &x, &[13.0]);
}

fn a_retained_graph_accumulates(on: &Place) {
    let x = on.variable([1.0, -2.0, 0.5], &[3]);
    let y = x.pow(3.0).sum();
    for pass in 1..=3 {
        if pass < 3 {
            y.backward_retain_graph();
        } else {
            // The last pass gives the graph up, and is served all the same.
            y.backward();
        }
        let times = f64::from(pass);
        on.close_grad("3 x^2 a pass", &x, &[3.0, 12.0, 0.75].map(|slope| times * slope));
    }
}

/// Pending or computed, read between the passes or not: the second pass is refused, and says what to do. The message
/// names the operation and the line that built it.
fn a_second_pass_is_refused(on: &Place) {
    for read in [false, true] {
        let x = on.number(-0.5);
        let y = x.exp();
        y.backward();
        if read {
            y.item().unwrap();
        }
        let message = refusal(|| y.backward());
        assert!(message.starts_with("backward: "), "{message}");
        says(&message, &["exp", file!(), "freed by an earlier backward pass", "backward_retain_graph"]);
        let message = refusal(|| drop(autograd::grad(&y, &[&x], false)));
        assert!(message.starts_with("grad: "), "{message}");
        says(&message, &["exp", "backward_retain_graph"]);
        // The refused passes left what the first one gathered.
        on.close_grad("after the refusal", &x, &[(-0.5f64).exp()]);
    }
}

/// Two losses over one part: the first backward pass gives the shared part up, so the second is refused, and a loss
/// built on it later too. Nothing is silently left out.
fn a_shared_part_given_up_is_refused(on: &Place) {
    let x = on.number(2.0);
    let shared = x.exp();
    let (first, second) = (&shared * 2.0, &shared * 3.0);
    first.backward();
    says(&refusal(|| second.backward()), &["backward: ", "exp", file!(), "backward_retain_graph"]);
    says(&refusal(|| (&shared + 1.0).backward()), &["exp", "backward_retain_graph"]);
    on.close_grad("the first loss alone", &x, &[2.0 * 2f64.exp()]);

    // Retained, both may pass.
    let x = on.number(2.0);
    let shared = x.exp();
    let (first, second) = (&shared * 2.0, &shared * 3.0);
    first.backward_retain_graph();
    second.backward();
    on.close_grad("both losses", &x, &[5.0 * 2f64.exp()]);
}

fn what_cannot_be_differentiated_is_refused(on: &Place) {
    let x = on.variable([1.0, 2.0], &[2]);
    says(&refusal(|| (&x * 2.0).backward()), &["backward: ", "f32[2]", "expects one element"]);
    let constant = on.constant([1.0], &[]);
    says(
        &refusal(|| constant.exp().backward()),
        &["backward: ", "does not depend on a tensor that requires a gradient"],
    );
    let y = &x * 2.0;
    let wrong = on.constant([1.0; 3], &[3]);
    says(&refusal(|| autograd::backward(&[&y], &[&wrong], false)), &["backward: ", "f32[3]", "f32[2]"]);
    says(&refusal(|| autograd::backward(&[&y], &[], false)), &["1 outputs", "0 gradients"]);
    let integers = Tensor::new([1, 2], [2], &on.device);
    says(&refusal(|| drop(integers.requires_grad())), &["requires_grad: ", "i32[2]"]);
    assert!(x.grad().is_none(), "a refused pass leaves nothing behind");
}

/// y = sum of e^(2 x): the gradient of the middle, u = 2 x, is e^u.
fn intermediate_gradients_on_request(on: &Place) {
    let x = on.variable([0.5, -1.0], &[2]);
    let (kept, dropped) = (&x * 2.0, &x * 3.0);
    kept.retain_grad();
    let y = kept.exp().sum() + dropped.exp().sum();
    y.backward_retain_graph();
    on.close_grad("the middle that asked", &kept, &[1f64.exp(), (-2f64).exp()]);
    assert!(dropped.grad().is_none(), "the middle that did not ask");
    assert!(y.grad().is_none(), "the output did not ask");
    // It adds up as a leaf's does.
    y.backward();
    on.close_grad("the middle, twice", &kept, &[2.0 * 1f64.exp(), 2.0 * (-2f64).exp()]);
}

/// Reading computes values and changes no graph: also where the variable itself is the result of a computation that
/// nothing has run yet, as it is after a step of training.
fn a_loss_may_be_read_before_backward(on: &Place) {
    let six = || on.constant([3.0], &[]) * 2.0;
    let pending = six().detach().requires_grad();
    let computed = six().detach();
    computed.item().unwrap();
    for variable in [pending, computed.requires_grad()] {
        let loss = &variable * &variable;
        on.close("loss", &loss, &[36.0]);
        loss.backward();
        on.close_grad("2 * 6", &variable, &[12.0]);
    }

    // w falls by a quarter of its gradient 2 w: to a half, at each step.
    let w = Var::parameter(on.constant([8.0], &[]));
    for want in [64.0, 16.0, 4.0] {
        let loss = w.tensor().square();
        on.close("loss of the step", &loss, &[want]);
        loss.backward();
        w.set(w.tensor() - w.grad().unwrap() * 0.25);
    }
    on.close("w after three steps", &w.tensor(), &[1.0]);
}

/// The graph goes, the gradient of the leaf stays: also when the loss is dropped, and read only then.
fn leaf_gradients_survive(on: &Place) {
    let x = on.variable([0.5, -1.0], &[2]);
    {
        let y = (&x * &x).sum();
        y.backward();
    }
    on.close_grad("after the graph", &x, &[1.0, -2.0]);
    // A handle taken before later passes keeps its value: tensors never change.
    let before = x.grad().unwrap();
    (&x * &x).sum().backward();
    on.close("the old gradient", &before, &[1.0, -2.0]);
    on.close_grad("the new one", &x, &[2.0, -4.0]);
    // And the old one is a value without a history.
    assert!(!before.needs_grad());
}

fn zero_grad_starts_again(on: &Place) {
    let x = on.number(3.0);
    (&x * &x).backward();
    x.zero_grad();
    assert!(x.grad().is_none(), "forgotten");
    (&x * 2.0).backward();
    on.close_grad("the second alone", &x, &[2.0]);
}

fn no_grad_records_nothing(on: &Place) {
    let x = on.number(3.0);
    let y = no_grad(|| {
        assert!(!is_grad_enabled());
        &x * &x
    });
    assert!(is_grad_enabled(), "the mode ends with the call");
    on.close("the value is there", &y, &[9.0]);
    assert!(!y.needs_grad());
    says(&refusal(|| y.backward()), &["does not depend on a tensor that requires a gradient"]);
    // Used in a graph it is a number like any other: d/dx of x * 9.
    (&x * &y).backward();
    on.close_grad("x * 9", &x, &[9.0]);

    let inside = no_grad(|| enable_grad(|| &x * &x));
    assert!(inside.needs_grad(), "switched on again inside");
    // A panic inside does not leave the mode switched off.
    refusal(|| no_grad(|| panic!("inside")));
    assert!(is_grad_enabled());
}

/// x times a detached x is x times a number.
fn detach_stops_gradients(on: &Place) {
    let x = on.number(3.0);
    let held = x.detach();
    assert!(!held.needs_grad());
    (&x * &held).backward();
    on.close_grad("x * 3", &x, &[3.0]);
    assert!(held.grad().is_none());
    // What is detached may become a variable of its own.
    let own = x.exp().detach().requires_grad();
    (&own * &own).backward();
    on.close_grad("own", &own, &[2.0 * 3f64.exp()]);
    on.close_grad("x is not touched", &x, &[3.0]);
}

/// `grad` hands values out: nothing gathers on the leaves, and the graph stays.
fn grad_leaves_no_trace(on: &Place) {
    let (x, w) = (on.number(3.0), on.number(2.0));
    let y = &x * &x * &w;
    for _ in 0..2 {
        let found = autograd::grad(&y, &[&x, &w, &x], false);
        let want = [12.0, 9.0, 12.0];
        for (gradient, want) in found.iter().zip(want) {
            let gradient = gradient.as_ref().unwrap();
            on.close("dy/dx, dy/dw, dy/dx", gradient, &[want]);
            assert!(!gradient.needs_grad(), "without create_graph it has no history");
        }
        assert!(x.grad().is_none() && w.grad().is_none());
    }
    y.backward();
    on.close_grad("and then backward", &x, &[12.0]);
}

/// Several outputs, each with the gradient that flows into it: J^T v, in one walk.
fn several_outputs_in_one_pass(on: &Place) {
    let x = on.variable([0.5, -1.0], &[2]);
    let shared = x.exp();
    let (first, second) = (&shared * 2.0, &shared * &shared);
    let (into_first, into_second) = (on.constant([1.0, -1.0], &[2]), on.constant([0.5, 2.0], &[2]));
    autograd::backward(&[&first, &second], &[&into_first, &into_second], false);
    let want = |x: f64, v: f64, w: f64| 2.0 * x.exp() * v + 2.0 * (2.0 * x).exp() * w;
    on.close_grad("both", &x, &[want(0.5, 1.0, 0.5), want(-1.0, -1.0, 2.0)]);
    // An output given twice counts twice.
    let x = on.number(3.0);
    let y = &x * &x;
    let one = on.constant([1.0], &[]);
    autograd::backward(&[&y, &y], &[&one, &one], false);
    on.close_grad("twice", &x, &[12.0]);
}
