// What the variants of the matrix product share: C[z] = A[z] B[z] for any strides. A transposed operand is a pair of
// strides, a broadcast batch a stride of 0. With `splits` > 1 each part of K gives a partial product; the parts follow
// one another in C, and a reduction adds them. Every variant adds the products up in the order of K unless it says so.

struct Params {
    m: u32, n: u32, k: u32,
    splits: u32, part: u32,       // parts of K, and their length
    inner: u32,                   // size of the inner batch dim
    batches: u32,
    tiles_m: u32, tiles_n: u32,   // workgroups along m and n
    a_offset: u32, a_outer: u32, a_inner: u32, a_m: u32, a_k: u32,
    b_offset: u32, b_outer: u32, b_inner: u32, b_n: u32, b_k: u32,
    c_m: u32, c_n: u32,
    // hook params
    // end params
}
@group(0) @binding(0) var<uniform> params: Params;

// The part of the product that is a workgroup's.
struct Work {
    exists: bool,                 // the grid may have more workgroups than there are parts
    tile_m: u32, tile_n: u32,
    first: u32, last: u32,        // the part of K; nothing where there is no work
    a: u32, b: u32, c: u32,       // where the matrices begin
}

fn work_of(group: vec3<u32>, groups: vec3<u32>) -> Work {
    let g = group.y * groups.x + group.x;
    let z = g / (params.tiles_n * params.tiles_m);
    let exists = z < params.batches * params.splits;
    let outer = z % params.batches / params.inner;
    let inner = z % params.batches % params.inner;
    let first = z / params.batches * params.part;
    return Work(
        exists,
        g / params.tiles_n % params.tiles_m, g % params.tiles_n,
        first, select(first, min(first + params.part, params.k), exists),
        params.a_offset + outer * params.a_outer + inner * params.a_inner,
        params.b_offset + outer * params.b_outer + inner * params.b_inner,
        z * params.m * params.n,
    );
}

// hook result
@group(0) @binding(3) var<storage, read_write> c: array<f32>; // [splits, batch, m, n]
// What becomes of result `i`, counted in the order of C.
fn result(i: u32, v: f32) {
    c[i] = v;
}
// end result

fn store(work: Work, row: u32, col: u32, v: f32) {
    result(work.c + row * params.c_m + col * params.c_n, v);
}
