// (x - mean) / √(variance + eps) * weight + bias of each row. An RMS norm (CENTRED = false) takes 0 as the mean.

override CENTRED: bool = true;
override WEIGHT: bool = true;
override BIAS: bool = true;

struct Params { rows: u32, length: u32, eps: f32 } // `length` in packs
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Pack>; // [rows, length]
@group(0) @binding(2) var<storage, read> weight: array<Pack>; // [length]
@group(0) @binding(3) var<storage, read> bias: array<Pack>; // [length]
@group(0) @binding(4) var<storage, read_write> y: array<Pack>; // [rows, length]
@group(0) @binding(5) var<storage, read_write> mean: array<f32>; // [rows]
@group(0) @binding(6) var<storage, read_write> rstd: array<f32>; // [rows]

@compute @workgroup_size(GROUP)
fn main(workgroup: Workgroup, invocation: Invocation) {
    let wanted = row_of(workgroup, invocation);
    let row = min(wanted, params.rows - 1u); // barriers need every lane, so surplus lanes repeat the last row
    let base = row * params.length;
    let first = invocation.index % LANES;
    let count = f32(params.length * WIDTH);

    var centre = 0.0;
    if (CENTRED) {
        // Subtracts the row's first element, because a sum of numbers with a mean far from 0 would lose precision.
        let origin = element(x[base], 0u);
        var sum = 0.0;
        for (var j = first; j < params.length; j += LANES) {
            sum += sum_of(x[base + j] - origin);
        }
        centre = origin + across(workgroup, invocation, sum, true) / count;
    }
    var squares = 0.0;
    for (var j = first; j < params.length; j += LANES) {
        let centred = x[base + j] - centre;
        squares += sum_of(centred * centred);
    }
    let scale = inverseSqrt(across(workgroup, invocation, squares, true) / count + params.eps);

    if (wanted >= params.rows) { return; }
    for (var j = first; j < params.length; j += LANES) {
        var v = (x[base + j] - centre) * scale;
        if (WEIGHT) { v *= weight[j]; }
        if (BIAS) { v += bias[j]; }
        y[base + j] = v;
    }
    if (first == 0u) {
        mean[row] = centre;
        rstd[row] = scale;
    }
}
