// The matrix product for CPU adapters. It uses no workgroup memory and no barriers, which are slow there. An invocation
// holds ROWS x COLS accumulators in registers; its columns are LANES apart, so that neighbouring lanes read
// neighbouring columns.
//
// On a CPU adapter a load costs as much as tens of multiplications, so tiles are as large as the compiler can handle.
// With subgroups of LANES invocations, each lane loads a different row of A and broadcasts it. gpu/matmul/text.rs
// generates the larger tiles. Indices beyond the edge are clamped to the last row or column, and those results are not
// stored: an epilogue may update its output in place, so it must run once per element.

override LANES: u32 = 8u;

@group(0) @binding(1) var<storage, read> a: array<f32>; // [batch, m, k]
@group(0) @binding(2) var<storage, read> b: array<f32>; // [batch, k, n]

fn load_vec4(at: vec4<u32>) -> vec4<f32> {
    return vec4(b[at.x], b[at.y], b[at.z], b[at.w]);
}

fn store_vec4(work: Work, row: u32, cols: vec4<u32>, v: vec4<f32>) {
    if (cols.x < params.n) { store(work, row, cols.x, v.x); }
    if (cols.y < params.n) { store(work, row, cols.y, v.y); }
    if (cols.z < params.n) { store(work, row, cols.z, v.z); }
    if (cols.w < params.n) { store(work, row, cols.w, v.w); }
}

// hook tile
const ROWS = 2u;
const COLS = 4u;
// end tile

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    // hook lane
    @builtin(local_invocation_index) lane: u32,
    // end lane
) {
    let work = work_of(group, groups);
    if (!work.exists) {
        return;
    }
    let row = work.tile_m * ROWS;
    let col = work.tile_n * COLS * LANES + lane;
    let four = vec4(0u, LANES, 2u * LANES, 3u * LANES);
    // hook start
    var at_a0 = work.a + min(row + 0u, params.m - 1u) * params.a_m + work.first * params.a_k;
    var at_a1 = work.a + min(row + 1u, params.m - 1u) * params.a_m + work.first * params.a_k;
    let cols0 = col + 0u * LANES + four;
    var at_b0 = work.b + min(cols0, vec4(params.n - 1u)) * params.b_n + work.first * params.b_k;
    var c0_0 = vec4<f32>();
    var c1_0 = vec4<f32>();
    // end start
    for (var l = work.first; l < work.last; l += 1u) {
        // hook step
        let a0 = a[at_a0];
        at_a0 += params.a_k;
        let a1 = a[at_a1];
        at_a1 += params.a_k;
        let b0 = load_vec4(at_b0);
        at_b0 += vec4(params.b_k);
        let x0 = vec4(a0);
        c0_0 = fma(x0, b0, c0_0);
        let x1 = vec4(a1);
        c1_0 = fma(x1, b0, c1_0);
        // end step
    }
    // The loops store the first row and then move the other rows up by one, first within a group of rows, then from
    // group to group. So the code of the store and of the epilogue is generated for one row only.
    let rows = min(ROWS, params.m - row);
    // hook stores
    for (var i = 0u; i < rows; i += 2u) {
        var d0_0 = c0_0;
        var d1_0 = c1_0;
        for (var r = i; r < min(rows, i + 2u); r += 1u) {
            store_vec4(work, row + r, cols0, d0_0);
            d0_0 = d1_0;
        }
    }
    // end stores
}
