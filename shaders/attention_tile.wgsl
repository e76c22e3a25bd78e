// What the kernels of attention share: the scores of 4 queries against 4 keys, as a matrix with a column for each query.
// LANES x LANES invocations share a tile of 4 LANES queries by 4 LANES keys; on a CPU adapter each has its own.

override GROUP: u32 = 64u;
override LANES: u32 = 8u;
override MASK: u32 = 0u; // 0: none, 1: true where a key takes part, 2: added to the scores

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

const SPAN: vec4<u32> = vec4(0u, 1u, 2u, 3u);
const LOWEST: f32 = -0x1.fffffep+127f; // what a key scores that is not seen: finite, so that no difference is NaN

var<workgroup> blocks: array<mat4x4<f32>, GROUP>;

// Where an invocation works: the first row of its tile, its own first row there, and its lane along the other side. The
// spare invocations repeat the last tile, and must not store.
struct Place { exists: bool, batch: u32, first: u32, row: u32, lane: u32 }

// The tiles lie along `rows`, batch after batch.
fn place(group: vec3<u32>, groups: vec3<u32>, lane: u32, rows: u32) -> Place {
    let wanted = (group.y * groups.x + group.x) * (GROUP / (LANES * LANES)) + lane / (LANES * LANES);
    let tiles = (rows + 4u * LANES - 1u) / (4u * LANES);
    let tile = min(wanted, tiles * params.batches - 1u);
    let first = tile % tiles * 4u * LANES;
    return Place(wanted == tile, tile / tiles, first, first + lane / LANES % LANES * 4u, lane % LANES);
}

// Where four rows of a batch's head begin in memory; those beyond the last are the last once more.
fn rows4(batch: u32, first: u32, count: u32, width: u32) -> vec4<u32> {
    let rows = batch / params.heads * count + min(first + SPAN, vec4(count - 1u));
    return (rows * params.heads + batch % params.heads) * width;
}

fn q4(at: vec4<u32>) -> mat4x4<f32> { return mat4x4(q[at.x], q[at.y], q[at.z], q[at.w]); }
fn k4(at: vec4<u32>) -> mat4x4<f32> { return mat4x4(k[at.x], k[at.y], k[at.z], k[at.w]); }
fn v4(at: vec4<u32>) -> mat4x4<f32> { return mat4x4(v[at.x], v[at.y], v[at.z], v[at.w]); }

struct Scores { value: mat4x4<f32>, seen: mat4x4<f32> } // seen: 1 or 0

fn scores(batch: u32, query: u32, key: u32) -> Scores {
    let queries = rows4(batch, query, params.queries, params.width);
    let keys = rows4(batch, key, params.keys, params.width);
    var all: Scores;
    for (var c = 0u; c < params.width; c += 1u) {
        all.value += transpose(k4(keys + c)) * q4(queries + c);
    }
    let ids = key + SPAN;
    let mask_keys = min(ids, vec4(params.keys - 1u)) * params.mask_key;
    let mask_batch = batch / params.heads * params.mask_outer + batch % params.heads * params.mask_head;
    for (var i = 0u; i < 4u; i += 1u) {
        var score = all.value[i] * params.scale;
        let last = select(params.keys, min(params.keys, query + i + 1u), params.causal == 1u);
        var seen = ids < vec4(select(0u, last, query + i < params.queries));
        if (MASK > 0u) {
            let at = mask_batch + min(query + i, params.queries - 1u) * params.mask_query + mask_keys;
            let bits = vec4(mask[at.x], mask[at.y], mask[at.z], mask[at.w]);
            seen &= bits != vec4(select(0xff800000u, 0u, MASK == 1u)); // minus infinity, or false
            if (MASK == 2u) { score += bitcast<vec4<f32>>(bits); }
        }
        all.value[i] = select(vec4(LOWEST), score, seen);
        all.seen[i] = select(vec4(0.0), vec4(1.0), seen);
    }
    return all;
}
