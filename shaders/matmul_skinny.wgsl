// The product of a matrix of few rows with another, for GPUs: LANES invocations split the K dim of one column and four
// rows. If B is contiguous along K, all invocations of a workgroup read one column; otherwise neighbours read
// neighbouring columns.

override GROUP: u32 = 64u;
override LANES: u32 = 64u;

@group(0) @binding(1) var<storage, read> a: array<f32>; // [batch, m, k]
@group(0) @binding(2) var<storage, read> b: array<f32>; // [batch, k, n]
var<workgroup> sums: array<vec4<f32>, GROUP>;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) id: u32,
) {
    let work = work_of(group, groups);
    let cols = GROUP / LANES;
    let lane = id / cols;
    let row = 4u * work.tile_m;
    let col = work.tile_n * cols + id % cols;
    var at_a = work.a + min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(params.m - 1u)) * params.a_m
        + (work.first + lane) * params.a_k;
    var at_b = work.b + min(col, params.n - 1u) * params.b_n + (work.first + lane) * params.b_k;
    var sum = vec4<f32>();
    for (var l = work.first + lane; l < work.last; l += LANES) {
        sum = fma(vec4(a[at_a.x], a[at_a.y], a[at_a.z], a[at_a.w]), vec4(b[at_b]), sum);
        at_a += vec4(LANES * params.a_k);
        at_b += LANES * params.b_k;
    }
    sums[id] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            sums[id] += sums[id + half * cols];
        }
        workgroupBarrier();
    }
    if (work.exists && lane == 0u && col < params.n) {
        sum = sums[id];
        store(work, row, col, sum.x);
        if (row + 1u < params.m) { store(work, row + 1u, col, sum.y); }
        if (row + 2u < params.m) { store(work, row + 2u, col, sum.z); }
        if (row + 3u < params.m) { store(work, row + 3u, col, sum.w); }
    }
}
