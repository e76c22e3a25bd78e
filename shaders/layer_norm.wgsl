// (x - mean) / √(variance + eps) * weight + bias of each row. With a mean of 0 throughout it is an RMS norm.

override CENTRED: bool = true;
override WEIGHT: bool = true;
override BIAS: bool = true;

struct Params { rows: u32, length: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [rows, length]
@group(0) @binding(2) var<storage, read> weight: array<f32>; // [length]
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [length]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [rows, length]
@group(0) @binding(5) var<storage, read_write> mean: array<f32>; // [rows]
@group(0) @binding(6) var<storage, read_write> rstd: array<f32>; // [rows]

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let wanted = (group.y * groups.x + group.x) * (GROUP / LANES) + lane / LANES;
    let row = min(wanted, params.rows - 1u); // barriers want every lane: the spare ones repeat the last row
    let base = row * params.length;
    let first = base + lane % LANES;
    let end = base + params.length;
    let count = f32(params.length);

    var centre = 0.0;
    if (CENTRED) {
        // Summed from the first element on: a mean far from 0 would cost the sum its digits.
        let origin = x[base];
        var sum = 0.0;
        for (var i = first; i < end; i += LANES) {
            sum += x[i] - origin;
        }
        centre = origin + across(lane, sum, true) / count;
    }
    var squares = 0.0;
    for (var i = first; i < end; i += LANES) {
        let centred = x[i] - centre;
        squares += centred * centred;
    }
    let scale = inverseSqrt(across(lane, squares, true) / count + params.eps);

    if (wanted >= params.rows) { return; }
    for (var i = first; i < end; i += LANES) {
        var v = (x[i] - centre) * scale;
        if (WEIGHT) { v *= weight[i - base]; }
        if (BIAS) { v += bias[i - base]; }
        y[i] = v;
    }
    if (lane % LANES == 0u) {
        mean[row] = centre;
        rstd[row] = scale;
    }
}
