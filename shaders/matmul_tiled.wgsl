// The matrix product for GPUs: a workgroup computes TILE_M x TILE_N results from slices of A and B, TILE_K deep, that it
// keeps in workgroup memory; an invocation computes ROWS x COLS of them in registers. The next slices are fetched into
// registers while the present ones are multiplied. An operand is fetched in blocks of 4 x 4, by fours along whichever of
// its dims lies in order (the tiles and fetches are written by gpu/matmul/text.rs).

// hook tile
const ROWS = 4u;
const COLS = 4u;
const THREADS_M = 8u;
const THREADS_N = 8u;
// end tile
const THREADS = THREADS_M * THREADS_N;
const TILE_M = THREADS_M * ROWS;
const TILE_N = THREADS_N * COLS;
const TILE_K = 16u;
const BLOCKS_A = TILE_M * TILE_K / 16u;
const BLOCKS_B = TILE_N * TILE_K / 16u;

// Fours along m or n, one k after the other.
var<workgroup> slice_a: array<vec4<f32>, TILE_K * TILE_M / 4u>;
var<workgroup> slice_b: array<vec4<f32>, TILE_K * TILE_N / 4u>;

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

// Where block `i` of a slice lies, counted in fours, as (m or n, k): invocations side by side read side by side.
fn block_at(i: u32, fours: u32, in_k: bool) -> vec2<u32> {
    return select(vec2(i % fours, i / fours), vec2(i / (TILE_K / 4u), i % (TILE_K / 4u)), in_k);
}

fn store_four(work: Work, row: u32, col: u32, v: vec4<f32>) {
    if (!work.exists || row >= params.m) { return; }
    if (col < params.n) { store(work, row, col, v.x); }
    if (col + 1u < params.n) { store(work, row, col + 1u, v.y); }
    if (col + 2u < params.n) { store(work, row, col + 2u, v.z); }
    if (col + 3u < params.n) { store(work, row, col + 3u, v.w); }
}

@compute @workgroup_size(THREADS_N, THREADS_M)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) thread: vec3<u32>,
    @builtin(local_invocation_index) id: u32,
) {
    let work = work_of(group, groups);
    // The first invocations fetch A, the last ones B: all of them both, or one half each.
    let fetches_a = id < BLOCKS_A;
    let fetches_b = id >= THREADS - BLOCKS_B;
    let at_a = block_at(id, TILE_M / 4u, A_IN_K);
    let at_b = block_at(id - (THREADS - BLOCKS_B), TILE_N / 4u, B_IN_K);
    let row = work.tile_m * TILE_M;
    let col = work.tile_n * TILE_N;
    var block_a = mat4x4<f32>();
    var block_b = mat4x4<f32>();
    if (fetches_a) { block_a = fetch_a(work, row + 4u * at_a.x, work.first + 4u * at_a.y); }
    if (fetches_b) { block_b = fetch_b(work, col + 4u * at_b.x, work.first + 4u * at_b.y); }
    // hook start
    var c0_0 = vec4<f32>();
    var c1_0 = vec4<f32>();
    var c2_0 = vec4<f32>();
    var c3_0 = vec4<f32>();
    // end start
    for (var k = work.first; k < work.last; k += TILE_K) {
        workgroupBarrier();
        if (fetches_a) {
            let at = 4u * at_a.y * (TILE_M / 4u) + at_a.x;
            slice_a[at] = block_a[0];
            slice_a[at + TILE_M / 4u] = block_a[1];
            slice_a[at + 2u * (TILE_M / 4u)] = block_a[2];
            slice_a[at + 3u * (TILE_M / 4u)] = block_a[3];
        }
        if (fetches_b) {
            let at = 4u * at_b.y * (TILE_N / 4u) + at_b.x;
            slice_b[at] = block_b[0];
            slice_b[at + TILE_N / 4u] = block_b[1];
            slice_b[at + 2u * (TILE_N / 4u)] = block_b[2];
            slice_b[at + 3u * (TILE_N / 4u)] = block_b[3];
        }
        workgroupBarrier();
        if (fetches_a) { block_a = fetch_a(work, row + 4u * at_a.x, k + TILE_K + 4u * at_a.y); }
        if (fetches_b) { block_b = fetch_b(work, col + 4u * at_b.x, k + TILE_K + 4u * at_b.y); }
        for (var l = 0u; l < TILE_K; l += 1u) {
            // hook step
            let a0 = slice_a[l * (TILE_M / 4u) + thread.y + 0u * THREADS_M];
            let b0 = slice_b[l * (TILE_N / 4u) + thread.x + 0u * THREADS_N];
            let x0 = vec4(a0[0]);
            c0_0 = fma(x0, b0, c0_0);
            let x1 = vec4(a0[1]);
            c1_0 = fma(x1, b0, c1_0);
            let x2 = vec4(a0[2]);
            c2_0 = fma(x2, b0, c2_0);
            let x3 = vec4(a0[3]);
            c3_0 = fma(x3, b0, c3_0);
            // end step
        }
    }
    // hook stores
    store_four(work, row + 4u * (thread.y + 0u * THREADS_M) + 0u, col + 4u * (thread.x + 0u * THREADS_N), c0_0);
    store_four(work, row + 4u * (thread.y + 0u * THREADS_M) + 1u, col + 4u * (thread.x + 0u * THREADS_N), c1_0);
    store_four(work, row + 4u * (thread.y + 0u * THREADS_M) + 2u, col + 4u * (thread.x + 0u * THREADS_N), c2_0);
    store_four(work, row + 4u * (thread.y + 0u * THREADS_M) + 3u, col + 4u * (thread.x + 0u * THREADS_N), c3_0);
    // end stores
}
