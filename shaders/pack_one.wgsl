// Rows of any length, and those whose elements do not lie side by side: what `pack_four.wgsl` is, for one element.

alias Pack = f32;
const WIDTH: u32 = 1u;

fn sum_of(v: Pack) -> f32 { return v; }
fn max_of(v: Pack) -> f32 { return v; }
fn exp_of(v: Pack) -> Pack { return exp_(v); }
fn element(v: Pack, i: u32) -> f32 { return v; }
fn one_hot(j: u32, i: u32) -> Pack { return select(0.0, 1.0, j == i); }
