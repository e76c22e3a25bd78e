//! Which operations share a kernel.
//!
//! The policy, whole: walk from consumers to producers. What is wanted, and reductions, matrix products, scatters and
//! fused operations with a kernel, are roots: each is written by a kernel. A root absorbs an elementwise or movement
//! producer if all its consumers are inside, or if recomputing it reads no more than reading it. A producer that must
//! be written anyway, and stands at hand in the same index space, is written by the same kernel. Absorbing stops at the
//! adapter's storage buffers, and at `MAX_CODE` operations. Movement and numbers are always absorbed: they are index
//! arithmetic and uniforms. Matrix products' and fused operations' operands are read from buffers, of movement they take
//! strides. An elementwise kernel that goes on from a reduction, a scatter or a product place by place is its epilogue:
//! one kernel does both. Elementwise kernels over one index space that read something in common are one kernel, and so
//! are reductions of one index space; what goes on from such reductions, from one or from several, is one epilogue.
//!
//! Then, with all kernels known: an elementwise kernel and another over one index space, of which one reads what the other
//! has at hand, or which read something in common, become one, a reduction too; a reduction over more dims than another
//! goes on from partial results of the other's kernel; and what is only read where it is at hand is not written (`join`).
//! Long reductions are cut into stages (`stage`). Last, the kernels are put in order: updates as soon as they can run, and
//! small kernels of one kind, of which none waits for another, side by side in one dispatch (`order`).
//!
//! In: the cone. Out: groups, which are kernels with the items that they read and write. Must not know slots.

mod join;
mod map;
mod matmul;
mod order;
mod reduce;
mod stage;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::absorb::{self, absorbable};
use super::cone::{Cone, Source};
use super::emit::Blocked;
use super::plan::{Kernel, Program};
use crate::graph::{Move, Op, View};
use crate::limits::Limits;
use crate::ops::{self, Buffer};

/// A kernel and the items whose values it reads and writes. Its program has the dims of its items until it is staged.
#[derive(Clone)]
pub(super) struct Group {
    pub kernel: Kernel,
    pub reads: Vec<Access>,
    pub writes: SmallVec<[Access; 2]>,
    pub item: usize,
}

/// A buffer of a group: an output of an item, or memory between two kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Access {
    Item(Source),
    Scratch(usize),
}

/// Groups in order, and the items that are views of others.
#[derive(Default)]
pub(super) struct Groups {
    /// Each a kernel, or several that may share a dispatch.
    pub units: Vec<Vec<Group>>,
    /// Wanted items that share another's memory: each output's source and view.
    pub aliases: FxHashMap<usize, SmallVec<[(Source, View); 1]>>,
    /// Items that groups write, and those of size 0 that nothing needs to.
    pub written: FxHashSet<usize>,
    /// Bytes of each scratch buffer.
    pub scratch: Vec<usize>,
}

pub(super) fn fuse(cone: &Cone, limits: &Limits, enabled: bool) -> Groups {
    let mut fuser = Fuser {
        cone,
        limits,
        enabled,
        root: vec![false; cone.items.len()],
        written: FxHashSet::default(),
        apart: FxHashSet::default(),
        cheap: absorb::cheap(cone),
        writer: FxHashMap::default(),
        merged: FxHashMap::default(),
        oldest: usize::MAX,
        groups: Vec::new(),
        out: Groups::default(),
    };
    fuser.mark_shared();
    for item in (0..cone.items.len()).rev() {
        fuser.place(item);
    }
    let mut groups = fuser.out;
    groups.written = fuser.written;
    let mut list = fuser.groups;
    if enabled {
        list = join::join(list, &mut groups, cone, limits);
    }
    let staged = list.into_iter().flat_map(|group| stage::staged(group, limits, &mut groups.scratch));
    groups.units = order::in_order(staged.collect(), enabled);
    groups
}

pub(super) struct Fuser<'a> {
    pub cone: &'a Cone,
    pub limits: &'a Limits,
    pub enabled: bool,
    /// Items that a kernel writes.
    pub root: Vec<bool>,
    /// Roots whose kernel exists already.
    pub written: FxHashSet<usize>,
    /// Items that every kernel reads from memory: computed inside one they would be too much, or cannot be.
    pub apart: FxHashSet<usize>,
    /// Items that are recomputed rather than read.
    pub cheap: Vec<bool>,
    /// Which group writes a buffer.
    pub writer: FxHashMap<Access, usize>,
    /// Reductions and products that no kernel reads from memory so far, and which result they are of the group whose
    /// epilogue goes on from them.
    pub merged: FxHashMap<usize, (usize, usize)>,
    /// The oldest item that a kernel computes by now.
    pub oldest: usize,
    /// Newest first.
    pub groups: Vec<Group>,
    pub out: Groups,
}

