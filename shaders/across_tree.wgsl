// Lanes of a row combine in workgroup memory, half of them with the other half.

struct Workgroup {
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
}

struct Invocation {
    @builtin(local_invocation_index) index: u32,
}

// Combines the lanes of a row; every lane gets the result.
fn across(workgroup: Workgroup, invocation: Invocation, v: f32, sum: bool) -> f32 {
    if (LANES == 1u) { return v; }
    let lane = invocation.index;
    shared_[lane] = v;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane % LANES < half) {
            shared_[lane] = combined(shared_[lane], shared_[lane + half], sum);
        }
        workgroupBarrier();
    }
    let all = shared_[lane / LANES * LANES];
    workgroupBarrier();
    return all;
}
