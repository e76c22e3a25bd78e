// The operands of every attention kernel, and constants of the mask.

override MASK: u32 = 0u; // 0: none, 1: bool, false where a key is masked, 2: added to the scores

struct Params {
    batches: u32, // times heads
    heads: u32, // of each batch
    queries: u32,
    keys: u32,
    width: u32, // of queries and keys, in vec4
    depth: u32, // of values, in vec4
    causal: u32,
    mask_outer: u32, // strides of the mask along batch, head, query and key
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

const UNSEEN: f32 = -0x1.fffffep+127f; // the score of a masked key: finite, so that no difference is NaN
const LOWEST: f32 = -0x1p+127f; // lower bound of an additive mask, so that only a masked key scores UNSEEN

// Four scores after masking. `in_range` is false for pairs beyond the last query or key.
fn masked(
    outer: u32, head: u32, queries: vec4<u32>, keys: vec4<u32>, in_range: vec4<bool>, products: vec4<f32>,
) -> vec4<f32> {
    var score = products;
    var seen = in_range & (vec4(params.causal == 0u) | (keys <= queries));
    if (MASK > 0u) {
        let along_queries = min(queries, vec4(params.queries - 1u)) * params.mask_query;
        let along_keys = min(keys, vec4(params.keys - 1u)) * params.mask_key;
        let at = outer * params.mask_outer + head * params.mask_head + along_queries + along_keys;
        let bits = vec4(mask[at.x], mask[at.y], mask[at.z], mask[at.w]);
        seen &= bits != vec4(select(0xff800000u, 0u, MASK == 1u)); // minus infinity, or false
        if (MASK == 2u) {
            let more = bitcast<vec4<f32>>(bits);
            score += select(more, vec4(LOWEST), more < vec4(LOWEST));
        }
    }
    return select(vec4(UNSEEN), score, seen);
}

// The index of the vec4 that has one value for each of four queries, from `first` on, which is a multiple of four.
fn four(batch: u32, first: u32) -> u32 {
    return batch * ((params.queries + 3u) / 4u) + min(first, params.queries - 1u) / 4u;
}
