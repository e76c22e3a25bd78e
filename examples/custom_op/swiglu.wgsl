// y = silu(gate) * up, and the sigmoid of the gate, which the backward kernel uses.

struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>; // [n]
@group(0) @binding(2) var<storage, read> up: array<f32>; // [n]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [n]
@group(0) @binding(4) var<storage, read_write> sigmoid: array<f32>; // [n]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i < params.n) {
        let s = 1.0 / (1.0 + exp(-gate[i]));
        sigmoid[i] = s;
        y[i] = gate[i] * s * up[i];
    }
}
