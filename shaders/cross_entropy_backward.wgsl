// The gradient of the logits: (softmax - one-hot label) times the gradient of the row's loss.

struct Params { rows: u32, length: u32, site: u32 } // `length` in packs
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<Pack>; // [rows, classes]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [rows]
@group(0) @binding(3) var<storage, read> lse: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read> grad: array<f32>; // [rows]
@group(0) @binding(5) var<storage, read_write> grad_logits: array<Pack>; // [rows, classes]

@compute @workgroup_size(GROUP)
fn main(workgroup: Workgroup, invocation: Invocation) {
    let row = row_of(workgroup, invocation);
    if (row >= params.rows) { return; }
    let base = row * params.length;
    let total = lse[row];
    let label = labels[row];
    let scale = grad[row];
    for (var j = invocation.index % LANES; j < params.length; j += LANES) {
        grad_logits[base + j] = (exp_of(logits[base + j] - total) - one_hot(j, label)) * scale;
    }
}
