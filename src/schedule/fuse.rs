//! Which operations share a kernel.
//!
//! The policy, whole: walk from consumers to producers. What is wanted, and reductions, matrix products, scatters and
//! fused operations with a kernel, are roots: each is written by a kernel. A root absorbs an elementwise or movement
//! producer if all its consumers are inside, or if recomputing it reads no more than reading it. A producer that must
//! be written anyway, and stands at hand in the same index space, is written by the same kernel. Absorbing stops at the
//! adapter's storage buffers, and at `MAX_CODE` operations. Movement and numbers are always absorbed: they are index
//! arithmetic and uniforms. Matrix products, scatters' and fused operations' operands are read from buffers, of
//! movement they take strides.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::absorb::{self, absorbable};
use super::cone::{Cone, Source};
use super::emit::{Blocked, Emitter};
use super::plan::{Kernel, MatMul, Matrix, Program, Reduction};
use super::split::{k_splits, stages};
use crate::graph::{Move, Op, Reduce, View};
use crate::limits::Limits;
use crate::ops::{self, Buffer};
use crate::shape::Shape;

/// A kernel and the items whose values it reads and writes.
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
    pub groups: Vec<Group>,
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
        out: Groups::default(),
    };
    fuser.mark_shared();
    for item in (0..cone.items.len()).rev() {
        fuser.place(item);
    }
    let mut groups = fuser.out;
    groups.written = fuser.written;
    groups.groups = in_order(std::mem::take(&mut groups.groups));
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

    /// Whether a view is all of an item's elements in order.
    fn is_whole(&self, base: Source, view: &View) -> bool {
        view.is_contiguous() && view.shape.numel() == self.cone.spec(base).shape.numel()
    }

    /// Gives an item that needs one its kernel. Items come newest first, so all consumers have spoken.
    fn place(&mut self, item: usize) {
        let it = &self.cone.items[item];
        if !it.is_pending() || self.written.contains(&item) || !(self.root[item] || it.wanted) {
            return;
        }
        if it.expanded {
            let outs =
                it.sources.iter().map(|&source| (source, View::contiguous(&self.cone.spec(source).shape)));
            let outs: SmallVec<[(Source, View); 1]> = outs.collect();
            for (source, _) in &outs {
                self.root[source.item] = true;
            }
            self.out.aliases.insert(item, outs);
            return;
        }
        if !self.root[item]
            && let Op::Move(_) = it.node.op
            && let Some(alias) = self.alias(item)
        {
            self.root[alias.0.item] |= self.cone.items[alias.0.item].is_pending();
            self.out.aliases.insert(item, SmallVec::from_elem(alias, 1));
            return;
        }
        self.root[item] = true;
        self.written.insert(item);
        if it.node.outs.iter().all(|spec| spec.shape.numel() == 0) {
            return; // nothing to write
        }
        match &it.node.op {
            Op::Reduce(how, dims) => self.reduce(item, *how, dims),
            Op::MatMul => self.matmul(item),
            Op::ScatterAdd(dim, _) => self.scatter_add(item, *dim),
            Op::Fused(_) => self.fused(item),
            _ => self.map(item),
        }
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
        self.root[base.item] |= self.cone.items[base.item].is_pending();
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
            self.root[source.item] = true;
            return (Access::Item(source), View::contiguous(&spec.shape));
        }
        // A value that is itself a view.
        let scratch = Access::Scratch(self.out.scratch.len());
        self.out.scratch.push(spec.bytes());
        let mut copy = Program::copy(view, spec.dtype);
        copy.collapse(usize::MAX);
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

    /// Elementwise: the item, with what it absorbs and what it can write besides.
    fn map(&mut self, item: usize) {
        loop {
            let inside = self.absorb(item, &self.cone.items[item].sources.clone(), true);
            let mut emitter = Emitter::new(self, &inside.items);
            let head = match &self.cone.items[item].node.op {
                // Row-major order is what a reshape keeps: write the source's elements as they come.
                Op::Move(Move::Reshape(_)) => {
                    let source = self.cone.items[item].sources[0];
                    emitter.value(source, 0, self.cone.spec(source).shape.clone())
                }
                _ => emitter.head(item),
            };
            let result = head.and_then(|first| {
                let mut results: SmallVec<[usize; 2]> = SmallVec::from_elem(first, 1);
                for &other in &inside.written {
                    results.push(emitter.head(other)?);
                }
                Ok(results)
            });
            match result {
                Err(blocked) => self.unblock(blocked),
                Ok(results) => {
                    let (mut program, reads) = emitter.finish(results);
                    program.collapse(usize::MAX);
                    let writes = std::iter::once(item).chain(inside.written.iter().copied());
                    let writes = writes.map(|item| Access::Item(Source { item, out: 0 })).collect();
                    for &other in &inside.written {
                        self.root[other] = true;
                        self.written.insert(other);
                    }
                    self.push(Kernel::Map(program), reads, writes, item);
                    return;
                }
            }
        }
    }

    fn reduce(&mut self, item: usize, how: Reduce, dims: &[usize]) {
        let source = self.cone.items[item].sources[0];
        let shape = self.cone.spec(source).shape.clone();
        let outer: SmallVec<[usize; 4]> = (0..shape.rank()).filter(|dim| !dims.contains(dim)).collect();
        let boundary = outer.len();
        let order: SmallVec<[usize; 4]> = outer.into_iter().chain(dims.iter().copied()).collect();
        let space: Shape = order.iter().map(|&dim| shape[dim]).collect();
        loop {
            let inside = self.absorb(item, &[source], false);
            let mut emitter = Emitter::new(self, &inside.items);
            let path = emitter.step(0, Move::Permute(order.clone()), source.item);
            match emitter.value(source, path, space.clone()) {
                Err(blocked) => self.unblock(blocked),
                Ok(result) => {
                    let (program, reads) = emitter.finish(SmallVec::from_elem(result, 1));
                    return self.push_reduction(how, program, reads, boundary, item);
                }
            }
        }
    }

    /// A sum over all places of the index that equal the output's index: no atomics, one order, the same bits.
    fn scatter_add(&mut self, item: usize, dim: usize) {
        let [index, src] = self.cone.items[item].sources[..] else { unreachable!("index and src") };
        let out = self.cone.items[item].spec(0).shape.clone();
        let shape = self.cone.spec(index).shape.clone();
        let last = (0..shape.rank()).filter(|&d| d != dim).chain([dim]).collect();
        let room = shape.with(dim, 1).insert(shape.rank(), shape[dim]);
        let space = out.insert(out.rank(), shape[dim]);
        loop {
            let inside = self.absorb(item, &[index, src], false);
            let mut emitter = Emitter::new(self, &inside.items);
            let mut path = |source: Source| {
                let path = emitter.step(0, Move::Expand(space.clone()), source.item);
                let path = emitter.step(path, Move::Reshape(room.clone()), source.item);
                (source, emitter.step(path, Move::Permute(SmallVec::clone(&last)), source.item))
            };
            let (index, src) = (path(index), path(src));
            match emitter.scattered(item, index, src, dim, space.clone()) {
                Err(blocked) => self.unblock(blocked),
                Ok(result) => {
                    let (program, reads) = emitter.finish(SmallVec::from_elem(result, 1));
                    return self.push_reduction(Reduce::Sum, program, reads, out.rank(), item);
                }
            }
        }
    }

    /// One stage, or two where one would loop too long or leave most of the device idle.
    fn push_reduction(
        &mut self,
        how: Reduce,
        mut program: Program,
        reads: Vec<Access>,
        boundary: usize,
        item: usize,
    ) {
        let out = Access::Item(Source { item, out: 0 });
        let dtype = self.cone.items[item].spec(0).dtype;
        let inner = program.collapse(boundary);
        let outputs: usize = program.space[..inner].iter().product();
        let length: usize = program.space[inner..].iter().product();
        let (splits, lanes) = stages(self.limits, outputs, length, program.rows_are_contiguous(inner));
        if splits == 1 {
            let kernel = Kernel::Reduce(Reduction { how, dtype, program, inner, splits, lanes });
            return self.push(kernel, reads, SmallVec::from_elem(out, 1), item);
        }
        let scratch = Access::Scratch(self.out.scratch.len());
        self.out.scratch.push(outputs * splits * dtype.bytes());
        // Groups are listed newest first here.
        let second = Reduction {
            how,
            dtype,
            program: Program::copy(View::contiguous(&[outputs, splits].into()), dtype),
            inner: 1,
            splits: 1,
            lanes: stages(self.limits, outputs, splits, true).1,
        };
        let first = Kernel::Reduce(Reduction { how, dtype, program, inner, splits, lanes });
        self.push(Kernel::Reduce(second), vec![scratch], SmallVec::from_elem(out, 1), item);
        self.push(first, reads, SmallVec::from_elem(scratch, 1), item);
    }

    fn matmul(&mut self, item: usize) {
        let [left, right] = self.cone.items[item].sources[..] else { unreachable!("two operands") };
        let out = self.cone.items[item].spec(0).shape.clone();
        let rank = out.rank();
        let (a, mut view_a) = self.fitting_operand(left, forward);
        let (b, mut view_b) = self.fitting_operand(right, forward);
        let batch = |a: &View, b: &View| batches(&out[..rank - 2], [a, b]);
        // Batches that two strides cannot say are laid out anew.
        let (a, b, batches) = match batch(&view_a, &view_b) {
            Some(found) => (a, b, found),
            None => {
                let (a, b) = (
                    self.fitting_operand(left, View::is_contiguous),
                    self.fitting_operand(right, View::is_contiguous),
                );
                (view_a, view_b) = (a.1, b.1);
                let found = batch(&view_a, &view_b).expect("contiguous batches are one dim");
                (a.0, b.0, found)
            }
        };
        let (sizes, strides) = batches;
        let matrix = |view: &View, batch: [usize; 2]| Matrix {
            offset: view.offset as usize,
            batch,
            row: view.strides[rank - 2] as usize,
            col: view.strides[rank - 1] as usize,
        };
        let (m, n, k) = (out[rank - 2], out[rank - 1], view_a.shape[rank - 1]);
        let outputs = out.numel();
        let splits = k_splits(self.limits, outputs, k);
        let kernel = |splits| {
            let (a, b) = (matrix(&view_a, strides[0]), matrix(&view_b, strides[1]));
            Kernel::MatMul(MatMul { batch: sizes, m, n, k, a, b, splits })
        };
        let reads = vec![a, b];
        let out = Access::Item(Source { item, out: 0 });
        if splits == 1 {
            return self.push(kernel(1), reads, SmallVec::from_elem(out, 1), item);
        }
        let dtype = self.cone.items[item].spec(0).dtype;
        let scratch = Access::Scratch(self.out.scratch.len());
        self.out.scratch.push(outputs * splits * dtype.bytes());
        // The partial products follow one another: the sum runs over the outer dim.
        let view =
            View::contiguous(&[splits, outputs].into()).apply(&Move::Permute(SmallVec::from_slice(&[1, 0])));
        let program = Program::copy(view.expect("strides can say a transpose"), dtype);
        let sum = Reduction { how: Reduce::Sum, dtype, program, inner: 1, splits: 1, lanes: 1 };
        self.push(Kernel::Reduce(sum), vec![scratch], SmallVec::from_elem(out, 1), item);
        self.push(kernel(splits), reads, SmallVec::from_elem(scratch, 1), item);
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

    fn push(&mut self, kernel: Kernel, reads: Vec<Access>, writes: SmallVec<[Access; 2]>, item: usize) {
        self.writer.extend(writes.iter().map(|&access| (access, self.out.groups.len())));
        self.out.groups.push(Group { kernel, reads, writes, item });
    }
}

