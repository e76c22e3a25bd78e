// The prelude of row kernels; it follows `workgroup.wgsl`. LANES invocations share a row: one on a CPU adapter, up to a
// workgroup on a GPU. By default a lane reads one element at a time, and the lanes combine their results in workgroup
// memory. `rows_vec4.wgsl` and `rows_subgroups.wgsl` are variants.

override GROUP: u32 = 64u;
override LANES: u32 = 64u;

const LOWEST: f32 = -0x1.fffffep+127f;

// The unit in which a row is read: one element, or a vec4 of four consecutive ones.
// hook pack
alias Pack = f32;
const WIDTH: u32 = 1u; // elements of a pack

fn sum_of(v: Pack) -> f32 { return v; }
fn max_of(v: Pack) -> f32 { return v; }
fn exp_of(v: Pack) -> Pack { return exp_(v); }
fn element(v: Pack, i: u32) -> f32 { return v; }

// Pack `j` of a one-hot row: 1 at element `i`, 0 elsewhere.
fn one_hot(j: u32, i: u32) -> Pack { return select(0.0, 1.0, j == i); }
// end pack

// The row of this invocation. Surplus invocations get rows beyond the last.
fn row_of(workgroup: Workgroup, invocation: Invocation) -> u32 {
    return index_of(workgroup) * (GROUP / LANES) + invocation.index / LANES;
}

fn combined(a: f32, b: f32, sum: bool) -> f32 {
    return select(max_f32(a, b), a + b, sum);
}

var<workgroup> partials: array<f32, GROUP>;

// The sum or the maximum over the lanes of a row. Every lane gets the result.
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
