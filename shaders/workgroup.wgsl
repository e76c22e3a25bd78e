// Where a kernel is: the inputs of entry points. A struct of which one member differs between the invocations of a workgroup
// is not uniform, and neither is control flow that depends on it: so what they share is a struct of its own.
// `workgroup_subgroups.wgsl` is a variant.

// hook inputs
struct Workgroup {
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
}

struct Invocation {
    @builtin(local_invocation_index) index: u32,
}
// end inputs

// Which workgroup of the dispatch it is. The grid has two dimensions, and may have more workgroups than were asked for.
fn index_of(workgroup: Workgroup) -> u32 {
    return workgroup.id.y * workgroup.count.x + workgroup.id.x;
}
