// The gradient of a convolution's weight: for each tap, the sum over images and places (output positions) of the input
// times the output's gradient. Also the gradient of the bias, the sum of the output's gradient. The rows of places of
// all images are split into chunks with partial sums, which another kernel adds.
//
// An invocation holds CHANNELS x LINES x TAPS results: output channels, rows of the window in neighbouring planes, and
// taps in each row. The lines and taps of an invocation are a column.

override GROUP: u32 = 64u;

// CHANNELS: at most `outs`. PLANES: input channels, a divisor of `ins`. ROWS and TAPS of the window: divisors of its
// height and width. PLACES: neighbours in a row that are loaded together, at most the row's length. Tap k reads for
// place j the input that tap k - BACK reads for place j + SHIFT.
// hook constants
const CHANNELS: u32 = 1u;
const PLANES: u32 = 1u;
const ROWS: u32 = 1u;
const TAPS: u32 = 1u;
const PLACES: u32 = 1u;
const BACK: u32 = 1u;
const SHIFT: u32 = 1u;
// end constants
const LINES: u32 = PLANES * ROWS;

// LANES invocations each load one gradient and share it. `conv_subgroups.wgsl` is a variant.
// hook subgroups
const LANES: u32 = 1u;
fn shared_by(lane: u32, own: f32) -> f32 { return own; }
// end subgroups

// An invocation's index in the grid is the sum of these two. Invocations that share gradients must have their loops in
// uniform control flow, so they compute their chunk from the shared part only.
// hook index
fn shared_index(workgroup: u32, invocation: u32) -> u32 { return workgroup * GROUP + invocation; }
fn own_index(invocation: u32) -> u32 { return 0u; }
// end index

struct Params {
    input: vec2<i32>, places: vec2<i32>, window: vec2<i32>, // height and width
    stride: vec2<i32>, padding: vec2<i32>, dilation: vec2<i32>,
    batch: u32, groups: u32,
    ins: u32, outs: u32, // channels per group
    columns: u32,        // per group; rounded up to whole workgroups if invocations share gradients
    chunks: u32, rows: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>; // [batch, groups * ins, input]
@group(0) @binding(2) var<storage, read> grad: array<f32>; // [batch, groups * outs, places]
@group(0) @binding(3) var<storage, read_write> weight_parts: array<f32>; // [chunks, groups * outs, ins, window]
@group(0) @binding(4) var<storage, read_write> bias_parts: array<f32>; // [chunks, groups * outs]

fn load(row: i32, x: i32, inside: bool) -> f32 {
    let there = inside && x >= 0 && x < params.input.y;
    return select(0.0, input[select(0, row + x, there)], there);
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    // The last block of channels may overlap the one before; `fresh` is the first channel that this block stores.
    let tiles = (params.outs + CHANNELS - 1u) / CHANNELS;
    var rest = shared_index(workgroup.y * workgroups.x + workgroup.x, invocation);
    let column = rest % params.columns + own_index(invocation);
    rest /= params.columns;
    let fresh = rest % tiles * CHANNELS;
    let out = min(fresh, params.outs - CHANNELS);
    rest /= tiles;
    let group = rest % params.groups;
    let chunk = rest / params.groups;
    let all = params.batch * u32(params.places.x);
    let start = min(chunk * params.rows, all);

    // The column's first plane and tap.
    let blocks = vec2<u32>(params.window) / vec2(ROWS, TAPS);
    let tap = vec2<i32>(vec2(column / blocks.y % blocks.x * ROWS, column % blocks.y * TAPS));
    let plane = column / (blocks.x * blocks.y) * PLANES;
    let corner = tap * params.dilation - params.padding;

    var sums: array<array<array<f32, TAPS>, LINES>, CHANNELS>;
    var totals: array<f32, CHANNELS>; // element i / LANES: the sum of channel i + own lane
    var image = start / u32(params.places.x);
    var place = i32(start % u32(params.places.x));
    for (var r = start; r < min(start + params.rows, all); r += 1u) {
        let area = u32(params.places.x * params.places.y);
        let base = ((image * params.groups + group) * params.outs + out) * area + u32(place * params.places.y);
        // The last block of places may overlap the one before. The places in both get a gradient of 0 the second time.
        for (var first = 0; first < params.places.y; first += i32(PLACES)) {
            let at = min(first, params.places.y - i32(PLACES));
            var v: array<array<array<f32, PLACES>, TAPS>, LINES>;
            for (var l = 0u; l < LINES; l += 1u) {
                let y = place * params.stride.x + corner.x + i32(l % ROWS) * params.dilation.x;
                let inside = plane < params.ins && y >= 0 && y < params.input.x;
                let channel = (image * params.groups + group) * params.ins + plane + l / ROWS;
                let row = (i32(channel) * params.input.x + y) * params.input.y;
                var x = at * params.stride.y + corner.y;
                for (var k = 0u; k < TAPS; k += 1u) {
                    for (var j = 0u; j < PLACES; j += 1u) {
                        if (k >= BACK && j + SHIFT < PLACES) {
                            v[l][k][j] = v[l][k - BACK][j + SHIFT];
                        } else {
                            v[l][k][j] = load(row, x + i32(j) * params.stride.y, inside);
                        }
                    }
                    x += params.dilation.y;
                }
            }
            var own: array<f32, PLACES>;
            for (var i = 0u; i < CHANNELS; i += 1u) {
                if (i % LANES == 0u) {
                    let line = base + min(i + invocation % LANES, CHANNELS - 1u) * area + u32(at);
                    for (var j = 0u; j < PLACES; j += 1u) {
                        own[j] = select(0.0, grad[line + j], at + i32(j) >= first);
                        totals[i / LANES] += own[j];
                    }
                }
                for (var j = 0u; j < PLACES; j += 1u) {
                    let g = shared_by(i % LANES, own[j]);
                    for (var l = 0u; l < LINES; l += 1u) {
                        for (var k = 0u; k < TAPS; k += 1u) {
                            sums[i][l][k] += g * v[l][k][j];
                        }
                    }
                }
            }
        }
        place += 1;
        if (place == params.places.x) {
            place = 0;
            image += 1u;
        }
    }

    if (chunk >= params.chunks) { return; }
    let window = params.window.x * params.window.y;
    let line = (chunk * params.groups + group) * params.outs + out;
    for (var i = 0u; i < CHANNELS; i += 1u) {
        for (var l = 0u; l < LINES; l += 1u) {
            let first = ((line + i) * params.ins + plane + l / ROWS) * u32(window)
                + u32((tap.x + i32(l % ROWS)) * params.window.y + tap.y);
            for (var k = 0u; k < TAPS; k += 1u) {
                if (plane < params.ins && out + i >= fresh) { weight_parts[first + k] = sums[i][l][k]; }
            }
        }
        let mine = i + invocation % LANES;
        if (i % LANES == 0u && column < LANES && mine < CHANNELS && out + mine >= fresh) {
            bias_parts[line + mine] = totals[i / LANES];
        }
    }
}
