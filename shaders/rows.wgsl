// What kernels over rows stand on: LANES invocations share a row, one on a CPU adapter, up to a workgroup on a GPU. A row
// is read by the pack (`pack_four.wgsl` or `pack_one.wgsl`); lanes combine what they found by `across` (`across_tree.wgsl`
// or `across_subgroups.wgsl`).

override GROUP: u32 = 64u;
override LANES: u32 = 64u;

const LOWEST: f32 = -0x1.fffffep+127f;

var<workgroup> shared_: array<f32, GROUP>;

fn combined(a: f32, b: f32, sum: bool) -> f32 {
    return select(max_f32(a, b), a + b, sum);
}

// The row of this invocation. Spare ones get rows beyond the last.
fn row_of(workgroup: Workgroup, invocation: Invocation) -> u32 {
    return (workgroup.id.y * workgroup.count.x + workgroup.id.x) * (GROUP / LANES) + invocation.index / LANES;
}
