//! The limits of an adapter as plain data: `gpu` fills them in, `schedule` plans with them. Does not know wgpu.

/// The kind of an adapter. It decides which kernels are chosen, and how long a submission may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// A GPU with its own memory.
    Discrete,
    /// A GPU that shares memory with the CPU.
    Integrated,
    /// The CPU: llvmpipe or WARP.
    Software,
    /// A virtual or unknown GPU.
    Other,
}

/// The kind and the limits of an adapter: everything that the scheduler knows about a device.
///
/// Every adapter runs workgroups of 256 invocations with 16 KiB of workgroup memory, WebGPU's minimum; the crate's kernels
/// take no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The kind of the adapter.
    pub kind: AdapterKind,
    /// Storage buffers per kernel.
    pub storage_buffers: u32,
    /// Bytes of a storage binding, which bounds the size of a tensor.
    pub binding_bytes: u64,
    /// Bytes of a buffer.
    pub buffer_bytes: u64,
    /// Bytes of the uniforms of a dispatch.
    pub uniform_bytes: u32,
    /// The alignment of a dispatch's uniforms in bytes.
    pub uniform_alignment: u32,
    /// Workgroups per dimension of a dispatch.
    pub workgroups: u32,
    /// Loop iterations per invocation, of all its loops together. llvmpipe silently ends loops after 65,535.
    pub loop_iterations: u32,
    /// The smallest and the largest subgroup size, if the adapter has subgroup operations. Metal reports 4 and 64.
    pub subgroup: Option<(u32, u32)>,
}

impl Limits {
    /// The number of iterations after which llvmpipe ends a loop. All software adapters get this limit.
    pub const SOFTWARE_LOOP_ITERATIONS: u32 = 65_535;

    /// WebGPU's default limits, on the most restricted kind of device: a plan made for these runs on any adapter.
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