impl Fuser<'_> {
    /// Marks the computed values that wanted items are nothing but another name or shape of: they must be written, and
    /// a kernel that has one at hand shall know it.
    fn mark_shared(&mut self) {
        for (i, item) in
            self.cone.items.iter().enumerate().filter(|(_, item)| item.is_pending() && item.wanted)
        {
            if let Some((base, view)) = self.behind_movement(Source { item: i, out: 0 }, false)
                && self.is_whole(base, &view)
            {
                self.root[base.item] |= self.cone.items[base.item].is_pending() && !item.expanded;
            }
        }
    }

    /// Sees to it that a kernel writes an item that another reads.
    pub fn keep(&mut self, item: usize) {
        self.root[item] |= self.cone.items[item].is_pending();
        let Some((group, result)) = self.merged.remove(&item) else { return };
        let access = Access::Item(Source { item, out: 0 });
        self.written.insert(item);
        self.writer.insert(access, group);
        let Group { kernel, writes, .. } = &mut self.groups[group];
        writes.push(access);
        let dtype = self.cone.items[item].spec(0).dtype;
        kernel.epilogue_mut().expect("something goes on from it").write_core(result, dtype);
    }

    /// Whether a view is all of an item's elements in order.
    fn is_whole(&self, base: Source, view: &View) -> bool {
        view.is_contiguous() && view.shape.numel() == self.cone.spec(base).shape.numel()
    }

    /// Gives an item that needs one its kernel. Items come newest first, so all consumers have spoken.
    fn place(&mut self, item: usize) {
        let it = &self.cone.items[item];
        let needed = it.is_pending() && (self.root[item] || it.wanted);
        if !needed || self.written.contains(&item) || self.merged.contains_key(&item) {
            return;
        }
        if it.expanded {
            let outs: SmallVec<[(Source, View); 1]> =
                it.sources.iter().map(|&source| self.meaning(source)).collect();
            outs.iter().for_each(|(source, _)| self.keep(source.item));
            self.out.aliases.insert(item, outs);
            return;
        }
        if !self.root[item]
            && let Op::Move(_) = it.node.op
            && let Some(alias) = self.alias(item)
        {
            self.keep(alias.0.item);
            self.out.aliases.insert(item, SmallVec::from_elem(alias, 1));
            return;
        }
        self.finish(std::iter::once(item));
        if it.node.outs.iter().all(|spec| spec.shape.numel() == 0) {
            return; // nothing to write
        }
        match &it.node.op {
            Op::Reduce(..) | Op::ScatterAdd(..) => {
                let combined = self.reduction(&[item], &[]);
                self.push_reduction(combined, None);
            }
            Op::MatMul => drop(self.matmul(item, None, false)),
            Op::Fused(_) => self.fused(item),
            _ => self.map(item),
        }
    }

    /// Where the meaning of an expanded item's output lies.
    fn meaning(&self, source: Source) -> (Source, View) {
        let item = &self.cone.items[source.item];
        let moved = item.is_pending() && !self.root[source.item] && matches!(item.node.op, Op::Move(_));
        let alias = if moved { self.alias(source.item) } else { None };
        alias.unwrap_or_else(|| (source, self.layout(source)))
    }

    /// The value that a wanted movement item is a view of, if it can be one without computing anything.
    fn alias(&self, item: usize) -> Option<(Source, View)> {
        let (base, view) = self.behind_movement(Source { item, out: 0 }, false)?;
        let at = &self.cone.items[base.item];
        let in_memory = !at.is_pending() || self.root[base.item] || !absorbable(&at.node.op);
        ((in_memory || self.is_whole(base, &view)) && view.mask.is_none()).then_some((base, view))
    }

    /// The item behind a chain of movement, and the chain as a view of its memory. With `stop_at_roots` a movement
    /// item that a kernel writes is itself what is behind.
    fn behind_movement(&self, source: Source, stop_at_roots: bool) -> Option<(Source, View)> {
        let mut chain: Vec<&Move> = Vec::new();
        let mut base = source;
        loop {
            let item = &self.cone.items[base.item];
            match &item.node.op {
                Op::Move(movement) if item.is_pending() && !(stop_at_roots && self.root[base.item]) => {
                    chain.push(movement);
                    base = item.sources[0];
                }
                _ => break,
            }
        }
        let mut view = self.layout(base);
        for movement in chain.into_iter().rev() {
            view = view.apply(movement)?;
        }
        Some((base, view))
    }

    /// How the elements of an item that is read from memory lie there.
    pub fn layout(&self, source: Source) -> View {
        match &self.cone.items[source.item].values {
            Some(values) => values[source.out as usize].view.clone(),
            None => View::contiguous(&self.cone.spec(source).shape),
        }
    }

    /// Where an operand that a kernel reads from memory lies, if strides can say it: an item's memory, and a view of it.
    pub fn located(&self, source: Source) -> (Source, View) {
        match self.behind_movement(source, true) {
            Some((base, view)) if view.mask.is_none() => (base, view),
            _ => (source, self.layout(source)),
        }
    }

    /// [`located`](Self::located), and sees to it that a kernel writes it.
    pub fn operand(&mut self, source: Source) -> (Source, View) {
        let (base, view) = self.located(source);
        self.keep(base.item);
        (base, view)
    }

    /// An operand for a kernel that can read only such views as `fits`: where it lies, or else laid out anew.
    fn fitting_operand(&mut self, source: Source, fits: impl Fn(&View) -> bool) -> (Access, View) {
        let (base, view) = self.located(source);
        if fits(&view) {
            self.operand(source);
            return (Access::Item(base), view);
        }
        let spec = self.cone.spec(source).clone();
        if self.cone.items[source.item].is_pending() {
            self.keep(source.item);
            return (Access::Item(source), View::contiguous(&spec.shape));
        }
        // A value that is itself a view.
        let scratch = Access::Scratch(self.out.scratch.len());
        self.out.scratch.push(spec.bytes());
        let copy = Program::copy(view, spec.dtype);
        let reads = vec![Access::Item(source)];
        self.push(Kernel::Map(copy), reads, SmallVec::from_elem(scratch, 1), source.item);
        (scratch, View::contiguous(&spec.shape))
    }

    /// Has the item that a kernel cannot do without written to memory.
    fn unblock(&mut self, Blocked(item): Blocked) {
        self.root[item] = true;
        let new = self.cone.items[item].is_pending() && self.apart.insert(item);
        assert!(new, "a kernel waits for {}, which is in memory", self.cone.items[item].node.op.name());
    }

    /// Notes that a kernel writes the items.
    fn finish(&mut self, items: impl Iterator<Item = usize>) {
        for item in items {
            self.root[item] = true;
            self.written.insert(item);
            self.oldest = self.oldest.min(item);
        }
    }

    fn fused(&mut self, item: usize) {
        let Op::Fused(op) = &self.cone.items[item].node.op else { unreachable!("a fused operation") };
        let sources = self.cone.items[item].sources.clone();
        let inputs: SmallVec<[Access; 4]> =
            sources.iter().map(|&source| self.fitting_operand(source, View::is_contiguous).0).collect();
        let specs = sources.iter().map(|&source| self.cone.spec(source).clone());
        let specs: Vec<_> = specs.chain(self.cone.items[item].node.outs.iter().cloned()).collect();
        let launches = op.launch(&specs, self.limits).expect("without a kernel it would be expanded");
        ops::validate(op.name(), &launches, inputs.len(), specs.len() - inputs.len());
        let mut scratch: FxHashMap<usize, usize> = FxHashMap::default();
        let mut groups = Vec::new();
        for launch in launches {
            let (mut reads, mut writes, mut later) = (Vec::new(), SmallVec::new(), Vec::new());
            for buffer in &launch.buffers {
                match *buffer {
                    Buffer::Input(i) => reads.push(inputs[i]),
                    Buffer::Output(i) => writes.push(Access::Item(Source { item, out: i as u8 })),
                    Buffer::Scratch { index, bytes } => {
                        let known = scratch.get(&index).copied();
                        later.extend(known.map(Access::Scratch));
                        let buffer = known.unwrap_or_else(|| {
                            self.out.scratch.push(0);
                            self.out.scratch.len() - 1
                        });
                        scratch.insert(index, buffer);
                        self.out.scratch[buffer] = self.out.scratch[buffer].max(bytes);
                        writes.push(Access::Scratch(buffer));
                    }
                    Buffer::Fault => {}
                }
            }
            reads.append(&mut later); // bound as results, and not to be given away before
            groups.push((Kernel::Fused(Box::new(launch)), reads, writes));
        }
        // Groups are listed newest first here.
        for (kernel, reads, writes) in groups.into_iter().rev() {
            self.push(kernel, reads, writes, item);
        }
    }

    fn push(
        &mut self,
        kernel: Kernel,
        reads: Vec<Access>,
        writes: SmallVec<[Access; 2]>,
        item: usize,
    ) -> usize {
        let group = self.groups.len();
        self.writer.extend(writes.iter().map(|&access| (access, group)));
        self.groups.push(Group { kernel, reads, writes, item });
        group
    }
}
