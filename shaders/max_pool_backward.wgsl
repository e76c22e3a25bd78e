// The gradient of a max pool: each element takes the gradients of those windows that chose it. Windows are looked up
// from the last that reaches the element back to the first.

override GROUP: u32 = 64u;
override HEIGHT: i32 = 1; // windows that may reach an element: known to the compiler, which unrolls the loops
override WIDTH: i32 = 1;

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
        let here = vec2(last.x, last_x);
        let far = vec2(before.x, before_x);
        var sum = 0.0;
        for (var y_back = 0; y_back < HEIGHT; y_back += 1) {
            for (var x_back = 0; x_back < WIDTH; x_back += 1) {
                let back = vec2(y_back, x_back);
                let window = here - back;
                let reaches = all(window >= vec2(0)) && all(window < params.output) && all(far + back * params.stride <= params.reach);
                let at = select(0, (plane + window.x) * params.output.y + window.y, reaches);
                sum += select(0.0, grad[at], reaches && indices[at] == y * params.input.y + x);
            }
        }
        grad_input[i32(row) * params.input.y + x] = sum;
        before_x += 1;
        if (before_x == params.stride.y) {
            before_x = 0;
            last_x += 1;
        }
    }
}
