//! Optimizers, learning-rate schedules, clipping, and whole training runs.

use serde_json::Value;
use wgrad::optim::{Adam, AdamW, Optimizer, SGD};
use wgrad::{Tensor, Var, autograd};

use crate::case::{Attrs, Case, list, number, text};
use crate::compare;
use crate::guard::Fault;
use crate::program::Program;

/// The optimizer of this name.
pub fn optimizer(name: &str, attrs: Attrs, params: Vec<Var>) -> Box<dyn Optimizer> {
    let or = |key: &str, default: f64| attrs.number(key).unwrap_or(default);
    let betas = || attrs.get("betas").map_or((0.9, 0.999), |betas| (number(&betas[0]), number(&betas[1])));
    match name {
        "SGD" => Box::new(
            SGD::new(params, or("lr", 1e-3))
                .momentum(or("momentum", 0.0))
                .dampening(or("dampening", 0.0))
                .weight_decay(or("weight_decay", 0.0))
                .nesterov(attrs.flag("nesterov").unwrap_or(false)),
        ),
        "Adam" | "AdamW" if attrs.flag("amsgrad") == Some(true) => {
            Fault::NotThere("amsgrad".to_owned()).raise()
        }
        "Adam" => Box::new(
            Adam::new(params, or("lr", 1e-3))
                .betas(betas().0, betas().1)
                .eps(or("eps", 1e-8))
                .weight_decay(or("weight_decay", 0.0)),
        ),
        "AdamW" => Box::new(
            AdamW::new(params, or("lr", 1e-3))
                .betas(betas().0, betas().1)
                .eps(or("eps", 1e-8))
                .weight_decay(or("weight_decay", 0.01)),
        ),
        _ => Fault::NotThere(name.to_owned()).raise(),
    }
}

/// Whether the format knows an optimizer of this name.
pub fn optimizer_exists(name: &str) -> bool {
    ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"].contains(&name)
}

/// Gives a parameter its gradient: what backward does that starts at the parameter itself.
fn give(param: &Var, gradient: &Tensor) {
    autograd::backward(&[&param.tensor()], &[gradient], false);
}

/// Steps with given gradients; the parameters after each.
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

pub fn check_clip(_case: &Case) -> Result<(), String> {
    Fault::NotThere("clip_grad_norm".to_owned()).raise()
}

pub fn check_schedule(case: &Case) -> Result<(), String> {
    Fault::NotThere(case.op().to_owned()).raise()
}

/// A model trained for some steps: its losses, its first gradients, what it ends with.
pub fn check_training(case: &Case) -> Result<(), String> {
    let params: Vec<(String, Var)> =
        case.entries("params").map(|(name, t)| (name.clone(), Var::parameter(case.tensor(t)))).collect();
    let batches: Vec<(String, Tensor)> =
        case.entries("batches").map(|(name, t)| (name.clone(), case.tensor(t))).collect();
    let vars: Vec<Var> = params.iter().map(|(_, var)| var.clone()).collect();
    let recipe = &case.json["optimizer"];
    let mut optimizer = optimizer(text(&recipe["op"]), Attrs(&recipe["attrs"]), vars.clone());
    if !case.json["scheduler"].is_null() || !case.json["clip_grad_norm_"].is_null() {
        Fault::NotThere("schedules and clipping".to_owned()).raise();
    }
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
