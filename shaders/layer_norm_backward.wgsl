// The gradient of x: rstd (g - mean(g) - n mean(g n)), where n is the normalised row and g its gradient. PLUS adds
// another gradient of x.

override CENTRED: bool = true;
override WEIGHT: bool = true;
override PLUS: bool = true;

struct Params { rows: u32, length: u32 } // `length` in packs
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Pack>; // [rows, length]
@group(0) @binding(2) var<storage, read> mean: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read> rstd: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read> grad: array<Pack>; // [rows, length]
@group(0) @binding(5) var<storage, read> weight: array<Pack>; // [length]
@group(0) @binding(6) var<storage, read> other: array<Pack>; // [rows, length]
@group(0) @binding(7) var<storage, read_write> grad_x: array<Pack>; // [rows, length]

fn grad_normal(i: u32, j: u32) -> Pack {
    if (WEIGHT) { return grad[i] * weight[j]; }
    return grad[i];
}

@compute @workgroup_size(GROUP)
fn main(workgroup: Workgroup, invocation: Invocation) {
    let wanted = row_of(workgroup, invocation);
    let row = min(wanted, params.rows - 1u); // barriers need every lane, so surplus lanes repeat the last row
    let base = row * params.length;
    let first = invocation.index % LANES;
    let count = f32(params.length * WIDTH);
    let centre = mean[row];
    let scale = rstd[row];

    var sum = 0.0; // of g
    var slope = 0.0; // of g n
    for (var j = first; j < params.length; j += LANES) {
        let g = grad_normal(base + j, j);
        sum += sum_of(g);
        slope += sum_of(g * (x[base + j] - centre)) * scale;
    }
    let level = select(0.0, across(workgroup, invocation, sum, true) / count, CENTRED);
    slope = across(workgroup, invocation, slope, true) / count;

    if (wanted >= params.rows) { return; }
    for (var j = first; j < params.length; j += LANES) {
        let n = (x[base + j] - centre) * scale;
        var g = scale * (grad_normal(base + j, j) - level - n * slope);
        if (PLUS) { g += other[base + j]; }
        grad_x[base + j] = g;
    }
}
