//! Launches of kernels that pass over rows: one row an invocation on a CPU adapter, where workgroup memory is slow, one
//! row a workgroup or a part of it on a GPU. Rows are read by vec4 where their length allows.

use super::{Launch, Word};
use crate::core::limits::{AdapterKind, Limits};
use crate::graph::ShaderSource;

/// Rows of `length` elements that lie `stride` apart: `[count / stride, length, stride]` in memory.
pub(super) struct Rows {
    pub count: usize,
    pub length: usize,
    pub stride: usize,
}

/// What the kernels stand on, and its variants.
const PRELUDE: &str = include_str!("../../shaders/rows.wgsl");
const VEC4: &str = include_str!("../../shaders/rows_vec4.wgsl");
const SUBGROUPS: &str = include_str!("../../shaders/rows_subgroups.wgsl");

impl Rows {
    /// Rows that follow one another.
    pub fn new(count: usize, length: usize) -> Rows {
        Rows { count, length, stride: 1 }
    }

    /// The rows along a dim.
    pub fn along(shape: &[usize], dim: usize) -> Rows {
        let length = shape.get(dim).copied().unwrap_or(1);
        let stride = shape.iter().skip(dim + 1).product();
        Rows { count: shape.iter().product::<usize>() / length, length, stride }
    }

    /// Elements that are read at once.
    pub fn pack(&self) -> usize {
        if self.stride == 1 && self.length.is_multiple_of(4) { 4 } else { 1 }
    }

    /// The words with which a kernel's parameters begin: how many rows, of how many packs, how far apart.
    pub fn words(&self) -> [Word; 3] {
        [self.count, self.length / self.pack(), self.stride].map(|size| Word::Size(size as u32))
    }

    /// A kernel that stands on `shaders/rows.wgsl`, in the variants for these rows. With subgroups a row has a workgroup.
    pub fn source(&self, kernel: &'static str, subgroups: bool) -> ShaderSource {
        let mut source = ShaderSource::new(kernel).with_prelude(PRELUDE).with_workgroup(subgroups);
        if self.pack() == 4 {
            source = source.variant(VEC4);
        }
        if subgroups { source.variant(SUBGROUPS) } else { source }
    }

    /// A launch of a kernel that stands on `shaders/rows.wgsl` and reads each row `passes` times, still without buffers and
    /// uniforms. `None` if a row has more loop iterations than the adapter allows, or more elements than a kernel can count.
    pub fn launch(&self, kernel: &'static str, passes: usize, limits: &Limits) -> Option<Launch> {
        let elements = u32::try_from(self.count * self.length).ok()?;
        let packs = self.length / self.pack();
        // Neighbouring invocations read neighbouring packs: of a row, or of rows side by side.
        let (lanes, group) = match limits.kind {
            AdapterKind::Software => (1, 8),
            _ if self.stride >= 32 || packs <= 4 => (1, 64),
            _ if packs <= 32 => (8, 64),
            _ => (64, 64),
        };
        let source = self.source(kernel, limits.subgroup.is_some() && lanes == group);
        // The end of a loop counts as an iteration too.
        let iterations = passes * (packs.div_ceil(lanes as usize) + 1);
        let launch = Launch::from_source(source)
            .trusted()
            .constant("LANES", lanes)
            .constant("GROUP", group)
            .workgroups((self.count as u32).div_ceil(group / lanes))
            .work(8 * u64::from(elements));
        (iterations < limits.loop_iterations as usize).then_some(launch)
    }
}
