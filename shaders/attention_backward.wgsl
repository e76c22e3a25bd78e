// The gradients of attention for CPU adapters: of the queries, a tile of keys at a time, or of keys and values, a tile
// of queries at a time. The weights are recomputed from the saved log-sum-exp.

// Four columns of the output's gradient or the values, whose products are the gradients of the weights: `own_gv` of an
// invocation's rows, `others_gv` of the others.
fn own_gv(at: vec4<u32>) -> mat4x4<f32> {
    if (OF_KEYS) { return mat4x4(v[at.x], v[at.y], v[at.z], v[at.w]); }
    return mat4x4(grad[at.x], grad[at.y], grad[at.z], grad[at.w]);
}

fn others_gv(at: At, c: u32) -> Others {
    var rows: array<vec4<f32>, LOADS>;
    for (var i = 0u; i < LOADS; i += 1u) {
        if (OF_KEYS) { rows[i] = grad[at[i] + c]; } else { rows[i] = v[at[i] + c]; }
    }
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
    let causal = params.causal == 1u;
    // With a causal mask, queries before these keys do not attend to them. If no query attends to them, the loop starts
    // at query 0, so that zeros are written.
    let begin = select(0u, tile.first, OF_KEYS && causal && tile.first < params.queries);
    let causal_end = min(params.keys, tile.first + ROWS);
    let end = select(0u, select(other_count(), causal_end, !OF_KEYS && causal), tile.exists);

    var level = vec4(0.0); // out · grad
    var base = vec4(0.0);
    if (!OF_KEYS) {
        for (var c = 0u; c < params.depth; c += 1u) {
            let at = mine + c;
            let g = own_gv(at);
            level += vec4(dot(out[at.x], g[0]), dot(out[at.y], g[1]), dot(out[at.z], g[2]), dot(out[at.w], g[3]));
        }
        base = lse[four(tile.batch, own_row(tile, lane))];
        if (stored.x) {
            gradients[of_outs() + four(tile.batch, own_row(tile, lane))] = select(vec4(0.0), level, stored);
        }
    }

    for (var first = begin; first < end; first += STEP) {
        var value = scores(tile, lane, first);
        var grad_score: Others;
        let theirs = others(tile, lane, first, params.depth);
        for (var c = 0u; c < params.depth; c += 1u) {
            let x = own_gv(mine + c);
            let y = others_gv(theirs, c);
            for (var j = 0u; j < OTHERS; j += 1u) { grad_score[j] += transpose(y[j]) * x; }
        }
        for (var j = 0u; j < OTHERS; j += 1u) {
            let query = four(tile.batch, first + 4u * j);
            for (var i = 0u; i < 4u; i += 1u) {
                var bases = vec4(base[i]);
                var levels = vec4(level[i]);
                if (OF_KEYS) {
                    bases = lse[query];
                    levels = gradients[of_outs() + query];
                }
                value[j][i] = weights(value[j][i], bases);
                grad_score[j][i] = value[j][i] * (grad_score[j][i] - levels) * params.scale;
            }
        }
        let their_qk = others(tile, lane, first, params.width);
        for (var c = 0u; c < params.width; c += 1u) {
            var total = mat4x4<f32>();
            let rows = others_qk(their_qk, c);
            for (var j = 0u; j < OTHERS; j += 1u) { total += rows[j] * grad_score[j]; }
            add(own(tile, lane, params.width) + c + select(0u, of_keys(), OF_KEYS), stored, first == begin, total);
        }
        for (var c = 0u; c < select(0u, params.depth, OF_KEYS); c += 1u) {
            var total = mat4x4<f32>();
            let rows = others_gv(theirs, c);
            for (var j = 0u; j < OTHERS; j += 1u) { total += rows[j] * value[j]; }
            add(mine + c + of_values(), stored, first == begin, total);
        }
    }
}

// Adds to four rows of gradients, or overwrites them if `begins` is set.
fn add(at: vec4<u32>, stored: vec4<bool>, begins: bool, more: mat4x4<f32>) {
    var total = more;
    if (!begins) {
        total += mat4x4(gradients[at.x], gradients[at.y], gradients[at.z], gradients[at.w]);
    }
    if (stored.x) { gradients[at.x] = total[0]; }
    if (stored.y) { gradients[at.y] = total[1]; }
    if (stored.z) { gradients[at.z] = total[2]; }
    if (stored.w) { gradients[at.w] = total[3]; }
}
