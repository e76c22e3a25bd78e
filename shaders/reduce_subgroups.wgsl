// What `reduce.wgsl` has for `across` where a workgroup works on one output: subgroups combine by themselves, whichever
// lanes they are, and then their results. Codegen writes `other`: what another lane of the subgroup has.

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

// hook other
fn other(a: Element, step: u32) -> Element { return Element(subgroupShuffleXor(a.a0, step)); }
// end other

fn across(workgroup: Workgroup, invocation: Invocation, own: Element) -> Element {
    var all = own;
    for (var step = 1u; step < min(workgroup.subgroup_size, LANES); step *= 2u) {
        all = combine(all, other(all, step));
    }
    shared_[invocation.subgroup] = all;
    workgroupBarrier();
    all = shared_[0];
    for (var i = 1u; i < workgroup.subgroups; i += 1u) {
        all = combine(all, shared_[i]);
    }
    return all;
}
