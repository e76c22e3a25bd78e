// The operands and results of the backward kernels of attention, after those of `attention_operands.wgsl`.

@group(0) @binding(5) var<storage, read> grad: array<vec4<f32>>; // [batches, queries, heads, depth]
@group(0) @binding(6) var<storage, read> out: array<vec4<f32>>; // [batches, queries, heads, depth]
@group(0) @binding(7) var<storage, read> lse: array<vec4<f32>>; // [batches, heads, queries / 4, rounded up]
// The gradients of queries, keys and values, and out · grad (with the shape of `lse`), one after another.
@group(0) @binding(8) var<storage, read_write> gradients: array<vec4<f32>>;

fn of_keys() -> u32 { return params.batches * params.queries * params.width; }
fn of_values() -> u32 { return of_keys() + params.batches * params.keys * params.width; }
fn of_outs() -> u32 { return of_values() + params.batches * params.keys * params.depth; }
