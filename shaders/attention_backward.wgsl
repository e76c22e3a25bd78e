// What the backward kernels of attention share: the weights of 4 queries on 4 keys, from the saved log-sum-exp, and the
// gradients of their scores.

@group(0) @binding(5) var<storage, read> grad: array<vec4<f32>>; // [batches, queries, heads, depth]
@group(0) @binding(6) var<storage, read> saved: array<vec2<f32>>; // [batches, queries, heads]: log-sum-exp, and out · grad

fn grad4(at: vec4<u32>) -> mat4x4<f32> { return mat4x4(grad[at.x], grad[at.y], grad[at.z], grad[at.w]); }

struct Weights { value: mat4x4<f32>, grad_score: mat4x4<f32> } // a column for each query

fn weights(batch: u32, query: u32, key: u32) -> Weights {
    let found = scores(batch, query, key);
    let grads = rows4(batch, query, params.queries, params.depth);
    let values = rows4(batch, key, params.keys, params.depth);
    var products = mat4x4<f32>();
    for (var c = 0u; c < params.depth; c += 1u) {
        products += transpose(v4(values + c)) * grad4(grads + c);
    }
    let at = rows4(batch, query, params.queries, 1u);
    var all: Weights;
    for (var i = 0u; i < 4u; i += 1u) {
        let row = saved[at[i]];
        all.value[i] = exp4_(found.value[i] - row.x) * found.seen[i];
        all.grad_score[i] = all.value[i] * (products[i] - row.y) * params.scale;
    }
    return all;
}
