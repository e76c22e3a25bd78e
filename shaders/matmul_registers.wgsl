// The matrix product without workgroup memory or barriers, which are slow where a CPU runs the shader. An invocation
// holds ROWS x COLS results in registers; its columns lie in fours.
//
// There a load of four costs as much as tens of multiplications, and one number no less; and a result that a loop changes
// is masked and kept in memory. So an iteration takes four steps of K, from blocks of 4 x 4. With subgroups of LANES
// invocations each loads other rows of A and hands them to all (the tiles are written by gpu/matmul/text.rs).
// Rows and columns beyond the edge are the last ones once more, and not stored: what a result becomes may depend on what
// lay in its place.

override LANES: u32 = 8u;

// A block's column j holds four neighbours along m (or n) at k + j; zeros from `last` on.
// hook fetches
@group(0) @binding(1) var<storage, read> a: array<f32>;
const A_IN_K = true;
fn fetch_a(work: Work, i: u32, k: u32) -> mat4x4<f32> {
    var block = mat4x4<f32>();
    let at = work.a + min(vec4(i) + vec4(0u, 1u, 2u, 3u), vec4(params.m - 1u)) * params.a_m;
    if (k + 0u < work.last) {
        let p = at + (k + 0u) * params.a_k;
        block[0] = vec4(a[p.x], a[p.y], a[p.z], a[p.w]);
    }
    if (k + 1u < work.last) {
        let p = at + (k + 1u) * params.a_k;
        block[1] = vec4(a[p.x], a[p.y], a[p.z], a[p.w]);
    }
    if (k + 2u < work.last) {
        let p = at + (k + 2u) * params.a_k;
        block[2] = vec4(a[p.x], a[p.y], a[p.z], a[p.w]);
    }
    if (k + 3u < work.last) {
        let p = at + (k + 3u) * params.a_k;
        block[3] = vec4(a[p.x], a[p.y], a[p.z], a[p.w]);
    }
    return block;
}
@group(0) @binding(2) var<storage, read> b: array<f32>;
const B_IN_K = true;
fn fetch_b(work: Work, i: u32, k: u32) -> mat4x4<f32> {
    var block = mat4x4<f32>();
    let at = work.b + min(vec4(i) + vec4(0u, 1u, 2u, 3u), vec4(params.n - 1u)) * params.b_n;
    if (k + 0u < work.last) {
        let p = at + (k + 0u) * params.b_k;
        block[0] = vec4(b[p.x], b[p.y], b[p.z], b[p.w]);
    }
    if (k + 1u < work.last) {
        let p = at + (k + 1u) * params.b_k;
        block[1] = vec4(b[p.x], b[p.y], b[p.z], b[p.w]);
    }
    if (k + 2u < work.last) {
        let p = at + (k + 2u) * params.b_k;
        block[2] = vec4(b[p.x], b[p.y], b[p.z], b[p.w]);
    }
    if (k + 3u < work.last) {
        let p = at + (k + 3u) * params.b_k;
        block[3] = vec4(b[p.x], b[p.y], b[p.z], b[p.w]);
    }
    return block;
}
// end fetches

fn store_four(work: Work, row: u32, cols: vec4<u32>, v: vec4<f32>) {
    if (cols.x < params.n) { store(work, row, cols.x, v.x); }
    if (cols.y < params.n) { store(work, row, cols.y, v.y); }
    if (cols.z < params.n) { store(work, row, cols.z, v.z); }
    if (cols.w < params.n) { store(work, row, cols.w, v.w); }
}

// hook tile
const ROWS = 4u;
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
    let col = work.tile_n * COLS * LANES + 4u * lane;
    // hook start
    let cols0 = vec4(col + 0u * LANES) + vec4(0u, 1u, 2u, 3u);
    var c0_0 = vec4<f32>();
    var c1_0 = vec4<f32>();
    var c2_0 = vec4<f32>();
    var c3_0 = vec4<f32>();
    // end start
    for (var k = work.first; k < work.last; k += 4u) {
        // hook step
        let a0 = fetch_a(work, row + 0u, k);
        let b0 = fetch_b(work, cols0.x, k);
        let x0_0 = vec4(a0[0][0]);
        let x0_1 = vec4(a0[1][0]);
        let x0_2 = vec4(a0[2][0]);
        let x0_3 = vec4(a0[3][0]);
        c0_0 = fma(x0_0, b0[0], c0_0);
        c0_0 = fma(x0_1, b0[1], c0_0);
        c0_0 = fma(x0_2, b0[2], c0_0);
        c0_0 = fma(x0_3, b0[3], c0_0);
        let x1_0 = vec4(a0[0][1]);
        let x1_1 = vec4(a0[1][1]);
        let x1_2 = vec4(a0[2][1]);
        let x1_3 = vec4(a0[3][1]);
        c1_0 = fma(x1_0, b0[0], c1_0);
        c1_0 = fma(x1_1, b0[1], c1_0);
        c1_0 = fma(x1_2, b0[2], c1_0);
        c1_0 = fma(x1_3, b0[3], c1_0);
        let x2_0 = vec4(a0[0][2]);
        let x2_1 = vec4(a0[1][2]);
        let x2_2 = vec4(a0[2][2]);
        let x2_3 = vec4(a0[3][2]);
        c2_0 = fma(x2_0, b0[0], c2_0);
        c2_0 = fma(x2_1, b0[1], c2_0);
        c2_0 = fma(x2_2, b0[2], c2_0);
        c2_0 = fma(x2_3, b0[3], c2_0);
        let x3_0 = vec4(a0[0][3]);
        let x3_1 = vec4(a0[1][3]);
        let x3_2 = vec4(a0[2][3]);
        let x3_3 = vec4(a0[3][3]);
        c3_0 = fma(x3_0, b0[0], c3_0);
        c3_0 = fma(x3_1, b0[1], c3_0);
        c3_0 = fma(x3_2, b0[2], c3_0);
        c3_0 = fma(x3_3, b0[3], c3_0);
        // end step
    }
    // The first row is stored and the others move up, within a group of rows and group after group: the code of a store,
    // and of what is made of a result, is there for one row.
    let rows = min(ROWS, params.m - row);
    // hook stores
    for (var i = 0u; i < rows; i += 4u) {
        var d0_0 = c0_0;
        var d1_0 = c1_0;
        var d2_0 = c2_0;
        var d3_0 = c3_0;
        for (var r = i; r < min(rows, i + 4u); r += 1u) {
            store_four(work, row + r, cols0, d0_0);
            d0_0 = d1_0;
            d1_0 = d2_0;
            d2_0 = d3_0;
        }
    }
    // end stores
}
