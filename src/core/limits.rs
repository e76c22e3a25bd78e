//! What an adapter allows. Plain data: `gpu` fills it in, `schedule` plans by it, and neither this file nor
//! a plan made from it knows wgpu.

/// What kind of device an adapter is: which kernels pay, and how long it may be kept busy at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// A card with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// The processor itself, as llvmpipe and WARP do it.
    Software,
    /// A virtual GPU, or one whose driver does not say.
    Other,
}

/// What an adapter allows, and what kind it is: all that scheduling needs to know of a device.
///
/// Every adapter runs workgroups of 256 invocations with 16 KiB of workgroup memory, WebGPU's minimum; the crate's kernels
/// take no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// What kind of device it is.
    pub kind: AdapterKind,
    /// Storage buffers one kernel may bind.
    pub storage_buffers: u32,
    /// Bytes of one storage binding, and so of one tensor: a tensor is bound whole.
    pub binding_bytes: u64,
    /// Bytes of one buffer.
    pub buffer_bytes: u64,
    /// Bytes of one dispatch's block of uniforms.
    pub uniform_bytes: u32,
    /// What the byte offset of a dispatch's block of uniforms is a multiple of.
    pub uniform_alignment: u32,
    /// Workgroups in each dimension of a dispatch.
    pub workgroups: u32,
    /// Loop iterations of one invocation, all its loops together. llvmpipe ends loops silently beyond 65,535.
    pub loop_iterations: u32,
    /// The smallest and the largest subgroup, where subgroup operations may be used. Metal does not tell: it says 4 to 64.
    pub subgroup: Option<(u32, u32)>,
}

impl Limits {
    /// The iterations after which llvmpipe leaves a loop; other software adapters are treated alike.
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
