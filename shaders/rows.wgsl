// The prelude of kernels over rows, behind `workgroup.wgsl`: LANES invocations share a row, one on a CPU adapter, up to a workgroup on a GPU. As this
// file stands, they read a row by one element, and combine what they found in workgroup memory. `rows_vec4.wgsl` and
// `rows_subgroups.wgsl` are the variants of its hooks.

override GROUP: u32 = 64u;
override LANES: u32 = 64u;

const LOWEST: f32 = -0x1.fffffep+127f;

// What a row is read by: one element or four neighbours.
// hook pack
alias Pack = f32;
const WIDTH: u32 = 1u; // elements of a pack

fn sum_of(v: Pack) -> f32 { return v; }
fn max_of(v: Pack) -> f32 { return v; }
fn exp_of(v: Pack) -> Pack { return exp_(v); }
fn element(v: Pack, i: u32) -> f32 { return v; }

// Pack `j` of a row that has one at element `i`, and zeros.
fn one_hot(j: u32, i: u32) -> Pack { return select(0.0, 1.0, j == i); }
// end pack

// The row of this invocation. Spare ones get rows beyond the last.
fn row_of(workgroup: Workgroup, invocation: Invocation) -> u32 {
    return index_of(workgroup) * (GROUP / LANES) + invocation.index / LANES;
}

fn combined(a: f32, b: f32, sum: bool) -> f32 {
    return select(max_f32(a, b), a + b, sum);
}

var<workgroup> partials: array<f32, GROUP>;

// The sum or the maximum over the lanes of a row; every lane gets it.
// hook across
fn across(workgroup: Workgroup, invocation: Invocation, v: f32, sum: bool) -> f32 {
    if (LANES == 1u) { return v; }
    let lane = invocation.index;
    partials[lane] = v;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane % LANES < half) {
            partials[lane] = combined(partials[lane], partials[lane + half], sum);
        }
        workgroupBarrier();
    }
    let all = partials[lane / LANES * LANES];
    workgroupBarrier();
    return all;
}
// end across
