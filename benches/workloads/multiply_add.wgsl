// Sixteen chains of x = x / 2 + 1 / 2 an invocation, each of 128 * 8 steps; y = their mean.

@group(0) @binding(1) var<storage, read> x: array<f32>; // [n]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [n]

alias Chains = mat4x4<f32>;

fn step(c: Chains) -> Chains {
    let half = vec4(0.5);
    return Chains(
        fma(c[0], half, half), fma(c[1], half, half), fma(c[2], half, half), fma(c[3], half, half),
    );
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i < arrayLength(&y)) {
        let start = vec4(0.0, 1.0, 2.0, 3.0) + x[i];
        var c = Chains(start, start + 4.0, start + 8.0, start + 12.0);
        for (var k = 0; k < 128; k++) {
            c = step(step(step(step(step(step(step(step(c))))))));
        }
        let sum = c[0] + c[1] + c[2] + c[3];
        y[i] = dot(sum, vec4(1.0)) / 16.0;
    }
}
