//! The method that was called reports a mistake: its name is first in the message, and the line is the caller's.

use crate::common::refusal::{Refusal, refused};
use crate::common::{EXACT, Host, gpu};
use crate::list::{OPERATIONS, Operation};
use wgrad::{DType, Device, Tensor};

impl Operation {
    /// What is wrong with a refusal that should show a dtype or shape, among as many operands.
    fn complaint(&self, refusal: &Refusal, shows: &str, operands: usize) -> String {
        let Refusal { message, file } = refusal;
        let named = message.starts_with(&format!("{}: ", self.name().trim_end_matches('_')));
        let shown = message.contains(shows) && message.matches('[').count() >= operands;
        if named && shown && file.ends_with("list.rs") {
            return String::new();
        }
        format!("\n{} says in {file}: \"{message}\", which should show {shows} among {operands}", self.call)
    }
}

/// The list's dtypes are those that the operation takes; of integers and bools the GPU computes every bit alike.
#[test]
fn dtypes_are_as_listed() {
    let mut complaints = String::new();
    for op in OPERATIONS.iter().filter(|op| !op.creates()) {
        for &dtype in DType::ALL {
            let (listed, name) = (op.dtypes.contains(&dtype), format!("{} of {dtype}", op.call));
            match refused(|| op.of_dtype(dtype, &Device::cpu())) {
                Ok(want) if listed && dtype != DType::F32 => {
                    Host::read(&op.of_dtype(dtype, &gpu())).assert_close(&name, &Host::read(&want), EXACT);
                }
                Ok(_) if listed => {}
                Ok(_) => complaints += &format!("\n{name} is not refused"),
                Err(refusal) if listed => complaints += &format!("\n{name}: {}", refusal.message),
                Err(refusal) => complaints += &op.complaint(&refusal, &format!("{dtype}["), 1),
            }
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}

/// One operand of several with a shape that goes with none.
#[test]
fn operands_that_do_not_fit() {
    let mut complaints = String::new();
    for op in OPERATIONS.iter().filter(|op| op.operands.len() > 1) {
        let fitting: Vec<Tensor> =
            op.operands().iter().map(|operand| operand.tensor(&Device::cpu())).collect();
        for wrong in 0..fitting.len() {
            let shape = fitting[wrong].shape();
            let larger = shape.iter().map(|size| size + 5);
            let another_rank: Vec<usize> = [7].into_iter().chain(larger.clone()).collect();
            let another_first: Vec<usize> = larger.take(1).chain(shape[1..].iter().copied()).collect();
            for (must, shape) in [(true, another_rank), (false, another_first)] {
                let mut operands = fitting.clone();
                operands[wrong] = Tensor::ones(&shape[..], &Device::cpu());
                let shows = operands[wrong].shape().to_string();
                match refused(|| (op.apply)(&operands)) {
                    Ok(_) if must => complaints += &format!("\n{} takes {shows} as operand {wrong}", op.call),
                    Ok(_) => {}
                    Err(refusal) => complaints += &op.complaint(&refusal, &shows, 2),
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}
