//! Programs: small graphs with backward passes among their steps; Jacobians, Hessians, and products with vectors.

use std::collections::HashMap;

use serde_json::Value;
use wgrad::autograd::{self, functional, grad, grad_with};
use wgrad::{Device, Tensor, no_grad};

use crate::case::{Attrs, Case, list, text};
use crate::compare;
use crate::guard::Fault;
use crate::ops;

/// The values named by the program so far.
pub struct Program<'a> {
    pub values: HashMap<String, Tensor>,
    pub device: &'a Device,
}

impl Program<'_> {
    pub fn get(&self, name: &Value) -> &Tensor {
        let name = text(name);
        let found = self.values.get(name);
        found.unwrap_or_else(|| Fault::Malformed(format!("nothing is named {name}")).raise())
    }

    fn all(&self, names: &[Value]) -> Vec<&Tensor> {
        names.iter().map(|name| self.get(name)).collect()
    }

    pub fn run(&mut self, steps: &[Value]) {
        steps.iter().for_each(|step| self.step(step));
    }

    fn step(&mut self, step: &Value) {
        let (names, attrs) = (list(&step["in"]), Attrs(&step["attrs"]));
        let results = match text(&step["op"]) {
            "detach" => vec![self.get(&names[0]).detach()],
            "no_grad" => return no_grad(|| self.run(list(&step["steps"]))),
            "zero_grad" => return self.all(names).into_iter().for_each(Tensor::zero_grad),
            "backward" => {
                let output = self.get(&names[0]);
                let retain_graph = attrs.flag("retain_graph").unwrap_or(false);
                return match &step["grad_output"] {
                    Value::Null if retain_graph => output.backward_retain_graph(),
                    Value::Null => output.backward(),
                    seed => autograd::backward(&[output], &[self.get(seed)], retain_graph),
                };
            }
            "grad" => {
                let (output, wrt) = (self.get(&names[0]), self.all(list(&step["wrt"])));
                let create_graph = attrs.flag("create_graph").unwrap_or(false);
                let gradients = match &step["grad_output"] {
                    Value::Null => grad(output, &wrt, create_graph),
                    seed => grad_with(output, self.get(seed), &wrt, create_graph),
                };
                // `None` means that the output does not depend on the input.
                let used = |gradient: Option<Tensor>| {
                    gradient.unwrap_or_else(|| {
                        Fault::Impossible("a gradient where grad gives None".into()).raise()
                    })
                };
                gradients.into_iter().map(used).collect()
            }
            op => {
                let operands: Vec<Option<Tensor>> =
                    names.iter().map(|name| (!name.is_null()).then(|| self.get(name).clone())).collect();
                ops::call(op, &ops::Args { tensors: &operands, attrs, device: self.device })
            }
        };
        let one = [step["out"].clone()];
        let out = step["out"].as_array().map_or(&one[..], Vec::as_slice);
        if results.len() != out.len() {
            Fault::Malformed(format!("{} names for {} results of {}", out.len(), results.len(), step["op"]))
                .raise();
        }
        for (name, result) in out.iter().zip(results).filter(|(name, _)| !name.is_null()) {
            self.values.insert(text(name).to_owned(), result);
        }
    }
}

/// The leaves of a case. Those in `wrt` require gradients.
fn leaves<'a>(case: &Case<'a>) -> Program<'a> {
    let wanted = case.list("wrt");
    let leaf = |(name, tensor): (&String, &Value)| {
        let tensor = case.tensor(tensor);
        let wanted = wanted.iter().any(|wanted| text(wanted) == name);
        (name.clone(), if wanted { tensor.requires_grad() } else { tensor })
    };
    Program { values: case.entries("inputs").map(leaf).collect(), device: case.device }
}

pub fn check(case: &Case) -> Result<(), String> {
    let mut program = leaves(case);
    program.run(case.list("steps"));
    if !case.json["loss"].is_null() {
        program.get(&case.json["loss"]).backward();
    }
    let seeds: Vec<(&Tensor, Tensor)> = case
        .entries("grad_outputs")
        .map(|(name, seed)| (program.get(&Value::from(name.as_str())), case.tensor(seed)))
        .collect();
    if !seeds.is_empty() {
        let outputs: Vec<&Tensor> = seeds.iter().map(|(output, _)| *output).collect();
        autograd::backward(&outputs, &seeds.iter().map(|(_, seed)| seed).collect::<Vec<_>>(), false);
    }
    for (name, want) in case.entries("outputs") {
        compare::tensor(case, name, program.get(&Value::from(name.as_str())), want)?;
    }
    for (name, want) in case.entries("grads") {
        let gradient = program.get(&Value::from(name.as_str())).grad();
        match gradient {
            // No gradient flows to it: it is absent or all zeros.
            Some(gradient) if want.is_null() => {
                let got = compare::read(&gradient).map_err(|error| error.to_string())?;
                compare::values(&format!("the gradient of {name}"), &got, &vec![0.0; got.len()], (0.0, 0.0))?;
            }
            gradient => compare::gradient(case, name, gradient, want)?,
        }
    }
    Ok(())
}

/// Checks `jacobian`, `hessian`, `vjp` and `jvp`. The steps define a function of the inputs in `wrt`.
pub fn check_functional(case: &Case) -> Result<(), String> {
    let wrt = case.list("wrt");
    let fixed = leaves(case);
    let inputs: Vec<&Tensor> = fixed.all(wrt);
    let function = |given: &[Tensor]| {
        let given = wrt.iter().zip(given).map(|(name, value)| (text(name).to_owned(), value.clone()));
        let values = fixed.values.clone().into_iter().chain(given).collect();
        let mut program = Program { values, device: case.device };
        program.run(case.list("steps"));
        program.get(&case.json["of"]).clone()
    };
    let wants = case.list("outputs");
    match case.op() {
        "jacobian" => {
            for (i, (got, want)) in functional::jacobian(function, &inputs).iter().zip(wants).enumerate() {
                compare::tensor(case, &format!("jacobian {i}"), got, want)?;
            }
        }
        "hessian" => {
            for (i, (row, wants)) in functional::hessian(function, &inputs).iter().zip(wants).enumerate() {
                for (j, (got, want)) in row.iter().zip(list(wants)).enumerate() {
                    compare::tensor(case, &format!("hessian {i} {j}"), got, want)?;
                }
            }
        }
        "vjp" => {
            let (y, gradients) = functional::vjp(function, &inputs, &case.tensor(&case.json["vector"]));
            compare::tensor(case, "output", &y, &case.json["output"])?;
            for (i, (got, want)) in gradients.into_iter().zip(wants).enumerate() {
                compare::gradient(case, &format!("input {i}"), Some(got), want)?;
            }
        }
        _ => {
            let tangents: Vec<Tensor> = case.list("tangents").iter().map(|name| case.tensor(name)).collect();
            let (y, tangent) = functional::jvp(function, &inputs, &tangents.iter().collect::<Vec<_>>());
            compare::tensor(case, "output", &y, &case.json["output"])?;
            compare::tensor(case, "tangent", &tangent, &case.json["output_tangent"])?;
        }
    }
    Ok(())
}
