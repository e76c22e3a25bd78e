// The built-in inputs of entry points. WGSL's uniformity analysis treats a whole struct as non-uniform if one member
// differs between the invocations of a workgroup, so the uniform inputs have a struct of their own.
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

// The linear index of the workgroup in the dispatch. The grid has two dimensions and may contain surplus workgroups.
fn index_of(workgroup: Workgroup) -> u32 {
    return workgroup.id.y * workgroup.count.x + workgroup.id.x;
}
