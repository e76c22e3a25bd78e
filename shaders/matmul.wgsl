// The prelude of the matrix product kernels: C[z] = A[z] B[z] with any strides. Swapped strides transpose an operand,
// and a batch stride of 0 broadcasts it. If `splits` > 1, each part of K gives a partial product; the partial products
// follow one another in C, and a reduction adds them. Every variant sums in the order of K unless its file says
// otherwise.

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

// A workgroup's part of the product.
struct Work {
    exists: bool,                 // false for surplus workgroups of the grid
    tile_m: u32, tile_n: u32,
    first: u32, last: u32,        // the range of K; empty for surplus workgroups
    a: u32, b: u32, c: u32,       // offsets of the matrices
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
// Stores the result with linear index `i` in C. An epilogue replaces this function.
fn result(i: u32, v: f32) {
    c[i] = v;
}
// end result

fn store(work: Work, row: u32, col: u32, v: f32) {
    result(work.c + row * params.c_m + col * params.c_n, v);
}
