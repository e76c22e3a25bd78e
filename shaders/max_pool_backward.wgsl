// The gradient of a max pool: each element sums the gradients of the windows that chose it. The size of a
// tile divides the stride, so no window begins inside a tile, and the last window that begins at or before an element is
// the same for all elements of its tile. Each invocation computes one tile. It loops over the windows from that last one
// back to the first that can overlap the tile.

override GROUP: u32 = 64u;
override HEIGHT: i32 = 1; // windows that may reach a tile; an override, so that the compiler can unroll the loops
override WIDTH: i32 = 1;

// The size of a tile, a divisor of the stride.
// hook constants
const ROWS: u32 = 1u;
const COLUMNS: u32 = 1u;
// end constants

struct Params {
    input: vec2<i32>, output: vec2<i32>, // height and width
    padding: vec2<i32>,
    steps: vec2<i32>, // the stride, in tiles
    tiles: vec2<u32>, // of a plane and the padding before it
    rows: u32,        // of tiles, in all planes
    run: u32,         // neighbouring tiles in a row per invocation
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
    let runs = (params.tiles.y + params.run - 1u) / params.run;
    let row = i / runs;
    if (row >= params.rows) { return; }
    let plane = i32(row / params.tiles.x);
    let start = i % runs * params.run;
    for (var column = start; column < min(start + params.run, params.tiles.y); column += 1u) {
        let tile = vec2<i32>(vec2(row % params.tiles.x, column));
        let last = tile / params.steps; // the last window that begins at the tile or before
        let corner = tile * vec2<i32>(vec2(ROWS, COLUMNS)) - params.padding;
        var sums: array<array<f32, COLUMNS>, ROWS>;
        for (var y_back = 0; y_back < HEIGHT; y_back += 1) {
            for (var x_back = 0; x_back < WIDTH; x_back += 1) {
                let window = last - vec2(y_back, x_back);
                let exists = all(window >= vec2(0)) && all(window < params.output);
                let at = select(0, (plane * params.output.x + window.x) * params.output.y + window.y, exists);
                let g = select(0.0, grad[at], exists);
                let chosen = select(-1, indices[at], exists);
                for (var y = 0u; y < ROWS; y += 1u) {
                    for (var x = 0u; x < COLUMNS; x += 1u) {
                        let place = (corner.x + i32(y)) * params.input.y + corner.y + i32(x);
                        sums[y][x] += select(0.0, g, chosen == place);
                    }
                }
            }
        }
        for (var y = 0u; y < ROWS; y += 1u) {
            for (var x = 0u; x < COLUMNS; x += 1u) {
                let at = corner + vec2(i32(y), i32(x));
                if (all(at >= vec2(0)) && all(at < params.input)) {
                    grad_input[(plane * params.input.x + at.x) * params.input.y + at.y] = sums[y][x];
                }
            }
        }
    }
}
