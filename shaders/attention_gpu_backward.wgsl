// The gradients of attention for GPUs. The gradient of the queries is summed over tiles of keys, those of the keys and
// values over tiles of queries. Let G be the gradient of the result, P the weights, recomputed from the saved
// log-sum-exp, and S = P (G Vᵀ - out · G) scale the gradient of the unscaled scores. Then
//
//   the gradient of Q is S K, that of K is Sᵀ Q, and that of V is Pᵀ G.
//
// The first dispatch computes the gradient of the queries and out · grad. In the second, each workgroup computes
// gradients of either keys or values: both at once would need more registers per invocation than many GPUs have.

override ROWS_ARE_KEYS: bool = false;

// out · grad of each row, if rows are queries.
var<workgroup> levels: array<f32, ROWS>;

fn load(matrix: u32, at: u32) -> vec4<f32> {
    if (matrix == QUERIES) { return q[at]; }
    if (matrix == KEYS) { return k[at]; }
    if (matrix == VALUES) { return v[at]; }
    return grad[at];
}

fn put(matrix: u32, at: u32, value: vec4<f32>) {
    gradients[at + select(select(0u, of_keys(), matrix == KEYS), of_values(), matrix == VALUES)] = value;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let slices = slices_of(KEYS);
    var tile = tile_of(group, groups, slices + select(0u, slices_of(VALUES), ROWS_ARE_KEYS));
    let of_values = ROWS_ARE_KEYS && tile.slice >= slices;
    tile.slice -= select(0u, slices, of_values);
    let thread = thread_of(index);
    let causal = params.causal == 1u;
    let begin = select(0u, tile.first, ROWS_ARE_KEYS && causal); // earlier queries do not see these keys
    let causal_end = min(params.keys, tile.first + ROWS);
    let end = select(0u, select(other_count(), causal_end, !ROWS_ARE_KEYS && causal), tile.exists);
    if (!ROWS_ARE_KEYS) {
        if (index < ROWS) {
            levels[index] = level(tile, tile.first + index);
        }
        workgroupBarrier();
        if (tile.exists && tile.slice == 0u && index < ROW_VEC4S) {
            store_levels(tile, 4u * index);
        }
    }

    var sums = Block();
    for (var first = begin; first < end; first += OTHERS) {
        let weights = all_weights(tile, thread, first);
        if (of_values) {
            sums = plus_weighted(tile, thread, sums, weights, OUTS, first);
        } else {
            let grads = products(
                tile, thread, select(OUTS, VALUES, ROWS_ARE_KEYS), select(VALUES, OUTS, ROWS_ARE_KEYS), first);
            let grad_scores = score_gradients(tile, thread, first, weights, grads);
            sums = plus_weighted(tile, thread, sums, grad_scores, select(KEYS, QUERIES, ROWS_ARE_KEYS), first);
        }
    }
    store(tile, thread, select(select(QUERIES, KEYS, ROWS_ARE_KEYS), VALUES, of_values), sums);
}

fn level(tile: Tile, query: u32) -> f32 {
    let start = row_start(tile, OUTS, query);
    var sum = 0.0;
    for (var c = 0u; c < params.depth; c += 1u) {
        sum += dot(out[start + c], grad[start + c]);
    }
    return sum;
}

fn levels4(row: u32) -> vec4<f32> {
    return vec4(levels[row], levels[row + 1u], levels[row + 2u], levels[row + 3u]);
}

fn store_levels(tile: Tile, row: u32) {
    let query = tile.first + row;
    if (query < params.queries) {
        let queries = query + vec4(0u, 1u, 2u, 3u);
        gradients[of_outs() + four(tile.batch, query)] =
            select(vec4(0.0), levels4(row), queries < vec4(params.queries));
    }
}

// Returns a block in which each query's value fills the query's row, or its column if the rows are keys.
fn by_query(rows: vec4<f32>, others: vec4<f32>) -> mat4x4<f32> {
    if (ROWS_ARE_KEYS) {
        return mat4x4(vec4(others.x), vec4(others.y), vec4(others.z), vec4(others.w));
    }
    return mat4x4(rows, rows, rows, rows);
}

// The index of the first of the others in an invocation's columns.
fn own_other(thread: Thread, first: u32) -> u32 { return first + 32u * thread.team + 4u * thread.x; }

// The log-sum-exp of four queries; LOWEST for a query whose keys are all masked.
fn base4(tile: Tile, query: u32) -> vec4<f32> {
    let base = lse[four(tile.batch, query)];
    return select(base, vec4(LOWEST), base < vec4(LOWEST));
}

fn all_weights(tile: Tile, thread: Thread, first: u32) -> Block {
    let scores = scores(tile, thread, first);
    var low: vec4<f32>;
    var high: vec4<f32>;
    var others: vec4<f32>;
    if (ROWS_ARE_KEYS) {
        others = base4(tile, own_other(thread, first));
    } else {
        low = base4(tile, tile.first + 4u * thread.y);
        high = base4(tile, tile.first + 4u * thread.y + 32u);
    }
    return Block(weights4(scores.low, by_query(low, others)), weights4(scores.high, by_query(high, others)));
}

fn weights4(scores: mat4x4<f32>, base: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(
        weights(scores[0], base[0]),
        weights(scores[1], base[1]),
        weights(scores[2], base[2]),
        weights(scores[3], base[3]));
}

fn score_gradients(tile: Tile, thread: Thread, first: u32, weights: Block, grads: Block) -> Block {
    var low: vec4<f32>;
    var high: vec4<f32>;
    var others: vec4<f32>;
    if (ROWS_ARE_KEYS) {
        others = gradients[of_outs() + four(tile.batch, own_other(thread, first))];
    } else {
        low = levels4(4u * thread.y);
        high = levels4(4u * thread.y + 32u);
    }
    return Block(
        score_gradients4(weights.low, grads.low, by_query(low, others)),
        score_gradients4(weights.high, grads.high, by_query(high, others)));
}

fn score_gradients4(weights: mat4x4<f32>, grads: mat4x4<f32>, levels: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(
        weights[0] * (grads[0] - levels[0]) * params.scale,
        weights[1] * (grads[1] - levels[1]) * params.scale,
        weights[2] * (grads[2] - levels[2]) * params.scale,
        weights[3] * (grads[3] - levels[3]) * params.scale);
}
