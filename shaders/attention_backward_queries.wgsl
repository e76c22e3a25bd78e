// The gradient of the queries, a tile of keys at a time.

@group(0) @binding(7) var<storage, read_write> grad_q: array<vec4<f32>>; // [batches, queries, heads, width]

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let here = place(group, groups, lane, params.queries);
    let rows = rows4(here.batch, here.row, params.queries, params.width);
    let stored = vec4(here.exists) & (here.row + SPAN < vec4(params.queries));
    let causal_end = min(params.keys, here.first + 4u * LANES);
    let end = select(0u, select(params.keys, causal_end, params.causal == 1u), here.exists);

    for (var tile = 0u; tile < end; tile += 4u * LANES) {
        var grad_score = weights(here.batch, here.row, tile + 4u * here.lane).grad_score;
        if (LANES > 1u) {
            blocks[lane] = grad_score;
            workgroupBarrier();
        }
        for (var c = here.lane; c < params.width; c += LANES) {
            let at = rows + c;
            var total = mat4x4<f32>();
            if (tile > 0u) { total = mat4x4(grad_q[at.x], grad_q[at.y], grad_q[at.z], grad_q[at.w]); }
            for (var other = 0u; other < LANES; other += 1u) {
                let keys = rows4(here.batch, tile + 4u * other, params.keys, params.width);
                if (LANES > 1u) { grad_score = blocks[lane / LANES * LANES + other]; }
                total += k4(keys + c) * grad_score;
            }
            if (stored.x) { grad_q[at.x] = total[0]; }
            if (stored.y) { grad_q[at.y] = total[1]; }
            if (stored.z) { grad_q[at.z] = total[2]; }
            if (stored.w) { grad_q[at.w] = total[3]; }
        }
        if (LANES > 1u) {
            workgroupBarrier();
        }
    }
}
