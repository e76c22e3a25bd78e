// The gradient of a max pool: each element takes the gradients of those windows that chose it. Windows are looked up
// from the last that reaches the element back to the first.

override GROUP: u32 = 64u;

struct Params {
    input: vec2<i32>, output: vec2<i32>, // height and width
    stride: vec2<i32>, padding: vec2<i32>,
    reach: vec2<i32>, // from a window's first place to its last
    rows: u32, // of the input, in all planes
    run: u32,  // neighbours in a row that are an invocation's
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<f32>; // [planes, output]
@group(0) @binding(2) var<storage, read> indices: array<i32>; // [planes, output]
@group(0) @binding(3) var<storage, read_write> grad_input: array<f32>; // [planes, input]

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * GROUP + lane;
    let runs = (u32(params.input.y) + params.run - 1u) / params.run;
    let row = i / runs;
    if (row >= params.rows) { return; }
    let plane = i32(row) / params.input.x * params.output.x;
    let y = i32(row) % params.input.x;
    let start = i32(i % runs * params.run);
    // The last window that begins at or before the element, and how far before.
    let last = (vec2(y, start) + params.padding) / params.stride;
    let before = (vec2(y, start) + params.padding) % params.stride;
    var last_x = last.y;
    var before_x = before.y;
    for (var x = start; x < min(start + i32(params.run), params.input.y); x += 1) {
        var sum = 0.0;
        var at_y = last.x;
        for (var far_y = before.x; far_y <= params.reach.x && at_y >= 0; far_y += params.stride.x) {
            var at_x = last_x;
            for (var far_x = before_x; far_x <= params.reach.y && at_x >= 0; far_x += params.stride.y) {
                if (at_y < params.output.x && at_x < params.output.y) {
                    let at = (plane + at_y) * params.output.y + at_x;
                    sum += select(0.0, grad[at], indices[at] == y * params.input.y + x);
                }
                at_x -= 1;
            }
            at_y -= 1;
        }
        grad_input[i32(row) * params.input.y + x] = sum;
        before_x += 1;
        if (before_x == params.stride.y) {
            before_x = 0;
            last_x += 1;
        }
    }
}
