// What kernels over rows stand on: LANES invocations share a row, one on a CPU adapter, a workgroup on a GPU.

override GROUP: u32 = 64u;
override LANES: u32 = 64u;

var<workgroup> shared_: array<f32, GROUP>;

// Combines the lanes of a row; every lane gets the result.
fn across(lane: u32, v: f32, sum: bool) -> f32 {
    if (LANES == 1u) { return v; }
    shared_[lane] = v;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane % LANES < half) {
            let other = shared_[lane + half];
            shared_[lane] = select(max_f32(shared_[lane], other), shared_[lane] + other, sum);
        }
        workgroupBarrier();
    }
    let all = shared_[lane / LANES * LANES];
    workgroupBarrier();
    return all;
}
