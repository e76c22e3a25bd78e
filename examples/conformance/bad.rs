//! Calls that must panic at the caller's line, with a message that names the operation and shows what is wrong.

use serde_json::Value;
use wgrad::{Tensor, Var};

use crate::case::{Case, Data, Host, list, text};
use crate::guard::{Fault, catch};
use crate::program::Program;
use crate::{compare, ops, optim};

pub fn check(case: &Case) -> Result<(), String> {
    match catch(|| call(case)) {
        Ok(Ok(())) => Err("it was not refused".to_owned()),
        Ok(Err(message)) => judge(case, &message),
        // If the types do not allow the mistake, nobody can make it.
        Err(Fault::Impossible(_)) => Ok(()),
        Err(Fault::Panic { message, place }) => {
            // `track_caller` reports the line of the public call, which is in this example.
            if !place.contains("examples/conformance") {
                return Err(format!("panic inside the library, at {place}: {message}"));
            }
            judge(case, &message)
        }
        Err(fault) => Err(fault.to_string()),
    }
}

/// Makes the mistake and reads the result, because only the device sees some indices.
fn call(case: &Case) -> Result<(), String> {
    let tensor = |spec: &Value| host(spec).tensor(case.device);
    let results = if case.json["inputs"].is_object() {
        let wanted = case.list("wrt");
        let leaf = |(name, spec): (&String, &Value)| {
            let wanted = wanted.iter().any(|wanted| text(wanted) == name);
            (name.clone(), if wanted { tensor(spec).requires_grad() } else { tensor(spec) })
        };
        let values = case.entries("inputs").map(leaf).collect();
        let mut program = Program { values, device: case.device };
        program.run(case.list("steps"));
        Vec::new()
    } else if optim::optimizer_exists(case.op()) {
        let params = vec![Var::parameter(Tensor::ones([1], case.device))];
        optim::optimizer(case.op(), case.attrs(), params);
        Vec::new()
    } else {
        let tensors: Vec<Option<Tensor>> =
            case.list("inputs").iter().map(|spec| (!spec.is_null()).then(|| tensor(spec))).collect();
        ops::call(case.op(), &ops::Args { tensors: &tensors, attrs: case.attrs(), device: case.device })
    };
    results.iter().try_for_each(|result| compare::read(result).map(drop)).map_err(|error| error.to_string())
}

/// Ones, where the values do not matter.
fn host(spec: &Value) -> Host {
    let shape: Vec<usize> =
        list(&spec["shape"]).iter().map(|size| size.as_u64().unwrap_or(0) as usize).collect();
    let given = list(&spec["values"]).iter().map(crate::case::number);
    let numel: usize = shape.iter().product();
    let values: Vec<f64> = if spec["values"].is_null() { vec![1.0; numel] } else { given.collect() };
    let data = match text(&spec["dtype"]) {
        "f32" => Data::F32(values.iter().map(|&x| x as f32).collect()),
        "i32" => Data::I32(values.iter().map(|&x| x as i32).collect()),
        "bool" => Data::Bool(values.iter().map(|&x| x != 0.0).collect()),
        other => Fault::Malformed(format!("the dtype {other}")).raise(),
    };
    Host { shape, data }
}

/// The message must name the operation. If the call has operands, it must show a shape, an attribute or a value of the
/// call.
fn judge(case: &Case, message: &str) -> Result<(), String> {
    // In a program the last step is the wrong one.
    let op = case.list("steps").last().map_or(case.op(), |step| text(&step["op"]));
    if !message.contains(op) {
        return Err(format!("the message does not name {op}: {message}"));
    }
    let mut facts = Vec::new();
    let inputs = case.json["inputs"].as_array();
    for input in inputs.into_iter().flatten().filter(|input| !input.is_null()) {
        facts.push(format!("{:?}", host(input).shape));
        facts.extend(list(&input["values"]).iter().map(Value::to_string));
    }
    for (name, value) in case.entries("attrs") {
        facts.push(name.clone());
        facts.push(value.to_string().replace(',', ", "));
    }
    if inputs.is_none_or(Vec::is_empty) || facts.iter().any(|fact| message.contains(fact)) {
        return Ok(());
    }
    Err(format!("the message shows nothing of the call: {message}"))
}
