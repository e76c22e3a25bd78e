// Lanes of a row combine in workgroup memory, half of them with the other half.

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

// Combines the lanes of a row; every lane gets the result.
fn across(place: Place, v: f32, sum: bool) -> f32 {
    if (LANES == 1u) { return v; }
    let lane = place.lane;
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
