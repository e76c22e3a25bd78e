// The variant of `conv.wgsl` and `conv_weight.wgsl` where a workgroup is a subgroup of eight invocations.

// hook subgroups
const LANES: u32 = 8u;
fn shared_by(lane: u32, own: f32) -> f32 { return subgroupShuffle(own, lane); }
// end subgroups
