//! Bind groups, made once for each layout and set of buffers.
//!
//! In: a layout and buffers by id. Out: a bind group. A group keeps its buffers alive, so it is forgotten with the first of
//! them that the pool gives back to the driver, and all of them when the uniform buffer is replaced.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::pipeline::Layout;

/// Below this many, groups are kept whether used or not.
const ENOUGH: usize = 4_096;

#[derive(PartialEq, Eq, Hash)]
struct Key {
    layout: u32,
    /// Bytes of the uniform block.
    window: u64,
    buffers: SmallVec<[u64; 12]>,
}

struct Entry {
    group: wgpu::BindGroup,
    /// The run that used it last.
    used: u64,
}

pub(super) struct BindGroups {
    device: wgpu::Device,
    groups: FxHashMap<Key, Entry>,
    created: u64,
    run: u64,
    /// The run before which the last sweep was.
    swept: u64,
    limit: usize,
}

impl BindGroups {
    pub fn new(device: wgpu::Device) -> BindGroups {
        BindGroups { device, groups: FxHashMap::default(), created: 0, run: 0, swept: 0, limit: ENOUGH }
    }

    pub fn created(&self) -> u64 {
        self.created
    }

    /// To be called once before each run. When there are too many groups, those go that were not used since the last time there
    /// were: so there are at most twice as many as the runs in between need.
    pub fn start_run(&mut self) {
        self.run += 1;
        if self.groups.len() > self.limit {
            self.groups.retain(|_, entry| entry.used >= self.swept);
            self.swept = self.run;
            self.limit = ENOUGH.max(2 * self.groups.len());
        }
    }

    /// Forgets the groups that hold one of these buffers.
    pub fn forget(&mut self, buffers: &[u64]) {
        if !buffers.is_empty() {
            self.groups.retain(|key, _| !key.buffers.iter().any(|id| buffers.contains(id)));
        }
    }

    /// Forgets every group.
    pub fn clear(&mut self) {
        self.groups.clear();
    }

    /// The group of a window of the uniform buffer, and of the buffers in binding order.
    pub fn get<'a>(
        &mut self,
        layout: &Layout,
        uniforms: &wgpu::Buffer,
        window: u64,
        buffers: impl Iterator<Item = (u64, wgpu::BufferBinding<'a>)> + Clone,
    ) -> &wgpu::BindGroup {
        let key = Key { layout: layout.id, window, buffers: buffers.clone().map(|(id, _)| id).collect() };
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
            Entry { group, used: 0 }
        });
        entry.used = self.run;
        &entry.group
    }
}
