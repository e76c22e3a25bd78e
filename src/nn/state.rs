//! Loading of a state dict. All names, shapes and dtypes are compared before any variable is changed.

use std::collections::BTreeMap;

use crate::core::error::Error;
use crate::tensor::Tensor;
use crate::tensor::var::Var;

/// Sets each variable to the tensor with the variable's name. If there are mismatches, returns all of them in one error
/// and changes nothing.
pub(super) fn load(vars: Vec<(String, Var)>, dict: &BTreeMap<String, Tensor>) -> Result<(), Error> {
    let mut wrong = Vec::new();
    let mut found = Vec::new();
    for (name, var) in &vars {
        let own = var.tensor();
        match dict.get(name) {
            None => wrong.push(format!("{name:?} is missing")),
            Some(tensor) if tensor.spec() != own.spec() => {
                wrong.push(format!("{name:?} is {}, but the model's is {}", tensor.spec(), own.spec()));
            }
            Some(tensor) if tensor.device() == own.device() => found.push((var, tensor.clone())),
            Some(tensor) => found.push((var, tensor.to_device(own.device())?)),
        }
    }
    let surplus = dict.keys().filter(|&name| !vars.iter().any(|(own, _)| own == name));
    wrong.extend(surplus.map(|name| format!("{name:?} is not in the model")));
    if !wrong.is_empty() {
        return Err(Error::State { reason: wrong.join("; ") });
    }
    found.into_iter().for_each(|(var, tensor)| var.set(tensor));
    Ok(())
}
