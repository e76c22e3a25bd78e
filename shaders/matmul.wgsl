// C[z] = A[z] B[z], for any strides: a transposed operand is a pair of strides, a broadcast batch is a stride of 0.
//
// Each invocation holds a tile of 4 x 4 results in registers: 4 + 4 loads for 16 multiplications. Rows and columns
// beyond the edge are clamped to the last one, computed, and not stored. With `splits` > 1 each part of K gives a
// partial product; the parts follow one another in C, and a reduction adds them.

override GROUP_X: u32 = 8u; // tiles along n
override GROUP_Y: u32 = 8u; // tiles along m

// hook bindings
struct Params {
    m: u32, n: u32, k: u32,
    splits: u32, part: u32,       // parts of K, and their length
    inner: u32,                   // size of the inner batch dim
    tiles_m: u32, tiles_n: u32,   // workgroups along m and n
    batches: u32,
    a_offset: u32, a_outer: u32, a_inner: u32, a_row: u32, a_col: u32,
    b_offset: u32, b_outer: u32, b_inner: u32, b_row: u32, b_col: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>; // [batch, m, k]
@group(0) @binding(2) var<storage, read> b: array<f32>; // [batch, k, n]
@group(0) @binding(3) var<storage, read_write> c: array<f32>; // [splits, batch, m, n]
// end bindings

// hook element
fn load_a(i: u32) -> f32 { return a[i]; }
fn load_b(i: u32) -> f32 { return b[i]; }
fn store(i: u32, v: f32) { c[i] = v; }
// end element

fn store_row(base: u32, row: u32, col: u32, v: vec4<f32>) {
    if (row >= params.m) { return; }
    let at = base + row * params.n + col;
    if (col < params.n) { store(at, v.x); }
    if (col + 1u < params.n) { store(at + 1u, v.y); }
    if (col + 2u < params.n) { store(at + 2u, v.z); }
    if (col + 3u < params.n) { store(at + 3u, v.w); }
}

@compute @workgroup_size(GROUP_X, GROUP_Y)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) lane: vec3<u32>,
) {
    let g = group.y * groups.x + group.x;
    let z = g / (params.tiles_n * params.tiles_m);
    if (z >= params.batches * params.splits) { return; }
    let batch = z % params.batches;
    let row = (g / params.tiles_n % params.tiles_m * GROUP_Y + lane.y) * 4u;
    let col = (g % params.tiles_n * GROUP_X + lane.x) * 4u;

    let rows = min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(params.m - 1u));
    let cols = min(vec4(col) + vec4(0u, 1u, 2u, 3u), vec4(params.n - 1u));
    let outer = batch / params.inner;
    let inner = batch % params.inner;
    let first = z / params.batches * params.part;
    let last = min(first + params.part, params.k);
    var at_a = params.a_offset + outer * params.a_outer + inner * params.a_inner + rows * params.a_row + first * params.a_col;
    var at_b = params.b_offset + outer * params.b_outer + inner * params.b_inner + cols * params.b_col + first * params.b_row;

    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    for (var l = first; l < last; l += 1u) {
        let bl = vec4(load_b(at_b.x), load_b(at_b.y), load_b(at_b.z), load_b(at_b.w));
        c0 += load_a(at_a.x) * bl;
        c1 += load_a(at_a.y) * bl;
        c2 += load_a(at_a.z) * bl;
        c3 += load_a(at_a.w) * bl;
        at_a += vec4(params.a_col);
        at_b += vec4(params.b_row);
    }
    let base = z * params.m * params.n;
    store_row(base, row, col, c0);
    store_row(base, row + 1u, col, c1);
    store_row(base, row + 2u, col, c2);
    store_row(base, row + 3u, col, c3);
}
