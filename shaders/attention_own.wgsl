// An invocation of attention works against four others, which it reads itself.

const OTHERS: u32 = 1u;
const LOADS: u32 = 4u;

struct Invocation {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

// Which of the others a load reads.
fn loaded(invocation: u32, load: u32) -> u32 { return load; }

fn together(rows: array<vec4<f32>, LOADS>) -> Others {
    var blocks: Others;
    blocks[0] = mat4x4(rows[0], rows[1], rows[2], rows[3]);
    return blocks;
}
