// The variant of `reduce.wgsl` for adapters with subgroups, where each output has a whole workgroup. Each subgroup
// combines its lanes, then the subgroups' results are combined. It does not matter which lanes form a subgroup. Codegen
// generates `shuffled`.

// hook across
// The value of lane `lane ^ step` of the subgroup.
// hook shuffled
fn shuffled_0(a: Element_0, step: u32) -> Element_0 { return Element_0(subgroupShuffleXor(a.a0, step)); }
// end shuffled

fn across_0(workgroup: Workgroup, invocation: Invocation, own: Element_0) -> Element_0 {
    var all = own;
    for (var step = 1u; step < min(workgroup.subgroup_size, LANES); step *= 2u) {
        all = combine_0(all, shuffled_0(all, step));
    }
    partials_0[invocation.subgroup] = all;
    workgroupBarrier();
    all = partials_0[0];
    for (var i = 1u; i < workgroup.subgroups; i += 1u) {
        all = combine_0(all, partials_0[i]);
    }
    return all;
}
// end across
