// Convolutions and transposed convolutions: each output gathers its inputs. Along each dim, output p at tap k reads the
// input (p * up + k * dilation - before) / down, if that is an integer and within the bounds. `before` is the padding
// before the first element. `up` is the stride of a convolution and `down` that of a transposed one, whose taps are
// reversed; the other is 1.
//
// Outputs of one phase (p modulo `down`) use the same taps. A workgroup computes outputs of one phase, so all its
// invocations read the same weights. An invocation holds CHANNELS x NEIGHBOURS outputs: neighbours of the phase along
// the width.

override GROUP: u32 = 64u;
override RAGGED: bool = false; // some phases have fewer than TAPS taps in a row

// CHANNELS and NEIGHBOURS of an invocation, CHANNELS at most `outs`. TAPS: the most taps that a phase has in a row of
// the window. Tap k reads for neighbour j the input that tap k - BACK reads for neighbour j + SHIFT.
// hook constants
const CHANNELS: u32 = 1u;
const NEIGHBOURS: u32 = 4u;
const TAPS: u32 = 1u;
const BACK: u32 = 1u;
const SHIFT: u32 = 1u;
// end constants

// LANES invocations each load one weight and share it. `conv_subgroups.wgsl` is a variant.
// hook subgroups
const LANES: u32 = 1u;
fn shared_by(lane: u32, own: f32) -> f32 { return own; }
// end subgroups

struct Params {
    input: vec2<i32>, output: vec2<i32>, window: vec2<i32>, // height and width
    up: vec2<i32>, down: vec2<i32>, dilation: vec2<i32>, before: vec2<i32>,
    every: vec2<i32>, reach: vec2<i32>, // distance to a phase's next tap: in taps, and in inputs
    tiles: vec2<u32>,                   // per phase: rows, and columns / NEIGHBOURS
    batch: u32, groups: u32,
    ins: u32, outs: u32,                // channels per group
    first: i32, next: i32,              // offset of tap 0 in the weight, and the stride of taps
    from_in: u32, from_out: u32,        // strides of the weight along `ins` and `outs`
    biased: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>; // [batch, groups * ins, input]
@group(0) @binding(2) var<storage, read> weight: array<f32>; // [groups, outs, ins, window]; transposed: ins, outs
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [groups * outs]
@group(0) @binding(4) var<storage, read_write> output: array<f32>; // [batch, groups * outs, output]

fn load(row: i32, x: i32, inside: bool) -> f32 {
    let there = inside && x >= 0 && x < params.input.y;
    return select(0.0, input[select(0, row + x, there)], there);
}

// The first tap of a phase; the window's size if there is none.
fn first_tap(phase: vec2<i32>, dim: u32) -> i32 {
    let size = params.window[dim];
    var tap = 0;
    while (tap < size && (phase[dim] + tap * params.dilation[dim] - params.before[dim]) % params.down[dim] != 0) {
        tap += 1;
    }
    return tap;
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    // The workgroup's channels and phase. The last block of channels may overlap the one before; `fresh` is the first
    // channel that this block stores.
    let parts = (params.outs + CHANNELS - 1u) / CHANNELS;
    var rest = workgroup.y * workgroups.x + workgroup.x;
    let fresh = rest % parts * CHANNELS;
    let out = min(fresh, params.outs - CHANNELS);
    rest /= parts;
    let group = rest % params.groups;
    rest /= params.groups;
    let down = vec2<u32>(params.down);
    let phase = vec2<i32>(vec2(rest / down.y, rest) % down);
    rest /= down.x * down.y;

    // The invocation's outputs.
    let tile = rest * GROUP + invocation;
    let image = tile / (params.tiles.x * params.tiles.y);
    let exists = image < params.batch;
    let place = vec2<i32>(vec2(tile / params.tiles.y % params.tiles.x, NEIGHBOURS * (tile % params.tiles.y)));

    let tap = vec2(first_tap(phase, 0u), first_tap(phase, 1u));
    let corner = place * params.up + (phase + tap * params.dilation - params.before) / params.down;
    let area = params.input.x * params.input.y;
    var plane = i32((image * params.groups + group) * params.ins) * area;
    var matrix = group * params.ins * params.outs * u32(params.window.x * params.window.y) + out * params.from_out;

    var sums: array<array<f32, NEIGHBOURS>, CHANNELS>;
    for (var i = 0u; i < CHANNELS; i += 1u) {
        let start = select(0.0, bias[group * params.outs + out + i], params.biased == 1u);
        for (var j = 0u; j < NEIGHBOURS; j += 1u) {
            sums[i][j] = start;
        }
    }
    for (var channel = 0u; channel < params.ins; channel += 1u) {
        var y = corner.x;
        for (var ky = tap.x; ky < params.window.x; ky += params.every.x) {
            let inside = exists && y >= 0 && y < params.input.x;
            let row = plane + y * params.input.y;
            var v: array<array<f32, NEIGHBOURS>, TAPS>;
            for (var k = 0u; k < TAPS; k += 1u) {
                let x = corner.y + i32(k) * params.reach.y;
                for (var j = 0u; j < NEIGHBOURS; j += 1u) {
                    if (k >= BACK && j + SHIFT < NEIGHBOURS) {
                        v[k][j] = v[k - BACK][j + SHIFT];
                    } else {
                        v[k][j] = load(row, x + i32(j) * params.up.y, inside);
                    }
                }
            }
            var at: array<u32, TAPS>;
            var there: array<bool, TAPS>;
            for (var k = 0u; k < TAPS; k += 1u) {
                let kx = tap.y + i32(k) * params.every.y;
                there[k] = !RAGGED || kx < params.window.y;
                at[k] = matrix + u32(params.first + params.next * (ky * params.window.y + select(0, kx, there[k])));
                for (var j = 0u; j < NEIGHBOURS; j += 1u) {
                    v[k][j] = select(0.0, v[k][j], there[k]);
                }
            }
            var own: array<f32, TAPS>;
            for (var i = 0u; i < CHANNELS; i += 1u) {
                for (var k = 0u; k < TAPS; k += 1u) {
                    if (i % LANES == 0u) {
                        let channel = min(i + invocation % LANES, CHANNELS - 1u);
                        own[k] = select(0.0, weight[at[k] + channel * params.from_out], there[k]);
                    }
                    let w = shared_by(i % LANES, own[k]);
                    for (var j = 0u; j < NEIGHBOURS; j += 1u) {
                        sums[i][j] += w * v[k][j];
                    }
                }
            }
            y += params.reach.x;
        }
        plane += area;
        matrix += params.from_in;
    }

    let at = place * params.down + phase;
    if (!exists || at.x >= params.output.x) { return; }
    var line = (((image * params.groups + group) * params.outs + out) * u32(params.output.x) + u32(at.x)) * u32(params.output.y);
    for (var i = 0u; i < CHANNELS; i += 1u) {
        for (var j = 0u; j < NEIGHBOURS; j += 1u) {
            let x = at.y + i32(j) * params.down.y;
            if (out + i >= fresh && x < params.output.y) { output[line + u32(x)] = sums[i][j]; }
        }
        line += u32(params.output.x * params.output.y);
    }
}
