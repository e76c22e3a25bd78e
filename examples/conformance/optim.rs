//! Optimizers, learning rate schedules, clipping, and whole training runs.

use serde_json::Value;
use wgrad::optim::{
    Adagrad, Adam, AdamW, CosineAnnealingLR, LinearLR, OneCycleLR, Optimizer, RMSprop, SGD, Schedule, StepLR,
    clip_grad_norm,
};
use wgrad::{Tensor, Var, autograd};

use crate::case::{Attrs, Case, list, number, text};
use crate::compare;
use crate::guard::Fault;
use crate::program::Program;

/// Creates the optimizer with this name.
pub fn optimizer(name: &str, attrs: Attrs, params: Vec<Var>) -> Box<dyn Optimizer> {
    let or = |key: &str, default: f64| attrs.number(key).unwrap_or(default);
    let flag = |key: &str| attrs.flag(key).unwrap_or(false);
    let betas = || attrs.get("betas").map_or((0.9, 0.999), |betas| (number(&betas[0]), number(&betas[1])));
    match name {
        "SGD" => Box::new(
            SGD::new(params, or("lr", 1e-3))
                .momentum(or("momentum", 0.0))
                .dampening(or("dampening", 0.0))
                .weight_decay(or("weight_decay", 0.0))
                .nesterov(flag("nesterov")),
        ),
        "Adam" => Box::new(
            Adam::new(params, or("lr", 1e-3))
                .betas(betas().0, betas().1)
                .eps(or("eps", 1e-8))
                .weight_decay(or("weight_decay", 0.0))
                .amsgrad(flag("amsgrad")),
        ),
        "AdamW" => Box::new(
            AdamW::new(params, or("lr", 1e-3))
                .betas(betas().0, betas().1)
                .eps(or("eps", 1e-8))
                .weight_decay(or("weight_decay", 0.01))
                .amsgrad(flag("amsgrad")),
        ),
        "RMSprop" => Box::new(
            RMSprop::new(params, or("lr", 1e-2))
                .alpha(or("alpha", 0.99))
                .eps(or("eps", 1e-8))
                .weight_decay(or("weight_decay", 0.0))
                .momentum(or("momentum", 0.0))
                .centered(flag("centered")),
        ),
        "Adagrad" => Box::new(
            Adagrad::new(params, or("lr", 1e-2))
                .lr_decay(or("lr_decay", 0.0))
                .eps(or("eps", 1e-10))
                .weight_decay(or("weight_decay", 0.0))
                .initial_accumulator_value(or("initial_accumulator_value", 0.0)),
        ),
        _ => Fault::NotThere(name.to_owned()).raise(),
    }
}

/// Whether the format has an optimizer with this name.
pub fn optimizer_exists(name: &str) -> bool {
    ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"].contains(&name)
}

/// Sets the gradient of a parameter with a backward pass that starts at the parameter.
fn give(param: &Var, gradient: &Tensor) {
    autograd::backward(&[&param.tensor()], &[gradient], false);
}

/// Runs steps with given gradients and compares the parameters after each step.
pub fn check(case: &Case) -> Result<(), String> {
    let params: Vec<Var> = case.list("params").iter().map(|name| Var::parameter(case.tensor(name))).collect();
    let mut optimizer = optimizer(case.op(), case.attrs(), params.clone());
    for (step, (grads, wants)) in case.list("step_grads").iter().zip(case.list("step_params")).enumerate() {
        for (param, grad) in params.iter().zip(list(grads)).filter(|(_, grad)| !grad.is_null()) {
            give(param, &case.tensor(grad));
        }
        optimizer.step();
        for (i, (param, want)) in params.iter().zip(list(wants)).enumerate() {
            compare::tensor(case, &format!("step {step}, parameter {i}"), &param.tensor(), want)?;
        }
    }
    Ok(())
}

fn clip(attrs: Attrs, params: &[Var]) -> Tensor {
    let max_norm = attrs.number("max_norm").unwrap_or_else(|| Fault::Malformed("no max_norm".into()).raise());
    clip_grad_norm(params, max_norm, attrs.number("norm_type").unwrap_or(2.0))
}

