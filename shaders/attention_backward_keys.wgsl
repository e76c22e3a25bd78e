// The gradients of the keys and of the values, a tile of queries at a time.

@group(0) @binding(7) var<storage, read_write> grad_k: array<vec4<f32>>; // [batches, keys, heads, width]
@group(0) @binding(8) var<storage, read_write> grad_v: array<vec4<f32>>; // [batches, keys, heads, depth]

var<workgroup> score_blocks: array<mat4x4<f32>, GROUP>;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let here = place(group, groups, lane, params.keys);
    let of_key = rows4(here.batch, here.row, params.keys, params.width);
    let of_value = rows4(here.batch, here.row, params.keys, params.depth);
    let stored = vec4(here.exists) & (here.row + SPAN < vec4(params.keys));
    // A key is seen by no query before it; the first tile of queries is taken all the same, to write the zeros.
    let begin = select(0u, here.first, params.causal == 1u && here.first < params.queries);
    let end = select(0u, params.queries, here.exists);

    for (var tile = begin; tile < end; tile += 4u * LANES) {
        let found = weights(here.batch, tile + 4u * here.lane, here.row);
        // A column for each key.
        var by_key = transpose(found.value);
        var score_by_key = transpose(found.grad_score);
        if (LANES > 1u) {
            blocks[lane] = by_key;
            score_blocks[lane] = score_by_key;
            workgroupBarrier();
        }
        for (var c = here.lane; c < params.depth; c += LANES) {
            let at = of_value + c;
            var total = mat4x4<f32>();
            if (tile > begin) { total = mat4x4(grad_v[at.x], grad_v[at.y], grad_v[at.z], grad_v[at.w]); }
            for (var other = 0u; other < LANES; other += 1u) {
                let queries = rows4(here.batch, tile + 4u * other, params.queries, params.depth);
                if (LANES > 1u) { by_key = blocks[lane / LANES * LANES + other]; }
                total += grad4(queries + c) * by_key;
            }
            if (stored.x) { grad_v[at.x] = total[0]; }
            if (stored.y) { grad_v[at.y] = total[1]; }
            if (stored.z) { grad_v[at.z] = total[2]; }
            if (stored.w) { grad_v[at.w] = total[3]; }
        }
        for (var c = here.lane; c < params.width; c += LANES) {
            let at = of_key + c;
            var total = mat4x4<f32>();
            if (tile > begin) { total = mat4x4(grad_k[at.x], grad_k[at.y], grad_k[at.z], grad_k[at.w]); }
            for (var other = 0u; other < LANES; other += 1u) {
                let queries = rows4(here.batch, tile + 4u * other, params.queries, params.width);
                if (LANES > 1u) { score_by_key = score_blocks[lane / LANES * LANES + other]; }
                total += q4(queries + c) * score_by_key;
            }
            if (stored.x) { grad_k[at.x] = total[0]; }
            if (stored.y) { grad_k[at.y] = total[1]; }
            if (stored.z) { grad_k[at.z] = total[2]; }
            if (stored.w) { grad_k[at.w] = total[3]; }
        }
        if (LANES > 1u) {
            workgroupBarrier();
        }
    }
}
