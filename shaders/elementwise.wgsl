// Kernels of elementwise operations: each computes every index of its space once. Several may share a dispatch. Codegen
// fills the hooks; as it is, this file doubles a vector. Names that end in `_0` are the kernel's own. It stands
// on `workgroup.wgsl`.

override GROUP: u32 = 64u;

// hook bindings
struct Params { len_0: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0_0: array<f32>; // [len]
@group(0) @binding(2) var<storage, read_write> y0_0: array<f32>; // [len]
// end bindings

// hook kernel
// hook element
fn element_0(i: u32) {
    y0_0[i] = 2.0 * x0_0[i];
}
// end element

// `group` counts the kernel's own workgroups.
fn kernel_0(group: u32, workgroup: Workgroup, invocation: Invocation) {
    let i = group * GROUP + invocation.index;
    if (i < params.len_0) {
        element_0(i);
    }
}
// end kernel

@compute @workgroup_size(GROUP)
fn main(workgroup: Workgroup, invocation: Invocation) {
    let group = index_of(workgroup);
    // hook call
    kernel_0(group, workgroup, invocation);
    // end call
}
