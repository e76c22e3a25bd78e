// One kernel of elementwise operations: every place of the index space, once. Codegen rewrites what stands between
// `hook` and `end`; as it is, this file doubles a vector.

override GROUP: u32 = 64u;

// hook bindings
struct Params { len: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<f32>; // [len]
@group(0) @binding(2) var<storage, read_write> y0: array<f32>; // [len]
// end bindings

// hook element
fn element(i: u32) {
    y0[i] = 2.0 * x0[i];
}
// end element

// What is the same in a workgroup is apart from what differs: a struct with both would not count as uniform.
struct Workgroup {
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
}

struct Invocation {
    @builtin(local_invocation_index) index: u32,
}

@compute @workgroup_size(GROUP)
fn main(workgroup: Workgroup, invocation: Invocation) {
    let i = (workgroup.id.y * workgroup.count.x + workgroup.id.x) * GROUP + invocation.index;
    if (i < params.len) {
        element(i);
    }
}
