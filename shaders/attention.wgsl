// softmax(Q Kᵀ scale + mask) V a tile of keys at a time (Dao et al., 2022): when a tile raises the maximum of a row, what was
// summed before shrinks.

@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>; // [batches, queries, heads, depth]
@group(0) @binding(6) var<storage, read_write> lse: array<f32>; // [batches, queries, heads]

var<workgroup> parts: array<vec4<f32>, GROUP>;

// Combines the lanes of a row; every lane gets the result.
fn across(lane: u32, part: vec4<f32>, sum: bool) -> vec4<f32> {
    if (LANES == 1u) { return part; }
    parts[lane] = part;
    workgroupBarrier();
    let first = lane / LANES * LANES;
    var all = parts[first];
    for (var other = 1u; other < LANES; other += 1u) {
        all = select(max(all, parts[first + other]), all + parts[first + other], sum);
    }
    workgroupBarrier();
    return all;
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let here = place(group, groups, lane, params.queries);
    let rows = rows4(here.batch, here.row, params.queries, params.depth);
    let stored = vec4(here.exists) & (here.row + SPAN < vec4(params.queries));
    let causal_end = min(params.keys, here.first + 4u * LANES);
    let end = select(0u, select(params.keys, causal_end, params.causal == 1u), here.exists);

    var largest = vec4(LOWEST);
    var sum = vec4(0.0); // of this lane's keys
    for (var tile = 0u; tile < end; tile += 4u * LANES) {
        let found = scores(here.batch, here.row, tile + 4u * here.lane);
        let by_key = transpose(found.value);
        let top = max(max(by_key[0], by_key[1]), max(by_key[2], by_key[3]));
        let raised = across(lane, max(largest, top), false);
        let shrink = exp4_(largest - raised);
        largest = raised;
        var weights: mat4x4<f32>;
        for (var i = 0u; i < 4u; i += 1u) {
            weights[i] = exp4_(found.value[i] - largest[i]) * found.seen[i];
        }
        sum = sum * shrink + transpose(weights) * vec4(1.0);
        if (LANES > 1u) {
            blocks[lane] = weights;
            workgroupBarrier();
        }
        for (var c = here.lane; c < params.depth; c += LANES) {
            var total = mat4x4<f32>();
            if (tile > 0u) {
                let before = out4(rows + c);
                total = mat4x4(
                    before[0] * shrink.x, before[1] * shrink.y, before[2] * shrink.z, before[3] * shrink.w);
            }
            for (var other = 0u; other < LANES; other += 1u) {
                let keys = rows4(here.batch, tile + 4u * other, params.keys, params.depth);
                if (LANES > 1u) { weights = blocks[lane / LANES * LANES + other]; }
                total += v4(keys + c) * weights;
            }
            store(rows + c, total, stored);
        }
        if (LANES > 1u) {
            workgroupBarrier();
        }
    }
    sum = across(lane, sum, true);

    let share = select(1.0 / sum, vec4(0.0), sum == vec4(0.0)); // a query that sees no key gets zeros
    for (var c = here.lane; c < params.depth; c += LANES) {
        let total = out4(rows + c);
        store(rows + c, mat4x4(
            total[0] * share.x, total[1] * share.y, total[2] * share.z, total[3] * share.w), stored);
    }
    let at = rows4(here.batch, here.row, params.queries, 1u);
    for (var i = 0u; i < 4u; i += 1u) {
        if (stored[i] && here.lane == 0u) {
            lse[at[i]] = select(largest[i] + log_(sum[i]), LOWEST, sum[i] == 0.0);
        }
    }
}

fn out4(at: vec4<u32>) -> mat4x4<f32> { return mat4x4(out[at.x], out[at.y], out[at.z], out[at.w]); }

fn store(at: vec4<u32>, rows: mat4x4<f32>, stored: vec4<bool>) {
    if (stored.x) { out[at.x] = rows[0]; }
    if (stored.y) { out[at.y] = rows[1]; }
    if (stored.z) { out[at.z] = rows[2]; }
    if (stored.w) { out[at.w] = rows[3]; }
}
