// e^x / Σ e^x of each row, or its logarithm. The maximum is subtracted first, so numbers of any size are safe.

override LOG: bool = false;

struct Params { rows: u32, length: u32, stride: u32 } // rows of `length` elements, `stride` apart
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [rows / stride, length, stride]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // as x

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

    var largest = x[base];
    for (var i = first; i < end; i += step) {
        largest = max_f32(largest, x[i]);
    }
    largest = across(lane, largest, false);
    var sum = 0.0;
    for (var i = first; i < end; i += step) {
        sum += exp_(x[i] - largest);
    }
    sum = across(lane, sum, true);

    if (wanted >= params.rows) { return; }
    let log_sum = log_(sum);
    for (var i = first; i < end; i += step) {
        let shifted = x[i] - largest;
        y[i] = select(exp_(shifted) / sum, shifted - log_sum, LOG);
    }
}
