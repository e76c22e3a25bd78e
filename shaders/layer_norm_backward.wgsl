// The gradient of x. With g the gradient of the normalised row n: rstd (g - mean of g - n * mean of (g n)).

override CENTRED: bool = true;
override WEIGHT: bool = true;

struct Params { rows: u32, length: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [rows, length]
@group(0) @binding(2) var<storage, read> mean: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read> rstd: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read> grad: array<f32>; // [rows, length]
@group(0) @binding(5) var<storage, read> weight: array<f32>; // [length]
@group(0) @binding(6) var<storage, read_write> grad_x: array<f32>; // [rows, length]

fn grad_normal(i: u32, j: u32) -> f32 {
    if (WEIGHT) { return grad[i] * weight[j]; }
    return grad[i];
}

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
    let centre = mean[row];
    let scale = rstd[row];

    var sum = 0.0; // of g
    var slope = 0.0; // of g n
    for (var i = first; i < end; i += LANES) {
        let g = grad_normal(i, i - base);
        sum += g;
        slope += g * (x[i] - centre) * scale;
    }
    let level = select(0.0, across(lane, sum, true) / count, CENTRED);
    slope = across(lane, slope, true) / count;

    if (wanted >= params.rows) { return; }
    for (var i = first; i < end; i += LANES) {
        let n = (x[i] - centre) * scale;
        grad_x[i] = scale * (grad_normal(i, i - base) - level - n * slope);
    }
}
