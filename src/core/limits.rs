//! The limits of an adapter as plain data: `gpu` sets them, and `schedule` plans with them. Independent of wgpu.

/// The kind of an adapter, which determines the choice of kernels and the maximum length of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// A GPU with dedicated memory.
    Discrete,
    /// A GPU that shares memory with the CPU.
    Integrated,
    /// The CPU: llvmpipe or WARP.
    Software,
    /// A virtual or unknown GPU.
    Other,
}

/// The kind and the limits of an adapter: all information about a device that the scheduler uses.
///
/// Every adapter supports workgroups of 256 invocations with 16 KiB of workgroup memory (WebGPU's guaranteed minimum),
/// and the crate's kernels stay within these limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The kind of the adapter.
    pub kind: AdapterKind,
    /// Maximum number of storage buffers per kernel.
    pub storage_buffers: u32,
    /// Maximum size of a storage binding in bytes, which bounds the size of a tensor.
    pub binding_bytes: u64,
    /// Maximum size of a buffer in bytes.
    pub buffer_bytes: u64,
    /// Maximum size of a dispatch's uniforms in bytes.
    pub uniform_bytes: u32,
    /// Required alignment of a dispatch's uniforms in bytes.
    pub uniform_alignment: u32,
    /// Maximum number of workgroups per dimension of a dispatch.
    pub workgroups: u32,
    /// Maximum number of loop iterations per invocation, in total over all loops. llvmpipe silently ends a loop after
    /// 65,535 iterations.
    pub loop_iterations: u32,
    /// The minimum and the maximum subgroup size, if the adapter has subgroup operations. Metal reports 4 and 64.
    pub subgroup: Option<(u32, u32)>,
}

impl Limits {
    /// Number of iterations after which llvmpipe ends a loop. The crate uses it as the maximum for all software adapters.
    pub const SOFTWARE_LOOP_ITERATIONS: u32 = 65_535;

    /// Returns WebGPU's default limits, with [`AdapterKind::Software`]. A plan for these limits runs on any adapter.
    pub fn webgpu() -> Limits {
        Limits {
            kind: AdapterKind::Software,
            storage_buffers: 8,
            binding_bytes: 128 << 20,
            buffer_bytes: 256 << 20,
            uniform_bytes: 64 << 10,
            uniform_alignment: 256,
            workgroups: 65_535,
            loop_iterations: Self::SOFTWARE_LOOP_ITERATIONS,
            subgroup: None,
        }
    }
}
