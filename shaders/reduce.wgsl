// A reduction, or one stage of it: the elements of each output are cut into `splits` parts of `part` elements, and LANES
// invocations combine a part. Neighbouring outputs are worked on, and written, side by side. One lane an output suits CPU adapters; on a GPU a row has a workgroup, whose lanes read
// side by side, and a column some lanes that lie STEP apart, so that neighbouring invocations read neighbouring columns.
// Codegen rewrites the hooks; as it is, this file sums rows.

override GROUP: u32 = 64u;
override LANES: u32 = 64u;
override STEP: u32 = 1u;

// hook bindings
struct Params { outputs: u32, len: u32, splits: u32, part: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<f32>; // [outputs, len]
@group(0) @binding(2) var<storage, read_write> y0: array<f32>; // [splits, outputs]
// end bindings

// hook reduction
struct Element { a0: f32 }
fn identity() -> Element { return Element(0.0); }
fn combine(a: Element, b: Element) -> Element { return Element(a.a0 + b.a0); }
fn value(o: u32, r: u32) -> Element { return Element(x0[o * params.len + r]); }
fn store(i: u32, a: Element) { y0[i] = a.a0; }
// end reduction

// Terms are added in blocks, and blocks to the sum: the rounding error grows with their number, not that of the terms.
const BLOCK: u32 = 32u;

var<workgroup> shared_: array<Element, GROUP>;

// hook across
// What is the same in a workgroup is apart from what differs: a struct with both would not count as uniform.
struct Workgroup {
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
}

struct Invocation {
    @builtin(local_invocation_index) index: u32,
}

// Combines the lanes of an output; the first of them gets the result.
fn across(workgroup: Workgroup, invocation: Invocation, own: Element) -> Element {
    if (LANES == 1u) { return own; }
    let lane = invocation.index;
    shared_[lane] = own;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane / STEP % LANES < half) {
            shared_[lane] = combine(shared_[lane], shared_[lane + half * STEP]);
        }
        workgroupBarrier();
    }
    return shared_[lane];
}
// end across

@compute @workgroup_size(GROUP)
fn main(workgroup: Workgroup, invocation: Invocation) {
    let lane = invocation.index / STEP % LANES;
    let output = invocation.index / (STEP * LANES) * STEP + invocation.index % STEP;
    let i = (workgroup.id.y * workgroup.count.x + workgroup.id.x) * (GROUP / LANES) + output;
    let exists = i < params.outputs * params.splits;
    let o = i % params.outputs;
    let first = i / params.outputs * params.part;
    let last = select(first, min(first + params.part, params.len), exists);

    var sum = identity();
    var r = first + lane;
    while (r < last) {
        let block_end = min(r + BLOCK * LANES, last);
        var block = identity();
        for (; r < block_end; r += LANES) {
            block = combine(block, value(o, r));
        }
        sum = combine(sum, block);
    }
    sum = across(workgroup, invocation, sum);
    if (exists && lane == 0u) {
        store(i, sum);
    }
}
