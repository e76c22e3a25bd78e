// The sum of the parts of a weight's gradient, always in the same order.

override GROUP: u32 = 64u;

struct Params { len: u32, chunks: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> parts: array<f32>; // [chunks, len]
@group(0) @binding(2) var<storage, read_write> sums: array<f32>; // [len]

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * GROUP + lane;
    if (i >= params.len) { return; }
    var sum = 0.0;
    for (var chunk = 0u; chunk < params.chunks; chunk += 1u) {
        sum += parts[chunk * params.len + i];
    }
    sums[i] = sum;
}
