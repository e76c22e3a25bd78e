// Of the sixteen others that an invocation of attention works against each of a subgroup of eight reads two, and hands
// them to all: on a CPU adapter a load costs as much as tens of multiplications.

const OTHERS: u32 = 4u;
const LOADS: u32 = 2u;

struct Invocation {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
}

// Which of the others a load reads.
fn loaded(invocation: u32, load: u32) -> u32 { return 8u * load + invocation; }

fn together(rows: array<vec4<f32>, LOADS>) -> Others {
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
