// Adds the partial gradients of a convolution's weight and bias, always in the same order.

override GROUP: u32 = 64u;

struct Params { weights: u32, biases: u32, chunks: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> weight_parts: array<f32>; // [chunks, weights]
@group(0) @binding(2) var<storage, read_write> bias_parts: array<f32>; // [chunks, biases]
@group(0) @binding(3) var<storage, read_write> weight_grad: array<f32>; // [weights]
@group(0) @binding(4) var<storage, read_write> bias_grad: array<f32>; // [biases]

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * GROUP + lane;
    if (i < params.weights) {
        var sum = 0.0;
        for (var chunk = 0u; chunk < params.chunks; chunk += 1u) {
            sum += weight_parts[chunk * params.weights + i];
        }
        weight_grad[i] = sum;
    }
    if (i < params.biases) {
        var sum = 0.0;
        for (var chunk = 0u; chunk < params.chunks; chunk += 1u) {
            sum += bias_parts[chunk * params.biases + i];
        }
        bias_grad[i] = sum;
    }
}
