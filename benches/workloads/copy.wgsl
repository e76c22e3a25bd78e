// y = x

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [n / 4]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // [n / 4]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i < arrayLength(&y)) {
        y[i] = x[i];
    }
}
