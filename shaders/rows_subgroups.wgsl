// The variant of `rows.wgsl` for adapters with subgroups, where a whole workgroup processes each row. Each subgroup combines
// its lanes, then every lane combines the subgroups' results. It does not matter which lanes form a subgroup.

// hook across
fn across(workgroup: Workgroup, invocation: Invocation, v: f32, sum: bool) -> f32 {
    var all = v;
    for (var step = 1u; step < min(workgroup.subgroup_size, LANES); step *= 2u) {
        all = combined(all, subgroupShuffleXor(all, step), sum);
    }
    partials[invocation.subgroup] = all;
    workgroupBarrier();
    all = partials[0];
    for (var i = 1u; i < workgroup.subgroups; i += 1u) {
        all = combined(all, partials[i], sum);
    }
    workgroupBarrier();
    return all;
}
// end across
