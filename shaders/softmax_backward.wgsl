// The gradient of x: y (g - Σ g y) for softmax, g - e^y Σ g for log-softmax.

override LOG: bool = false;

struct Params { rows: u32, length: u32, stride: u32 } // rows of `length` packs, `stride` apart
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<Pack>; // [rows / stride, length, stride]
@group(0) @binding(2) var<storage, read> grad: array<Pack>; // as y
@group(0) @binding(3) var<storage, read_write> grad_x: array<Pack>; // as y

@compute @workgroup_size(GROUP)
fn main(workgroup: Workgroup, invocation: Invocation) {
    let wanted = row_of(workgroup, invocation);
    let row = min(wanted, params.rows - 1u); // barriers need every lane, so surplus lanes repeat the last row
    let base = row / params.stride * params.stride * params.length + row % params.stride;
    let first = base + (invocation.index % LANES) * params.stride;
    let end = base + params.length * params.stride;
    let step = LANES * params.stride;

    var sum = 0.0;
    for (var i = first; i < end; i += step) {
        if (LOG) {
            sum += sum_of(grad[i]);
        } else {
            sum += sum_of(grad[i] * y[i]);
        }
    }
    sum = across(workgroup, invocation, sum, true);

    if (wanted >= params.rows) { return; }
    for (var i = first; i < end; i += step) {
        if (LOG) {
            grad_x[i] = grad[i] - exp_of(y[i]) * sum;
        } else {
            grad_x[i] = y[i] * (grad[i] - sum);
        }
    }
}
