// softmax(Q Kᵀ scale + mask) V for CPU adapters, a tile of keys at a time (Dao et al., 2022): when a tile raises the
// maximum of a row, the row's sums are multiplied by e^(old maximum - new maximum).

@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>; // [batches, queries, heads, depth]
@group(0) @binding(6) var<storage, read_write> lse: array<vec4<f32>>; // [batches, heads, queries / 4, rounded up]

fn others_v(at: At, c: u32) -> Others {
    var rows: array<vec4<f32>, LOADS>;
    for (var i = 0u; i < LOADS; i += 1u) { rows[i] = v[at[i] + c]; }
    return shared_rows(rows);
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    invocation: Invocation,
) {
    let lane = invocation.lane;
    let tile = tile_of(group, groups);
    let mine = own(tile, lane, params.depth);
    let stored = storing(tile, lane);
    let causal_end = min(params.keys, tile.first + ROWS);
    let end = select(0u, select(params.keys, causal_end, params.causal == 1u), tile.exists);

    var largest = vec4(UNSEEN);
    var sum = vec4(0.0);
    for (var first = 0u; first < end; first += STEP) {
        var found = scores(tile, lane, first);
        var top = largest;
        for (var j = 0u; j < OTHERS; j += 1u) {
            let by_key = transpose(found[j]);
            top = max(top, max(max(by_key[0], by_key[1]), max(by_key[2], by_key[3])));
        }
        let shrink = exp4_(largest - top);
        largest = top;
        sum *= shrink;
        for (var j = 0u; j < OTHERS; j += 1u) {
            for (var i = 0u; i < 4u; i += 1u) { found[j][i] = weights(found[j][i], vec4(top[i])); }
            sum += transpose(found[j]) * vec4(1.0);
        }
        let theirs = others(tile, lane, first, params.depth);
        for (var c = 0u; c < params.depth; c += 1u) {
            var total = mat4x4<f32>();
            if (first > 0u) {
                let before = out4(mine + c);
                total = mat4x4(
                    before[0] * shrink.x, before[1] * shrink.y, before[2] * shrink.z, before[3] * shrink.w);
            }
            let values = others_v(theirs, c);
            for (var j = 0u; j < OTHERS; j += 1u) { total += values[j] * found[j]; }
            store(mine + c, total, stored);
        }
    }

    let share = select(1.0 / sum, vec4(0.0), sum == vec4(0.0)); // zeros for a query whose keys are all masked
    for (var c = 0u; c < params.depth; c += 1u) {
        let total = out4(mine + c);
        store(mine + c, mat4x4(
            total[0] * share.x, total[1] * share.y, total[2] * share.z, total[3] * share.w), stored);
    }
    if (stored.x) {
        let logs = largest + vec4(log_(sum.x), log_(sum.y), log_(sum.z), log_(sum.w));
        let all = select(logs, vec4(UNSEEN), sum == vec4(0.0));
        lse[four(tile.batch, own_row(tile, lane))] = select(vec4(0.0), all, stored);
    }
}

fn out4(at: vec4<u32>) -> mat4x4<f32> { return mat4x4(out[at.x], out[at.y], out[at.z], out[at.w]); }

fn store(at: vec4<u32>, rows: mat4x4<f32>, stored: vec4<bool>) {
    if (stored.x) { out[at.x] = rows[0]; }
    if (stored.y) { out[at.y] = rows[1]; }
    if (stored.z) { out[at.z] = rows[2]; }
    if (stored.w) { out[at.w] = rows[3]; }
}
