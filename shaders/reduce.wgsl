// A reduction, or one stage of it. The elements of each output are split into `splits` parts of `part` elements, and
// LANES invocations combine one part. Neighbouring invocations compute neighbouring outputs. A CPU adapter uses one
// lane per output. On a GPU, the lanes of a row (up to a workgroup) read consecutive elements; the lanes of a column
// are STEP invocations apart, so that neighbouring invocations read neighbouring columns.
//
// Several reductions may share a dispatch. Codegen fills the hooks; the defaults sum rows. Codegen replaces the suffix
// `_0` to make each kernel's names unique. `workgroup.wgsl` is the prelude; `reduce_subgroups.wgsl` is a variant.

override GROUP: u32 = 64u;
override LANES: u32 = 64u;
override STEP: u32 = 1u;

// Elements are summed in blocks, and the blocks are then summed, so the rounding error grows with the number of blocks
// instead of the number of elements.
const BLOCK: u32 = 32u;

// hook bindings
struct Params { outputs_0: u32, len_0: u32, splits_0: u32, part_0: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0_0: array<f32>; // [outputs, len]
@group(0) @binding(2) var<storage, read_write> y0_0: array<f32>; // [splits, outputs]
// end bindings

// hook kernel
// hook reduction
struct Element_0 { a0: f32 }
fn identity_0() -> Element_0 { return Element_0(0.0); }
fn combine_0(a: Element_0, b: Element_0) -> Element_0 { return Element_0(a.a0 + b.a0); }
fn value_0(o: u32, r: u32) -> Element_0 { return Element_0(x0_0[o * params.len_0 + r]); }
fn store_0(i: u32, a: Element_0) { y0_0[i] = a.a0; }
// end reduction

var<workgroup> partials_0: array<Element_0, GROUP>;

// Combines the lanes of an output. The first lane gets the result.
// hook across
fn across_0(workgroup: Workgroup, invocation: Invocation, own: Element_0) -> Element_0 {
    if (LANES == 1u) { return own; }
    let lane = invocation.index;
    partials_0[lane] = own;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane / STEP % LANES < half) {
            partials_0[lane] = combine_0(partials_0[lane], partials_0[lane + half * STEP]);
        }
        workgroupBarrier();
    }
    return partials_0[lane];
}
// end across

// `group` is the workgroup's index within this kernel.
fn kernel_0(group: u32, workgroup: Workgroup, invocation: Invocation) {
    let lane = invocation.index / STEP % LANES;
    let output = invocation.index / (STEP * LANES) * STEP + invocation.index % STEP;
    let i = group * (GROUP / LANES) + output;
    let exists = i < params.outputs_0 * params.splits_0;
    let o = i % params.outputs_0;
    let first = i / params.outputs_0 * params.part_0;
    let last = select(first, min(first + params.part_0, params.len_0), exists);

    var sum = identity_0();
    var r = first + lane;
    while (r < last) {
        let block_end = min(r + BLOCK * LANES, last);
        var block = identity_0();
        for (; r < block_end; r += LANES) {
            block = combine_0(block, value_0(o, r));
        }
        sum = combine_0(sum, block);
    }
    sum = across_0(workgroup, invocation, sum);
    if (exists && lane == 0u) {
        store_0(i, sum);
    }
}
// end kernel

@compute @workgroup_size(GROUP)
fn main(workgroup: Workgroup, invocation: Invocation) {
    let group = index_of(workgroup);
    // hook call
    kernel_0(group, workgroup, invocation);
    // end call
}
