// The variant of `conv_weight.wgsl` where invocations share gradients (`conv_subgroups.wgsl`): a workgroup has one
// chunk.

// hook index
fn shared_index(workgroup: u32, invocation: u32) -> u32 { return workgroup * GROUP; }
fn own_index(invocation: u32) -> u32 { return invocation; }
// end index