/// Compares the norm before clipping, then each clipped gradient.
pub fn check_clip(case: &Case) -> Result<(), String> {
    let param = |name: &Value| {
        let gradient = case.tensor(name);
        let param = Var::parameter(gradient.zeros_like());
        give(&param, &gradient);
        param
    };
    let params: Vec<Var> = case.list("inputs").iter().map(param).collect();
    let norm = clip(case.attrs(), &params);
    let wants = case.list("outputs");
    compare::tensor(case, "the norm", &norm, &wants[0])?;
    for (i, (param, want)) in params.iter().zip(&wants[1..]).enumerate() {
        compare::gradient(case, &format!("parameter {i}"), param.grad(), want)?;
    }
    Ok(())
}

fn schedule(name: &str, attrs: Attrs, base_lr: f64) -> Box<dyn Schedule> {
    let or = |key: &str, default: f64| attrs.number(key).unwrap_or(default);
    let size = |key: &str| {
        attrs.size(key).unwrap_or_else(|| Fault::Malformed(format!("{name} without {key}")).raise())
    };
    match name {
        "StepLR" => Box::new(StepLR::new(base_lr, size("step_size"), or("gamma", 0.1))),
        "CosineAnnealingLR" => {
            Box::new(CosineAnnealingLR::new(base_lr, size("T_max")).eta_min(or("eta_min", 0.0)))
        }
        "LinearLR" => Box::new(LinearLR::new(
            base_lr,
            or("start_factor", 1.0 / 3.0),
            or("end_factor", 1.0),
            attrs.size("total_iters").unwrap_or(5),
        )),
        "OneCycleLR" => Box::new(
            OneCycleLR::new(or("max_lr", base_lr), size("total_steps"))
                .pct_start(or("pct_start", 0.3))
                .div_factor(or("div_factor", 25.0))
                .final_div_factor(or("final_div_factor", 1e4))
                .linear(attrs.text("anneal_strategy") == Some("linear")),
        ),
        _ => Fault::NotThere(name.to_owned()).raise(),
    }
}

/// Compares the learning rate at the start and after each step.
pub fn check_schedule(case: &Case) -> Result<(), String> {
    let schedule = schedule(case.op(), case.attrs(), number(&case.json["base_lr"]));
    let wants: Vec<f64> = case.list("expected_lr").iter().map(number).collect();
    let got: Vec<f64> = (0..wants.len()).map(|step| schedule.lr(step)).collect();
    compare::values("lr", &got, &wants, case.tolerance(&Value::Null))
}

/// Trains a model for some steps and compares its losses, first gradients and final parameters.
pub fn check_training(case: &Case) -> Result<(), String> {
    let params: Vec<(String, Var)> =
        case.entries("params").map(|(name, t)| (name.clone(), Var::parameter(case.tensor(t)))).collect();
    let batches: Vec<(String, Tensor)> =
        case.entries("batches").map(|(name, t)| (name.clone(), case.tensor(t))).collect();
    let vars: Vec<Var> = params.iter().map(|(_, var)| var.clone()).collect();
    let recipe = &case.json["optimizer"];
    let mut optimizer = optimizer(text(&recipe["op"]), Attrs(&recipe["attrs"]), vars.clone());
    let (plan, clipping) = (&case.json["scheduler"], &case.json["clip_grad_norm_"]);
    let schedule =
        (!plan.is_null()).then(|| schedule(text(&plan["op"]), Attrs(&plan["attrs"]), optimizer.lr()));
    let mut losses = Vec::new();
    for step in 0..case.json["train_steps"].as_i64().unwrap_or(0) {
        let parameters = params.iter().map(|(name, var)| (name.clone(), var.tensor()));
        let batch = batches.iter().map(|(name, all)| (name.clone(), all.select(0, step)));
        let mut program = Program { values: parameters.chain(batch).collect(), device: case.device };
        program.run(case.list("steps"));
        let loss = program.get(&case.json["loss"]).clone();
        loss.backward();
        if step == 0 {
            for (name, want) in case.entries("first_grads") {
                let gradient = program.get(&Value::from(name.as_str())).grad();
                compare::gradient(case, name, gradient, want)?;
            }
        }
        if !clipping.is_null() {
            clip(Attrs(clipping), &vars);
        }
        if let Some(schedule) = &schedule {
            schedule.apply(step as usize, &mut *optimizer);
        }
        optimizer.step();
        losses.push(loss.item().map_err(|error| error.to_string())?);
    }
    let wants = &case.json["losses"];
    compare::values("losses", &losses, &case.host(wants).values(), case.tolerance(wants))?;
    for (name, var) in &params {
        compare::tensor(case, &format!("final {name}"), &var.tensor(), &case.json["final_params"][name])?;
    }
    Ok(())
}