/// Batch sizes, and each operand's strides over them.
type Batches = ([usize; 2], [[usize; 2]; 2]);

/// The batch dims as two, if two strides can say them for both operands.
fn batches(sizes: &[usize], views: [&View; 2]) -> Option<Batches> {
    let mut merged: SmallVec<[(usize, [usize; 2]); 4]> = SmallVec::new();
    for (dim, &size) in sizes.iter().enumerate().filter(|(_, size)| **size != 1) {
        let strides = views.map(|view| view.strides[dim] as usize);
        match merged.last_mut() {
            Some((all, outer)) if (0..2).all(|i| outer[i] == strides[i] * size) => {
                *all *= size;
                *outer = strides;
            }
            _ => merged.push((size, strides)),
        }
    }
    while merged.len() < 2 {
        merged.insert(0, (1, [0, 0]));
    }
    let [(outer, a), (inner, b)] = merged[..] else { return None };
    Some(([outer, inner], [[a[0], b[0]], [a[1], b[1]]]))
}

/// Strides that unsigned arithmetic can follow.
fn forward(view: &View) -> bool {
    view.strides.iter().all(|&stride| stride >= 0)
}

/// Groups such that each follows those that write what it reads. They come newest first; a kernel that writes an older
/// item besides its own may have to move forward.
fn in_order(mut groups: Vec<Group>) -> Vec<Group> {
    groups.reverse();
    let mut writer: FxHashMap<Access, usize> = FxHashMap::default();
    for (i, group) in groups.iter().enumerate() {
        writer.extend(group.writes.iter().map(|&access| (access, i)));
    }
    let mut order: Vec<usize> = Vec::new();
    let mut listed = vec![false; groups.len()];
    let mut stack: Vec<usize> = (0..groups.len()).rev().collect();
    let most = 2 * groups.len() + groups.iter().map(|group| group.reads.len()).sum::<usize>();
    while let Some(&i) = stack.last() {
        assert!(stack.len() <= most, "two kernels wait for one another");
        let before = stack.len();
        if !listed[i] {
            let needed = groups[i].reads.iter().filter_map(|access| writer.get(access).copied());
            // The dispatches of an operation follow one another.
            let before = i.checked_sub(1).filter(|&j| groups[j].item == groups[i].item);
            let needed = needed.chain(before);
            stack.extend(needed.filter(|&j| !listed[j] && j != i));
        }
        if stack.len() == before {
            stack.pop();
            if !std::mem::replace(&mut listed[i], true) {
                order.push(i);
            }
        }
    }
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    order.into_iter().map(|i| groups[i].take().expect("listed once")).collect()
}
