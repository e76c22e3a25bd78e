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

// The index of the vec4 that has one value for each of four queries, from `first` on, which is a multiple of four.
fn four(batch: u32, first: u32) -> u32 {
    return batch * ((params.queries + 3u) / 4u) + min(first, params.queries - 1u) / 4u;
}
