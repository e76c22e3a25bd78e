//! Every operation, by one list of them: none is untested, none is silently without a gradient.

mod accuracy;
#[path = "../common/mod.rs"]
mod common;
mod list;
mod refusals;
mod source;
mod table;

use std::collections::BTreeSet;

use common::layout::{LAYOUTS, Layout};
use common::{Host, SUMS, check_gpu, check_gradient};
use list::{OPERATIONS, Operation};
use source::Names;
use wgrad::{DType, Device, Tensor, autograd};

/// Public functions of `Tensor` that are no operations.
const OTHERS: &[(&str, &[&str])] = &[
    ("what is known without a value", &["shape", "size", "rank", "numel", "dtype", "device", "graph"]),
    (
        "reading: tests/invariants.rs",
        &["realize", "to_vec", "to_vec_async", "item", "item_async", "to_device"],
    ),
    ("operations of the user's own: tests/fused.rs", &["fused"]),
    (
        "gradients: tests/derivatives",
        &[
            "requires_grad",
            "needs_grad",
            "grad",
            "zero_grad",
            "retain_grad",
            "backward",
            "backward_retain_graph",
        ],
    ),
];

impl Operation {
    fn operands(&self) -> Vec<Host> {
        self.leaves_of(Layout::Contiguous)
    }

    /// The leaves of operands that lie so.
    fn leaves_of(&self, layout: Layout) -> Vec<Host> {
        let draw = |(i, &(shape, low, high)): (usize, &list::Operand)| {
            Host::draw(i as u64, &layout.leaf(shape), low..high)
        };
        self.operands.iter().enumerate().map(draw).collect()
    }

    /// The example's result for operands that are views of the leaves.
    fn of_views(&self, leaves: &[Tensor], layout: Layout) -> Tensor {
        let views = leaves.iter().zip(self.operands).map(|(leaf, (shape, ..))| layout.view(leaf, shape));
        (self.apply)(&views.collect::<Vec<_>>())
    }

    fn leaves(&self, device: &Device) -> Vec<Tensor> {
        self.operands().iter().map(|operand| operand.tensor(device).requires_grad()).collect()
    }

    /// The example's result for operands of another dtype: whole numbers, or bools.
    fn of_dtype(&self, dtype: DType, device: &Device) -> Tensor {
        let tensor = |host: &Host| {
            let whole = host.data.iter().map(|x| (x * 4.0).round() as i32);
            let shape = &host.shape[..];
            match dtype {
                DType::F32 => host.tensor(device),
                DType::I32 => Tensor::new(whole.collect::<Vec<_>>(), shape, device),
                DType::U32 => Tensor::new(whole.map(i32::unsigned_abs).collect::<Vec<_>>(), shape, device),
                DType::Bool => Tensor::new(whole.map(|x| x % 2 == 0).collect::<Vec<_>>(), shape, device),
            }
        };
        (self.apply)(&self.operands().iter().map(tensor).collect::<Vec<_>>())
    }
}

/// A public function is in the list, or among those that are no operations; and both are public functions.
#[test]
fn every_public_function_is_listed() {
    let others: BTreeSet<&str> = OTHERS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let listed: Names =
        OPERATIONS.iter().map(Operation::name).chain(others.iter().copied()).map(str::to_owned).collect();
    let public = source::functions();
    let missing: Vec<_> = public.difference(&listed).collect();
    assert!(missing.is_empty(), "without an entry in tests/operations/list.rs: {missing:?}");
    let unknown: Vec<_> = listed.difference(&public).collect();
    assert!(unknown.is_empty(), "no public function of Tensor: {unknown:?}");
}

#[test]
fn shapes_name_every_operand() {
    for op in OPERATIONS {
        let (operands, results) = op.shapes.split_once("-> ").expect("shapes -> shapes");
        let named = operands.matches('[').count();
        assert!(results.contains('[') && (op.creates() || named >= op.operands.len()), "{}", op.call);
    }
}

/// First and second order against central differences in f64.
#[test]
fn gradients_are_right() {
    for op in OPERATIONS.iter().filter(|op| op.constant.is_none()) {
        check_gradient(op.call, &op.operands(), &op.apply);
    }
}

/// Every operand has a gradient, except where the list gives a reason.
#[test]
fn gradients_exist() {
    for op in OPERATIONS.iter().filter(|op| op.dtypes.contains(&DType::F32)) {
        let xs = op.leaves(&Device::cpu());
        let y = (op.apply)(&xs);
        assert_eq!(y.needs_grad(), op.constant.is_none(), "{}: {:?}", op.call, op.constant);
        if op.constant.is_none() {
            let found = autograd::grad_with(&y, &y.ones_like(), &xs.iter().collect::<Vec<_>>(), false);
            let without: Vec<usize> = (0..xs.len()).filter(|&i| found[i].is_none()).collect();
            assert!(without.is_empty(), "{}: no gradient for operands {without:?}", op.call);
        }
    }
}

/// Values and gradients in every memory layout of the operands (rows of the table: src/tests/rows.rs). Examples are a few dozen
/// roundings long, over values about 1.
#[test]
fn the_gpu_agrees() {
    let rows = source::rows();
    for op in OPERATIONS.iter().filter(|op| op.dtypes.contains(&DType::F32)) {
        let takes_views = !op.creates() && !rows.contains(op.name());
        for layout in LAYOUTS {
            // What is left of an operation without elements is its own matter.
            if layout == Layout::Contiguous || (takes_views && layout != Layout::Empty) {
                let apply = |xs: &[Tensor]| op.of_views(xs, layout);
                check_gpu(&format!("{} ({layout:?})", op.call), &op.leaves_of(layout), &apply, SUMS, SUMS);
            }
        }
    }
}

/// The operations of the nodes behind a tensor.
fn node_names(x: &Tensor) -> Vec<String> {
    let operation = |line: &str| line.split(" = ").nth(1)?.split_whitespace().next().map(str::to_owned);
    x.graph().lines().filter_map(operation).collect()
}

/// Every operation that a node can have stands in the graph of some example, or in that of its first or second gradient:
/// so all of them are compared above.
#[test]
fn every_node_is_reached() {
    let mut reached = Names::new();
    let mut note = |x: &Tensor| reached.extend(node_names(x));
    for op in OPERATIONS {
        if !op.dtypes.contains(&DType::F32) {
            note(&op.of_dtype(op.dtypes[0], &Device::cpu()));
            continue;
        }
        let xs = op.leaves(&Device::cpu());
        let mut y = (op.apply)(&xs);
        note(&y);
        for _ in 0..2 {
            let found = autograd::grad_with(&y, &y.ones_like(), &xs.iter().collect::<Vec<_>>(), true);
            found.iter().flatten().for_each(&mut note);
            let sums = found.iter().flatten().map(Tensor::sum);
            let Some(sum) = sums.reduce(|a, b| a + b) else { break };
            y = sum;
        }
    }
    let mut nodes = source::nodes();
    // What is computed again is a function of the user's, made of such nodes: tests/recompute.rs.
    nodes.remove("checkpoint");
    let missed: Vec<_> = nodes.difference(&reached).collect();
    assert!(missed.is_empty(), "in no graph of an example of tests/operations/list.rs: {missed:?}");
    let unknown: Vec<_> = reached.difference(&nodes).collect();
    assert!(unknown.is_empty(), "reached, but not found in the source: {unknown:?}");
}
