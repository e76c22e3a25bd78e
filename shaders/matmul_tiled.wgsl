// The matrix product for GPUs. A workgroup computes TILE_M x TILE_N results; an invocation holds ROWS x COLS of them in
// registers. The kernel iterates over K in slices of A and B that are TILE_K deep. Workgroup memory is double-buffered:
// while one slice is multiplied, the next is loaded from storage into registers and then stored to the other buffer. An
// operand is loaded in blocks of 4 x 4, as vec4 along its contiguous dim. The steps of a slice are unrolled by hand,
// because WGSL cannot ask a driver to unroll a loop. gpu/matmul/text.rs generates the hooks for larger tiles.

// hook tile
const ROWS = 4u;
const COLS = 4u;
const THREADS_M = 8u;
const THREADS_N = 8u;
// end tile
const THREADS = THREADS_M * THREADS_N;
const TILE_M = THREADS_M * ROWS;
const TILE_N = THREADS_N * COLS;
const TILE_K = 8u;
const VECTORS_A = TILE_M / 4u; // vec4 per step of K
const VECTORS_B = TILE_N / 4u;
const BLOCKS_A = VECTORS_A * TILE_K / 4u; // blocks per slice
const BLOCKS_B = VECTORS_B * TILE_K / 4u;

// vec4 along m or n, grouped by step of K.
var<workgroup> slices_a: array<vec4<f32>, 2u * TILE_K * VECTORS_A>;
var<workgroup> slices_b: array<vec4<f32>, 2u * TILE_K * VECTORS_B>;

// Column j of a block holds four consecutive elements along m (or n) at k + j, and zeros from `last` on.
// hook loads
@group(0) @binding(1) var<storage, read> a: array<f32>;
const A_IN_K = true;
fn load_a(work: Work, i: u32, k: u32) -> mat4x4<f32> {
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
fn load_b(work: Work, i: u32, k: u32) -> mat4x4<f32> {
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
// end loads

// The blocks that an invocation loads, as (m or n, k) in a slice. The first BLOCKS_A invocations load A and the last
// BLOCKS_B load B, so an invocation may load both.
struct Share { loads_a: bool, loads_b: bool, a: vec2<u32>, b: vec2<u32> }
struct Blocks { a: mat4x4<f32>, b: mat4x4<f32> }

fn share_of(id: u32) -> Share {
    let loads_a = id < BLOCKS_A;
    let first_b = THREADS - BLOCKS_B;
    let a = block_at(id, VECTORS_A, A_IN_K);
    let b = block_at(id - first_b, VECTORS_B, B_IN_K);
    return Share(loads_a, id >= first_b, a, b);
}

// Neighbouring invocations load neighbouring blocks.
fn block_at(i: u32, vectors: u32, in_k: bool) -> vec2<u32> {
    return select(vec2(i % vectors, i / vectors), vec2(i / (TILE_K / 4u), i % (TILE_K / 4u)), in_k);
}

fn load(work: Work, share: Share, k: u32) -> Blocks {
    var blocks = Blocks();
    if (share.loads_a) { blocks.a = load_a(work, work.tile_m * TILE_M + 4u * share.a.x, k + 4u * share.a.y); }
    if (share.loads_b) { blocks.b = load_b(work, work.tile_n * TILE_N + 4u * share.b.x, k + 4u * share.b.y); }
    return blocks;
}

fn stage(blocks: Blocks, share: Share, slice: u32) {
    if (share.loads_a) {
        let at = (slice * TILE_K + 4u * share.a.y) * VECTORS_A + share.a.x;
        slices_a[at] = blocks.a[0];
        slices_a[at + VECTORS_A] = blocks.a[1];
        slices_a[at + 2u * VECTORS_A] = blocks.a[2];
        slices_a[at + 3u * VECTORS_A] = blocks.a[3];
    }
    if (share.loads_b) {
        let at = (slice * TILE_K + 4u * share.b.y) * VECTORS_B + share.b.x;
        slices_b[at] = blocks.b[0];
        slices_b[at + VECTORS_B] = blocks.b[1];
        slices_b[at + 2u * VECTORS_B] = blocks.b[2];
        slices_b[at + 3u * VECTORS_B] = blocks.b[3];
    }
}

// An invocation's accumulators: `c3_1` is row 3, columns 4 to 7.
// hook step
struct Results {
    c0_0: vec4<f32>,
    c1_0: vec4<f32>,
    c2_0: vec4<f32>,
    c3_0: vec4<f32>,
}

fn step(at_a: u32, at_b: u32, c: ptr<function, Results>) {
    let a0 = slices_a[at_a + 0u * THREADS_M];
    let b0 = slices_b[at_b + 0u * THREADS_N];
    (*c).c0_0 = fma(vec4(a0[0]), b0, (*c).c0_0);
    (*c).c1_0 = fma(vec4(a0[1]), b0, (*c).c1_0);
    (*c).c2_0 = fma(vec4(a0[2]), b0, (*c).c2_0);
    (*c).c3_0 = fma(vec4(a0[3]), b0, (*c).c3_0);
}
// end step

fn multiply(slice: u32, thread: vec3<u32>, c: ptr<function, Results>) {
    let a = slice * TILE_K * VECTORS_A + thread.y;
    let b = slice * TILE_K * VECTORS_B + thread.x;
    step(a, b, c);
    step(a + VECTORS_A, b + VECTORS_B, c);
    step(a + 2u * VECTORS_A, b + 2u * VECTORS_B, c);
    step(a + 3u * VECTORS_A, b + 3u * VECTORS_B, c);
    step(a + 4u * VECTORS_A, b + 4u * VECTORS_B, c);
    step(a + 5u * VECTORS_A, b + 5u * VECTORS_B, c);
    step(a + 6u * VECTORS_A, b + 6u * VECTORS_B, c);
    step(a + 7u * VECTORS_A, b + 7u * VECTORS_B, c);
}

fn store_vec4(work: Work, row: u32, col: u32, v: vec4<f32>) {
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
    let share = share_of(id);
    var c = Results();
    stage(load(work, share, work.first), share, 0u);
    for (var k = work.first; k < work.last; k += 2u * TILE_K) {
        workgroupBarrier();
        var next = load(work, share, k + TILE_K);
        multiply(0u, thread, &c);
        stage(next, share, 1u);
        workgroupBarrier();
        next = load(work, share, k + 2u * TILE_K);
        multiply(1u, thread, &c);
        stage(next, share, 0u);
    }
    let row = work.tile_m * TILE_M;
    let col = work.tile_n * TILE_N;
    // hook stores
    store_vec4(work, row + 4u * (thread.y + 0u * THREADS_M) + 0u, col + 4u * (thread.x + 0u * THREADS_N), c.c0_0);
    store_vec4(work, row + 4u * (thread.y + 0u * THREADS_M) + 1u, col + 4u * (thread.x + 0u * THREADS_N), c.c1_0);
    store_vec4(work, row + 4u * (thread.y + 0u * THREADS_M) + 2u, col + 4u * (thread.x + 0u * THREADS_N), c.c2_0);
    store_vec4(work, row + 4u * (thread.y + 0u * THREADS_M) + 3u, col + 4u * (thread.x + 0u * THREADS_N), c.c3_0);
    // end stores
}
