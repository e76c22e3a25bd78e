// The variant of `attention_tile.wgsl` for adapters whose subgroups have eight invocations. An invocation processes
// sixteen others at a time; it reads two of them and broadcasts them to the subgroup. On a CPU adapter a load costs as
// much as tens of multiplications.

// hook others
const OTHERS: u32 = 4u;
const LOADS: u32 = 2u;

// The index, within a tile, of the row that a load reads.
fn loaded(lane: u32, load: u32) -> u32 { return 8u * load + lane; }

fn shared_rows(rows: array<vec4<f32>, LOADS>) -> Others {
    var blocks: Others;
    blocks[0] = lower(rows[0]);
    blocks[1] = upper(rows[0]);
    blocks[2] = lower(rows[1]);
    blocks[3] = upper(rows[1]);
    return blocks;
}

fn lower(x: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(
        subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u), subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u));
}

fn upper(x: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(
        subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u), subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u));
}
// end others

// hook lane
struct Invocation { @builtin(subgroup_invocation_id) lane: u32 }
// end lane
