//! Launches of kernels that reduce rows. On a CPU adapter, where workgroup memory is slow, each invocation reduces one
//! row. On a GPU, a workgroup, or a fixed number of its invocations, reduces one row. Rows are read as vec4 if their
//! length is a multiple of four.

use super::{Launch, Word};
use crate::core::limits::{AdapterKind, Limits};
use crate::graph::ShaderSource;

/// Rows of `length` elements, `stride` elements apart, in a tensor `[count / stride, length, stride]`.
pub(super) struct Rows {
    pub count: usize,
    pub length: usize,
    pub stride: usize,
}

/// The functions that every kernel over rows calls, and two variants: one reads rows as vec4, and one combines the
/// results of lanes with subgroup operations instead of workgroup memory.
const PRELUDE: &str = include_str!("../../shaders/rows.wgsl");
const VEC4: &str = include_str!("../../shaders/rows_vec4.wgsl");
const SUBGROUPS: &str = include_str!("../../shaders/rows_subgroups.wgsl");

impl Rows {
    /// Creates contiguous rows.
    pub fn new(count: usize, length: usize) -> Rows {
        Rows { count, length, stride: 1 }
    }

    /// Creates the rows along a dim of a shape.
    pub fn along(shape: &[usize], dim: usize) -> Rows {
        let length = shape.get(dim).copied().unwrap_or(1);
        let stride = shape.iter().skip(dim + 1).product();
        Rows { count: shape.iter().product::<usize>() / length, length, stride }
    }

    /// Returns the number of elements per read (the size of a pack).
    pub fn pack(&self) -> usize {
        if self.stride == 1 && self.length.is_multiple_of(4) { 4 } else { 1 }
    }

    /// Returns the first words of a kernel's parameters: the number of rows, the number of packs per row, and the
    /// stride.
    pub fn words(&self) -> [Word; 3] {
        [self.count, self.length / self.pack(), self.stride].map(|size| Word::Size(size as u32))
    }

    /// Adds the prelude for rows to a kernel, with the variants for these rows. With `subgroups`, a workgroup reduces
    /// each row.
    pub fn source(&self, kernel: &'static str, subgroups: bool) -> ShaderSource {
        let mut source = ShaderSource::new(kernel).with_prelude(PRELUDE).with_workgroup(subgroups);
        if self.pack() == 4 {
            source = source.variant(VEC4);
        }
        if subgroups { source.variant(SUBGROUPS) } else { source }
    }

    /// Returns a launch, without buffers and uniforms, of a kernel that reads each row `passes` times. Returns `None`
    /// if a row needs more loop iterations than the adapter allows, or if the number of elements exceeds a kernel's
    /// index range.
    pub fn launch(&self, kernel: &'static str, passes: usize, limits: &Limits) -> Option<Launch> {
        let elements = u32::try_from(self.count * self.length).ok()?;
        let packs = self.length / self.pack();
        // Adjacent invocations read adjacent packs, which are in the same row or in adjacent rows.
        let (lanes, group) = match limits.kind {
            AdapterKind::Software => (1, 8),
            _ if self.stride >= 32 || packs <= 4 => (1, 64),
            _ if packs <= 32 => (8, 64),
            _ => (64, 64),
        };
        let source = self.source(kernel, limits.subgroup.is_some() && lanes == group);
        // The end of a loop counts as an iteration.
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
