// The variant of `rows.wgsl` for contiguous rows whose length is a multiple of four.

// hook pack
alias Pack = vec4<f32>;
const WIDTH: u32 = 4u; // elements of a pack

fn sum_of(v: Pack) -> f32 { return (v.x + v.y) + (v.z + v.w); }
fn max_of(v: Pack) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn exp_of(v: Pack) -> Pack { return exp4_(v); }
fn element(v: Pack, i: u32) -> f32 { return v[i]; }

// Pack `j` of a one-hot row: 1 at element `i`, 0 elsewhere.
fn one_hot(j: u32, i: u32) -> Pack {
    return select(Pack(0.0), Pack(1.0), vec4(4u * j) + vec4(0u, 1u, 2u, 3u) == vec4(i));
}
// end pack
