//! The cache of bind groups, with one bind group per layout, uniform block size and list of buffers.
//!
//! In: a layout and the ids of buffers. Out: a bind group. A bind group keeps its buffers alive, so the group is
//! removed when the pool releases one of these buffers. All groups are removed when the uniform buffer is replaced.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::pipeline::Layout;

/// Minimum number of groups for a sweep. The cache is swept when it has more groups than this number and than twice the
/// number of groups that survived the last sweep.
const MIN_SWEEP_LEN: usize = 4_096;

#[derive(PartialEq, Eq, Hash)]
struct BindGroupKey {
    layout: u32,
    /// The size of the uniform block in bytes.
    window: u64,
    buffers: SmallVec<[u64; 12]>,
}

struct CachedGroup {
    group: wgpu::BindGroup,
    /// The last run that used the group.
    last_run: u64,
}

pub(super) struct BindGroups {
    device: wgpu::Device,
    groups: FxHashMap<BindGroupKey, CachedGroup>,
    created: u64,
    run: u64,
    /// The run at whose start the cache was last swept.
    swept: u64,
    limit: usize,
}

impl BindGroups {
    pub fn new(device: wgpu::Device) -> BindGroups {
        BindGroups {
            device,
            groups: FxHashMap::default(),
            created: 0,
            run: 0,
            swept: 0,
            limit: MIN_SWEEP_LEN,
        }
    }

    pub fn created(&self) -> u64 {
        self.created
    }

    /// Starts a run. If there are too many groups, removes the groups that were not used since the previous sweep. So
    /// the cache has at most twice the number of groups that the runs between two sweeps need. Must be called before
    /// each run.
    pub fn start_run(&mut self) {
        self.run += 1;
        if self.groups.len() > self.limit {
            self.groups.retain(|_, entry| entry.last_run >= self.swept);
            self.swept = self.run;
            self.limit = MIN_SWEEP_LEN.max(2 * self.groups.len());
        }
    }

    /// Removes all groups that contain one of these buffers.
    pub fn remove(&mut self, buffers: &[u64]) {
        if !buffers.is_empty() {
            self.groups.retain(|key, _| !key.buffers.iter().any(|id| buffers.contains(id)));
        }
    }

    /// Removes every group.
    pub fn clear(&mut self) {
        self.groups.clear();
    }

    /// Returns the group with a window of the uniform buffer at binding 0, followed by the buffers in order.
    pub fn get<'a>(
        &mut self,
        layout: &Layout,
        uniforms: &wgpu::Buffer,
        window: u64,
        buffers: impl Iterator<Item = (u64, wgpu::BufferBinding<'a>)> + Clone,
    ) -> &wgpu::BindGroup {
        let key =
            BindGroupKey { layout: layout.id, window, buffers: buffers.clone().map(|(id, _)| id).collect() };
        let entry = self.groups.entry(key).or_insert_with(|| {
            let block =
                wgpu::BufferBinding { buffer: uniforms, offset: 0, size: wgpu::BufferSize::new(window) };
            let entries: SmallVec<[wgpu::BindGroupEntry; 12]> = std::iter::once(block)
                .chain(buffers.map(|(_, buffer)| buffer))
                .map(wgpu::BindingResource::Buffer)
                .zip(0..)
                .map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource })
                .collect();
            self.created += 1;
            let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &layout.group,
                entries: &entries,
            });
            CachedGroup { group, last_run: 0 }
        });
        entry.last_run = self.run;
        &entry.group
    }
}
