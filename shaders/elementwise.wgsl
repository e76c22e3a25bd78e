// Elementwise kernels: each invocation computes one index of the iteration space, or four neighbours as a vec4. Several
// kernels may share a dispatch. Codegen fills the hooks; the defaults double a vector. Codegen replaces the suffix `_0`
// to make each kernel's names unique. `workgroup.wgsl` is the prelude.

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

// `group` is the workgroup's index within this kernel.
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
