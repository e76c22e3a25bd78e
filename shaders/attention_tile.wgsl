// What the kernels of attention for CPU adapters share: the scores of queries against keys, 4 rows against 4 others, as a
// matrix with a column for each row. The rows are queries and the others keys, or the other way about where it is
// gradients of keys that are summed.
//
// A workgroup has a tile of rows, 4 for each invocation, and goes along the others a tile of them at a time. Workgroup
// memory is slow there, and is not used. How others are read is the matter of attention_own.wgsl or
// attention_broadcast.wgsl.

const GROUP: u32 = 8u;
override MASK: u32 = 0u; // 0: none, 1: true where a key takes part, 2: added to the scores
override OF_KEYS: bool = false; // the rows are keys

struct Params {
    batches: u32, // times heads
    heads: u32, // of each batch
    queries: u32,
    keys: u32,
    width: u32, // of queries and keys, by four
    depth: u32, // of values, by four
    causal: u32,
    mask_outer: u32, // how far apart the mask's elements are: by batch, head, query and key
    mask_head: u32,
    mask_query: u32,
    mask_key: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>; // [batches, queries, heads, width]
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>; // [batches, keys, heads, width]
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>; // [batches, keys, heads, depth]
@group(0) @binding(4) var<storage, read> mask: array<u32>;

const ROWS: u32 = 4u * GROUP; // of a tile
const STEP: u32 = 4u * OTHERS; // others of a tile
const SPAN: vec4<u32> = vec4(0u, 1u, 2u, 3u);
const UNSEEN: f32 = -0x1.fffffep+127f; // what a key scores that is not seen: finite, so that no difference is NaN
const LOWEST: f32 = -0x1p+127f; // what a mask adds at least, so that no key that is seen scores as if it were not

alias At = array<u32, LOADS>;
alias Others = array<mat4x4<f32>, OTHERS>;

// Where an invocation works: the first row of its workgroup's tile, and its own first row there.
// The spare workgroups repeat the last tile, and must not store.
struct Place { exists: bool, batch: u32, first: u32, row: u32, invocation: u32 }

// The tiles lie along the rows, batch after batch.
fn place(invocation: Invocation) -> Place {
    let wanted = invocation.group.y * invocation.groups.x + invocation.group.x;
    let tiles = (row_count() + ROWS - 1u) / ROWS;
    let tile = min(wanted, tiles * params.batches - 1u);
    let first = tile % tiles * ROWS;
    let i = invocation.lane;
    return Place(wanted == tile, tile / tiles, first, first + 4u * i, i);
}

fn row_count() -> u32 { return select(params.queries, params.keys, OF_KEYS); }
fn other_count() -> u32 { return select(params.keys, params.queries, OF_KEYS); }

// Which of an invocation's rows it stores.
fn storing(here: Place) -> vec4<bool> {
    return vec4(here.exists) & (here.row + SPAN < vec4(row_count()));
}

// Where four rows of a batch's head begin in memory; those beyond the last are the last once more.
fn rows4(batch: u32, first: u32, count: u32, width: u32) -> vec4<u32> {
    let rows = batch / params.heads * count + min(first + SPAN, vec4(count - 1u));
    return (rows * params.heads + batch % params.heads) * width;
}

// Where an invocation's rows begin.
fn own(here: Place, width: u32) -> vec4<u32> {
    return rows4(here.batch, here.row, row_count(), width);
}

// Where those of the others begin, from the first on, that an invocation reads.
fn others(here: Place, first: u32, width: u32) -> At {
    var at: At;
    for (var i = 0u; i < LOADS; i += 1u) {
        at[i] = rows4(here.batch, first + loaded(here.invocation, i), other_count(), width).x;
    }
    return at;
}

// Where the numbers of four queries lie together, one of each; `first` is a multiple of four.
fn four(batch: u32, first: u32) -> u32 {
    return batch * ((params.queries + 3u) / 4u) + min(first, params.queries - 1u) / 4u;
}

// Four columns of an invocation's rows, and of the others, in what is multiplied to scores.
fn own_qk(at: vec4<u32>) -> mat4x4<f32> {
    if (OF_KEYS) { return mat4x4(k[at.x], k[at.y], k[at.z], k[at.w]); }
    return mat4x4(q[at.x], q[at.y], q[at.z], q[at.w]);
}

fn others_qk(at: At, c: u32) -> Others {
    var rows: array<vec4<f32>, LOADS>;
    for (var i = 0u; i < LOADS; i += 1u) {
        if (OF_KEYS) { rows[i] = q[at[i] + c]; } else { rows[i] = k[at[i] + c]; }
    }
    return together(rows);
}

fn scores(here: Place, other: u32) -> Others {
    let mine = own(here, params.width);
    let theirs = others(here, other, params.width);
    var all: Others;
    for (var c = 0u; c < params.width; c += 1u) {
        let x = own_qk(mine + c);
        let y = others_qk(theirs, c);
        for (var j = 0u; j < OTHERS; j += 1u) { all[j] += transpose(y[j]) * x; }
    }
    for (var j = 0u; j < OTHERS; j += 1u) {
        for (var i = 0u; i < 4u; i += 1u) {
            all[j][i] = seen(here.batch, vec4(here.row + i), other + 4u * j + SPAN, all[j][i] * params.scale);
        }
    }
    return all;
}

// The scores as the mask leaves them.
fn seen(batch: u32, rows: vec4<u32>, others: vec4<u32>, products: vec4<f32>) -> vec4<f32> {
    let queries = select(rows, others, OF_KEYS);
    let keys = select(others, rows, OF_KEYS);
    var score = products;
    var seen = (queries < vec4(params.queries)) & (keys < vec4(params.keys));
    seen &= vec4(params.causal == 0u) | (keys <= queries);
    if (MASK > 0u) {
        let first = batch / params.heads * params.mask_outer + batch % params.heads * params.mask_head;
        let along_queries = min(queries, vec4(params.queries - 1u)) * params.mask_query;
        let at = first + along_queries + min(keys, vec4(params.keys - 1u)) * params.mask_key;
        let bits = vec4(mask[at.x], mask[at.y], mask[at.z], mask[at.w]);
        seen &= bits != vec4(select(0xff800000u, 0u, MASK == 1u)); // minus infinity, or false
        if (MASK == 2u) {
            let more = bitcast<vec4<f32>>(bits);
            score += select(more, vec4(LOWEST), more < vec4(LOWEST));
        }
    }
    return select(vec4(UNSEEN), score, seen);
}

// The weights of keys, from their scores and the logarithms of what the queries' weights are shares of.
fn weights(scores: vec4<f32>, base: vec4<f32>) -> vec4<f32> {
    return select(exp4_(scores - base), vec4(0.0), scores == vec4(UNSEEN));
}
