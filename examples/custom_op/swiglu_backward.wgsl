// Both gradients of y = silu(gate) * up in one pass. With s the sigmoid of the gate, silu' = s + gate s (1 - s).

struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>; // [n]
@group(0) @binding(2) var<storage, read> up: array<f32>; // [n]
@group(0) @binding(3) var<storage, read> sigmoid: array<f32>; // [n]
@group(0) @binding(4) var<storage, read> grad: array<f32>; // [n]
@group(0) @binding(5) var<storage, read_write> grad_gate: array<f32>; // [n]
@group(0) @binding(6) var<storage, read_write> grad_up: array<f32>; // [n]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i < params.n) {
        let s = sigmoid[i];
        let silu = gate[i] * s;
        grad_gate[i] = grad[i] * up[i] * (s + silu * (1.0 - s));
        grad_up[i] = grad[i] * silu;
    }
}
