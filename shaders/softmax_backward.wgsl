// The gradient of x: of a softmax y (g - Σ g y), of its logarithm g - e^y Σ g.

override LOG: bool = false;

struct Params { rows: u32, length: u32, stride: u32 } // rows of `length` elements, `stride` apart
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>; // [rows / stride, length, stride]
@group(0) @binding(2) var<storage, read> grad: array<f32>; // as y
@group(0) @binding(3) var<storage, read_write> grad_x: array<f32>; // as y

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let wanted = (group.y * groups.x + group.x) * (GROUP / LANES) + lane / LANES;
    let row = min(wanted, params.rows - 1u); // barriers want every lane: the spare ones repeat the last row
    let base = row / params.stride * params.stride * params.length + row % params.stride;
    let first = base + (lane % LANES) * params.stride;
    let end = base + params.length * params.stride;
    let step = LANES * params.stride;

    var sum = 0.0;
    for (var i = first; i < end; i += step) {
        sum += select(grad[i] * y[i], grad[i], LOG);
    }
    sum = across(lane, sum, true);

    if (wanted >= params.rows) { return; }
    for (var i = first; i < end; i += step) {
        grad_x[i] = select(y[i] * (grad[i] - sum), grad[i] - exp_(y[i]) * sum, LOG);
    }
}
