// The gradient of a convolution's weight: for each tap, the sum over images and places of the input there times the
// output's gradient; and that gradient's own sum, which is the gradient of a bias. Each chunk of the rows of all places
// gives partial sums; another kernel adds those.
//
// A column is a channel and a tap. An invocation holds CHANNELS x 4 results: output channels, and neighbouring columns.

override GROUP: u32 = 64u;
override CHANNELS: u32 = 16u; // at most 16, and at most `outs`
override SLIDES: u32 = 1u;    // a tap reads at a place what the next one reads at the place before: stride == dilation

// hook subgroup
const LANES: u32 = 1u; // invocations that load one gradient each and share it
fn shared_by(lane: u32, own: f32) -> f32 { return own; }
// end subgroup

struct Params {
    input: vec2<i32>, places: vec2<i32>, window: vec2<i32>, // height and width
    stride: vec2<i32>, padding: vec2<i32>, dilation: vec2<i32>,
    batch: u32, groups: u32,
    ins: u32, outs: u32, // channels of a group
    taps: u32,           // columns for a row of the window: with SLIDES whole fours, of which the last may be idle
    blocks: u32,         // workgroups for the columns of a group
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
    // The workgroup's channels and chunk. The last part of the channels goes back over some of the part before.
    let tiles = (params.outs + CHANNELS - 1u) / CHANNELS;
    var rest = workgroup.y * workgroups.x + workgroup.x;
    let fresh = rest % tiles * CHANNELS;
    let out = min(fresh, params.outs - CHANNELS);
    rest /= tiles;
    let block = rest % params.blocks;
    rest /= params.blocks;
    let group = rest % params.groups;
    let chunk = rest / params.groups;
    let all = params.batch * u32(params.places.x);
    let start = min(chunk * params.rows, all);

    // The invocation's columns.
    let column = 4u * (block * GROUP + invocation) + vec4(0u, 1u, 2u, 3u);
    let kx = vec4<i32>(column % params.taps);
    let ky = vec4<i32>(column / params.taps % u32(params.window.x));
    let channel = column / (params.taps * u32(params.window.x));
    let exists = channel < vec4(params.ins);
    let dx = kx * params.dilation.y - params.padding.y;
    let dy = ky * params.dilation.x - params.padding.x;

    var sums: array<vec4<f32>, 16>;
    var totals: array<f32, 16>; // of channel i + own lane at i / LANES
    for (var i = 0u; i < CHANNELS; i += 1u) {
        sums[i] = vec4(0.0);
        totals[i] = 0.0;
    }
    var image = start / u32(params.places.x);
    var place = i32(start % u32(params.places.x));
    for (var r = start; r < min(start + params.rows, all); r += 1u) {
        let y = place * params.stride.x + dy;
        let inside = exists & (y >= vec4(0)) & (y < vec4(params.input.x));
        let plane = vec4<i32>((image * params.groups + group) * params.ins + channel) * params.input.x;
        let row = (plane + y) * params.input.y;
        let area = u32(params.places.x * params.places.y);
        var at = ((image * params.groups + group) * params.outs + out) * area + u32(place * params.places.y);
        var v: vec4<f32>;
        if (SLIDES == 1u) {
            v = vec4(0.0, load(row.x, dx.x, inside.x), load(row.y, dx.y, inside.y), load(row.z, dx.z, inside.z));
        }
        var x = dx;
        for (var column = 0; column < params.places.y; column += 1) {
            let last = load(row.w, x.w, inside.w);
            if (SLIDES == 1u) {
                v = vec4(v.yzw, last);
            } else {
                v = vec4(load(row.x, x.x, inside.x), load(row.y, x.y, inside.y), load(row.z, x.z, inside.z), last);
            }
            var own: f32;
            for (var i = 0u; i < CHANNELS; i += 1u) {
                if (i % LANES == 0u) {
                    own = grad[at + min(i + invocation % LANES, CHANNELS - 1u) * area];
                    totals[i / LANES] += own;
                }
                sums[i] += shared_by(i % LANES, own) * v;
            }
            x += params.stride.y;
            at += 1u;
        }
        place += 1;
        if (place == params.places.x) {
            place = 0;
            image += 1u;
        }
    }

    if (chunk >= params.chunks) { return; }
    let area = u32(params.window.x * params.window.y);
    let tap = channel * area + vec4<u32>(ky * params.window.y + kx);
    let first = (chunk * params.groups + group) * params.outs + out;
    for (var i = 0u; i < CHANNELS; i += 1u) {
        let line = (first + i) * params.ins * area;
        for (var j = 0; j < 4; j += 1) {
            let fits = exists[j] && kx[j] < params.window.y;
            if (fits && out + i >= fresh) { weight_parts[line + tap[j]] = sums[i][j]; }
        }
        let mine = i + invocation;
        if (i % LANES == 0u && block == 0u && invocation < LANES && mine < CHANNELS && out + mine >= fresh) {
            bias_parts[first + mine] = totals[i / LANES];
        }
    }
}
