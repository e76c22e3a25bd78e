// Lanes of a row combine within subgroups, and then those: for rows that have a workgroup each, so that it does not matter
// which lanes are a subgroup.

struct Workgroup {
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_size) subgroup_size: u32,
}

struct Invocation {
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
}

// Combines the lanes of a row; every lane gets the result.
fn across(workgroup: Workgroup, invocation: Invocation, v: f32, sum: bool) -> f32 {
    var all = v;
    for (var step = 1u; step < min(workgroup.subgroup_size, LANES); step *= 2u) {
        all = combined(all, subgroupShuffleXor(all, step), sum);
    }
    shared_[invocation.subgroup] = all;
    workgroupBarrier();
    all = shared_[0];
    for (var i = 1u; i < workgroup.subgroups; i += 1u) {
        all = combined(all, shared_[i], sum);
    }
    workgroupBarrier();
    return all;
}
