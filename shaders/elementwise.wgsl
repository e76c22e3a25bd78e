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

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

@compute @workgroup_size(GROUP)
fn main(place: Place) {
    let i = (place.group.y * place.groups.x + place.group.x) * GROUP + place.lane;
    if (i < params.len) {
        element(i);
    }
}
