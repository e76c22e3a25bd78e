// Partial gradients of weight and bias, one per chunk of rows: the sums of g n and of g, where n is the normalised row.

struct Params { rows: u32, length: u32, chunk: u32, sums: u32 } // `length` and `sums` in packs
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Pack>; // [rows, length]
@group(0) @binding(2) var<storage, read> mean: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read> rstd: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read> grad: array<Pack>; // [rows, length]
@group(0) @binding(5) var<storage, read_write> grad_weight: array<Pack>; // [chunks, length]
@group(0) @binding(6) var<storage, read_write> grad_bias: array<Pack>; // [chunks, length]

@compute @workgroup_size(GROUP)
fn main(workgroup: Workgroup, invocation: Invocation) {
    let at = index_of(workgroup) * GROUP + invocation.index;
    if (at >= params.sums) { return; }
    let length = params.length;
    let first = at / length * params.chunk;
    let end = min(first + params.chunk, params.rows);

    var slope = Pack();
    var sum = Pack();
    var i = first * length + at % length;
    for (var row = first; row < end; row += 1u) {
        let g = grad[i];
        slope += g * (x[i] - mean[row]) * rstd[row];
        sum += g;
        i += length;
    }
    grad_weight[at] = slope;
    grad_bias[at] = sum;
}
