// softmax(Q Kᵀ scale + mask) V for GPUs, a tile of keys at a time. Weights are e^(score - maximum so far): when a tile
// raises the maximum of a row, the row's sums are multiplied by e^(old maximum - new maximum).

@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>; // [batches, queries, heads, depth]
@group(0) @binding(6) var<storage, read_write> lse: array<vec4<f32>>; // [batches, heads, queries / 4, rounded up]

const ROWS_ARE_KEYS: bool = false;

// For each group of four rows: the maximum scores so far, and the factors for their sums.
var<workgroup> largest: array<vec4<f32>, ROW_VEC4S>;
var<workgroup> factor: array<vec4<f32>, ROW_VEC4S>;

fn load(matrix: u32, at: u32) -> vec4<f32> {
    if (matrix == QUERIES) { return q[at]; }
    if (matrix == KEYS) { return k[at]; }
    return v[at];
}

fn put(matrix: u32, at: u32, value: vec4<f32>) { out[at] = value; }

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let tile = tile_of(group, groups, slices_of(OUTS));
    let thread = thread_of(index);
    let causal_end = min(params.keys, tile.first + ROWS);
    let end = select(0u, select(params.keys, causal_end, params.causal == 1u), tile.exists);
    if (index < ROW_VEC4S) {
        largest[index] = vec4(LOWEST);
    }

    var sums = Block();
    var low = vec4(0.0); // `low` and `high`: sums of this invocation's weights, by row as in a Block
    var high = vec4(0.0);
    for (var first = 0u; first < end; first += OTHERS) {
        let scores = scores(tile, thread, first);
        workgroupBarrier();
        stage_part(thread, largest4(scores.low), largest4(scores.high));
        workgroupBarrier();
        if (index < ROW_VEC4S) {
            raise(index);
        }
        workgroupBarrier();
        let weights = Block(
            weights4(scores.low, largest[thread.y]), weights4(scores.high, largest[thread.y + 8u]));
        let shrink_low = factor[thread.y];
        let shrink_high = factor[thread.y + 8u];
        low = low * shrink_low + sum4(weights.low);
        high = high * shrink_high + sum4(weights.high);
        sums = times_rows(sums, shrink_low, shrink_high);
        sums = plus_weighted(tile, thread, sums, weights, VALUES, first);
    }

    workgroupBarrier();
    stage_part(thread, low, high);
    workgroupBarrier();
    if (index < ROW_VEC4S) {
        finish(tile, index);
    }
    workgroupBarrier();
    store(tile, thread, OUTS, times_rows(sums, factor[thread.y], factor[thread.y + 8u]));
}

fn largest4(scores: mat4x4<f32>) -> vec4<f32> {
    return max(max(scores[0], scores[1]), max(scores[2], scores[3]));
}

fn sum4(weights: mat4x4<f32>) -> vec4<f32> {
    return (weights[0] + weights[1]) + (weights[2] + weights[3]);
}

fn weights4(scores: mat4x4<f32>, base: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(
        weights(scores[0], base), weights(scores[1], base), weights(scores[2], base), weights(scores[3], base));
}

// Stages, for each row of an invocation, a partial result over its columns. `raise` and `finish` combine them.
fn stage_part(thread: Thread, low: vec4<f32>, high: vec4<f32>) {
    let at = (8u * thread.team + thread.x) * ROW_VEC4S + thread.y;
    staged[at] = low;
    staged[at + 8u] = high;
}

// Computes the new maxima of four rows, and the factors for their sums.
fn raise(row: u32) {
    let before = largest[row];
    var all = before;
    for (var i = 0u; i < OTHER_VEC4S; i += 1u) {
        all = max(all, staged[i * ROW_VEC4S + row]);
    }
    largest[row] = all;
    factor[row] = exp4_(before - all);
}

// Sums the weights of four rows, and computes the log-sum-exp and the factors that turn weighted sums into weighted
// means. A query whose keys are all masked gets zeros.
fn finish(tile: Tile, row: u32) {
    var sum = vec4(0.0);
    for (var i = 0u; i < OTHER_VEC4S; i += 1u) {
        sum += staged[i * ROW_VEC4S + row];
    }
    factor[row] = select(1.0 / sum, vec4(0.0), sum == vec4(0.0));
    let query = tile.first + 4u * row;
    if (tile.exists && tile.slice == 0u && query < params.queries) {
        let logs = largest[row] + vec4(log_(sum.x), log_(sum.y), log_(sum.z), log_(sum.w));
        let all = select(logs, vec4(UNSEEN), sum == vec4(0.0));
        let queries = query + vec4(0u, 1u, 2u, 3u);
        lse[four(tile.batch, query)] = select(vec4(0.0), all, queries < vec4(params.queries));
    }
}
