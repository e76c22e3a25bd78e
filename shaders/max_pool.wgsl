// The largest element of each window, and its index in the plane. A NaN is larger than any number. Among equal
// elements, and among NaNs, the first in row-major order is chosen. Positions outside the plane are ignored.

override GROUP: u32 = 64u;
override HEIGHT: i32 = 2; // of a window; an override, so that the compiler can unroll the loops
override WIDTH: i32 = 2;

struct Params {
    input: vec2<i32>, output: vec2<i32>, // height and width
    stride: vec2<i32>, padding: vec2<i32>, dilation: vec2<i32>,
    rows: u32, // of the output, in all planes
    run: u32,  // neighbours in a row per invocation
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>; // [planes, input]
@group(0) @binding(2) var<storage, read_write> largest: array<f32>; // [planes, output]
@group(0) @binding(3) var<storage, read_write> indices: array<i32>; // [planes, output]

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * GROUP + lane;
    let runs = (u32(params.output.y) + params.run - 1u) / params.run;
    let row = i / runs;
    if (row >= params.rows) { return; }
    let plane = i32(row) / params.output.x * params.input.x * params.input.y;
    let top = i32(row) % params.output.x * params.stride.x - params.padding.x;
    let start = i32(i % runs * params.run);
    for (var x = start; x < min(start + i32(params.run), params.output.y); x += 1) {
        let left = x * params.stride.y - params.padding.y;
        var best = 0.0;
        var index = -1;
        for (var ky = 0; ky < HEIGHT; ky += 1) {
            let at_y = top + ky * params.dilation.x;
            for (var kx = 0; kx < WIDTH; kx += 1) {
                let at_x = left + kx * params.dilation.y;
                let inside = at_y >= 0 && at_y < params.input.x && at_x >= 0 && at_x < params.input.y;
                let at = at_y * params.input.y + at_x;
                let v = input[select(0, plane + at, inside)];
                let wins = index < 0 || v > best || (is_nan(v) && !is_nan(best));
                best = select(best, v, inside && wins);
                index = select(index, at, inside && wins);
            }
        }
        let to = i32(row) * params.output.y + x;
        largest[to] = best;
        indices[to] = index;
    }
}
