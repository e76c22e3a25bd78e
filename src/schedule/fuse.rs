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
//! are reductions of one index space.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::absorb::{self, Inside, Start, absorbable};
use super::cone::{Cone, Source};
use super::emit::{Blocked, Emitter, position};
use super::plan::{Kernel, MatMul, Matrix, Program, Reduction};
use super::split::{k_splits, stages};
use crate::dtype::DType;
use crate::graph::{Move, Op, Reduce, View};
use crate::limits::Limits;
use crate::ops::{self, Buffer};
use crate::shape::Shape;

/// Other results that a kernel looks for.
const MOST_SIBLINGS: usize = 16;

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
        merged: FxHashMap::default(),
        oldest: usize::MAX,
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
    /// Reductions and products that no kernel reads from memory so far, and the group whose epilogue goes on from each.
    pub merged: FxHashMap<usize, usize>,
    /// The oldest item that a kernel computes by now.
    pub oldest: usize,
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
        let Some(group) = self.merged.remove(&item) else { return };
        let access = Access::Item(Source { item, out: 0 });
        self.written.insert(item);
        self.writer.insert(access, group);
        let Group { kernel, writes, .. } = &mut self.out.groups[group];
        writes.push(access);
        let dtype = self.cone.items[item].spec(0).dtype;
        kernel.epilogue_mut().expect("something goes on from it").write_core(0, dtype);
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
            let outs =
                it.sources.iter().map(|&source| (source, View::contiguous(&self.cone.spec(source).shape)));
            let outs: SmallVec<[(Source, View); 1]> = outs.collect();
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
                let combined = self.reduction(item, &[]);
                self.push_reduction(combined, None);
            }
            Op::MatMul => drop(self.matmul(item, None, false)),
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

    /// Elementwise: the item, with what it absorbs and what it can write besides; as the epilogue of what it goes on
    /// from, if there is such a reduction or product.
    fn map(&mut self, item: usize) {
        let mut separate = !self.enabled;
        loop {
            let start = self.start(item);
            let mut inside = self.grow(&start);
            let core = if separate { None } else { self.core(item, &inside) };
            if let Some(core) = core {
                inside.loads.remove(&core);
            }
            let code = self.code(item, &inside, core);
            if code.is_err() && core.is_some() {
                separate = true; // not at its own place
                continue;
            }
            inside.loads.iter().for_each(|&item| self.keep(item));
            let (program, reads, transposed) = match code {
                Err(blocked) => {
                    self.unblock(blocked);
                    continue;
                }
                Ok(code) => code,
            };
            let items = std::iter::once(item).chain(inside.written.iter().copied());
            let writes: SmallVec<[Access; 2]> =
                items.clone().map(|item| Access::Item(Source { item, out: 0 })).collect();
            let Some(core) = core else {
                self.finish(items);
                self.push(Kernel::Map(program), reads, writes, item);
                return;
            };
            let epilogue = Epilogue { program, reads, writes };
            let transposable = !transposed || self.is_last_use(core, &inside);
            if transposable && self.go_on(core, epilogue, transposed) {
                self.finish(items);
                return;
            }
            separate = true;
        }
    }

    /// Notes that a kernel writes the items.
    fn finish(&mut self, items: impl Iterator<Item = usize>) {
        for item in items {
            self.root[item] = true;
            self.written.insert(item);
            self.oldest = self.oldest.min(item);
        }
    }

    /// The kernel of an item, and of others over its index space that must be written too and share an operand.
    fn start(&self, item: usize) -> Start<'_> {
        let items = &self.cone.items;
        let mut start = Start::new(item, &items[item].sources, true);
        // A gather has an operand apart; a reshape is written in its source's space.
        let fits = |op: &Op| absorbable(op) && !matches!(op, Op::Gather(_) | Op::Move(Move::Reshape(_)));
        if !self.enabled || !fits(&items[item].node.op) {
            return start;
        }
        let mut inside = self.grow(&start);
        for other in self.siblings(item, fits) {
            let alone = self.grow(&Start::new(other, &items[other].sources, false));
            if inside.items.contains(&other) || alone.loads.is_disjoint(&inside.loads) {
                continue;
            }
            let mut wider = start.clone();
            wider.siblings.push(other);
            let both = self.grow(&wider);
            let lossless = inside.written.iter().chain([&other]).all(|item| both.written.contains(item));
            if lossless && self.needed(&both.loads, &[item]).is_empty() {
                (start, inside) = (wider, both);
            }
        }
        start
    }

    /// Older items of the same shape that kernels are known to need, and that none computes yet.
    fn siblings(&self, item: usize, kind: impl Fn(&Op) -> bool) -> impl Iterator<Item = usize> {
        let items = &self.cone.items;
        let placed = |other: &usize| self.written.contains(other) || self.merged.contains_key(other);
        (0..item)
            .rev()
            .filter(move |&other| items[other].is_pending() && (self.root[other] || items[other].wanted))
            .filter(move |&other| {
                kind(&items[other].node.op) && items[other].spec(0).shape == items[item].spec(0).shape
            })
            .filter(move |other| !placed(other))
            .take(MOST_SIBLINGS)
    }

    /// The newest reduction or product of whose every result the kernel makes something, and that can wait for all else
    /// that the kernel reads.
    fn core(&self, item: usize, inside: &Inside) -> Option<usize> {
        let items = &self.cone.items;
        let mut cores: SmallVec<[usize; 4]> = inside
            .loads
            .iter()
            .copied()
            .filter(|&n| {
                let combines = matches!(items[n].node.op, Op::Reduce(..) | Op::ScatterAdd(..) | Op::MatMul);
                let placed = self.written.contains(&n) || self.merged.contains_key(&n);
                let fits = items[n].spec(0).shape.numel() == items[item].spec(0).shape.numel();
                items[n].is_pending() && combines && fits && !placed
            })
            .collect();
        cores.sort_unstable_by(|a, b| b.cmp(a));
        cores.into_iter().find(|&core| {
            let mut others = inside.loads.clone();
            others.remove(&core);
            let buffers = self.buffers(&others) + inside.written.len() + 5; // two operands, two results, the error word
            others.extend(items[core].sources.iter().map(|source| source.item));
            let targets: SmallVec<[usize; 8]> =
                [core, item].into_iter().chain(inside.written.iter().copied()).collect();
            buffers <= self.limits.storage_buffers as usize && self.needed(&others, &targets).is_empty()
        })
    }

    /// Whether no other kernel can come to need the core: all that is made of it is made here, or written here.
    fn is_last_use(&self, core: usize, inside: &Inside) -> bool {
        let items = &self.cone.items;
        let mut made: FxHashSet<usize> = std::iter::once(core).collect();
        let mut ordered: Vec<usize> = inside.items.iter().copied().collect();
        ordered.sort_unstable();
        for item in ordered {
            if items[item].sources.iter().any(|source| made.contains(&source.item))
                && !inside.written.contains(&item)
            {
                made.insert(item);
            }
        }
        let last = |item: usize| inside.uses.get(&item) == Some(&items[item].uses);
        made.into_iter().all(|item| last(item) && !items[item].wanted && !self.root[item])
    }

    /// The code of a kernel: the item first, then what else it writes; and whether it wants the core transposed.
    fn code(
        &self,
        item: usize,
        inside: &Inside,
        core: Option<usize>,
    ) -> Result<(Program, Vec<Access>, bool), Blocked> {
        let mut emitter = Emitter::after(self, &inside.items, core);
        let first = match &self.cone.items[item].node.op {
            // Row-major order is what a reshape keeps: write the source's elements as they come.
            Op::Move(Move::Reshape(_)) => {
                let source = self.cone.items[item].sources[0];
                emitter.value(source, 0, self.cone.spec(source).shape.clone())
            }
            _ => emitter.head(item),
        };
        let mut results: SmallVec<[usize; 2]> = SmallVec::from_elem(first?, 1);
        for &other in &inside.written {
            results.push(emitter.head(other)?);
        }
        let transposed = emitter.transposed;
        let (mut program, reads) = emitter.finish(results);
        program.collapse(usize::MAX);
        Ok((program, reads, transposed))
    }

    /// Places a reduction or product with its epilogue, unless that takes more buffers than a kernel can have.
    fn go_on(&mut self, core: usize, mut epilogue: Epilogue, transposed: bool) -> bool {
        let product = matches!(self.cone.items[core].node.op, Op::MatMul);
        if transposed && !product {
            return false;
        }
        if self.root[core] || self.cone.items[core].wanted {
            epilogue.writes.push(Access::Item(Source { item: core, out: 0 }));
            epilogue.program.write_core(0, self.cone.items[core].spec(0).dtype);
            self.written.insert(core);
        }
        let group = if product {
            self.matmul(core, Some(epilogue), transposed)
        } else {
            let combined = self.reduction(core, &epilogue.reads);
            let room = self.limits.storage_buffers as usize - 2; // one may be written later, and the error word
            let buffers = combined.reads.len() + epilogue.reads.len() + epilogue.writes.len();
            if buffers + combined.items.len() - 1 > room {
                self.written.remove(&core);
                return false;
            }
            self.push_reduction(combined, Some(epilogue))
        };
        if !self.written.contains(&core) {
            self.merged.insert(core, group);
        }
        self.oldest = self.oldest.min(core);
        true
    }

    /// What a reduction or scatter combines, with what it absorbs, and the siblings that it takes along. Its epilogue
    /// reads `later`.
    fn reduction(&mut self, item: usize, later: &[Access]) -> Combined {
        let siblings = self.reduced_siblings(item, later);
        loop {
            let combined = match &self.cone.items[item].node.op {
                Op::ScatterAdd(dim, _) => self.scattered(item, *dim),
                _ => self.reduced(item, &siblings),
            };
            match combined {
                Err(blocked) => self.unblock(blocked),
                Ok(combined) => return combined,
            }
        }
    }

    /// Reductions of the same index space that read something in common.
    fn reduced_siblings(&self, item: usize, later: &[Access]) -> SmallVec<[usize; 2]> {
        let items = &self.cone.items;
        let mut siblings = SmallVec::new();
        let Op::Reduce(_, dims) = &items[item].node.op else { return siblings };
        if !self.enabled {
            return siblings;
        }
        let shape = |item: usize| &self.cone.spec(items[item].sources[0]).shape;
        let loads = |item: usize| self.grow(&Start::new(item, &items[item].sources, false)).loads;
        let mut all = loads(item);
        for other in self.siblings(item, |op| matches!(op, Op::Reduce(_, others) if others == dims)) {
            let more = loads(other);
            let buffers = self.buffers(all.union(&more)) + siblings.len() + 4; // two results here, one for later, the error word
            let apart = shape(other) != shape(item) || more.is_disjoint(&all);
            if apart || buffers > self.limits.storage_buffers as usize {
                continue;
            }
            let both: FxHashSet<usize> = all.union(&more).copied().collect();
            let mut loads = both.clone();
            loads.extend(later.iter().filter_map(|access| match access {
                Access::Item(source) => Some(source.item),
                Access::Scratch(_) => None,
            }));
            let targets: SmallVec<[usize; 4]> =
                [item, other].into_iter().chain(siblings.iter().copied()).collect();
            if self.needed(&loads, &targets).is_empty() {
                siblings.push(other);
                all = both;
            }
        }
        siblings
    }

    fn reduced(&mut self, item: usize, siblings: &[usize]) -> Result<Combined, Blocked> {
        let items = &self.cone.items;
        let Op::Reduce(_, dims) = &items[item].node.op else { unreachable!("a reduction") };
        let all: SmallVec<[usize; 2]> = std::iter::once(item).chain(siblings.iter().copied()).collect();
        let sources: SmallVec<[Source; 2]> = all.iter().map(|&item| items[item].sources[0]).collect();
        let shape = self.cone.spec(sources[0]).shape.clone();
        let outer: SmallVec<[usize; 4]> = (0..shape.rank()).filter(|dim| !dims.contains(dim)).collect();
        let boundary = outer.len();
        let order: SmallVec<[usize; 4]> = outer.into_iter().chain(dims.iter().copied()).collect();
        let space: Shape = order.iter().map(|&dim| shape[dim]).collect();
        let inside = self.absorb(&Start::new(item, &sources, false));
        let mut emitter = Emitter::new(self, &inside.items);
        let mut results = SmallVec::new();
        for &source in &sources {
            let path = emitter.step(0, Move::Permute(order.clone()), source.item);
            results.push(emitter.value(source, path, space.clone())?);
        }
        let how = all.iter().map(|&item| match items[item].node.op {
            Op::Reduce(how, _) => how,
            _ => unreachable!("a sibling is a reduction"),
        });
        let (how, (program, reads)) = (how.collect(), emitter.finish(results));
        Ok(Combined { items: all, how, program, reads, boundary })
    }

    /// A sum over all places of the index that equal the output's index: no atomics, one order, the same bits.
    fn scattered(&mut self, item: usize, dim: usize) -> Result<Combined, Blocked> {
        let [index, src] = self.cone.items[item].sources[..] else { unreachable!("index and src") };
        let out = self.cone.items[item].spec(0).shape.clone();
        let shape = self.cone.spec(index).shape.clone();
        let last = (0..shape.rank()).filter(|&d| d != dim).chain([dim]).collect();
        let room = shape.with(dim, 1).insert(shape.rank(), shape[dim]);
        let space = out.insert(out.rank(), shape[dim]);
        let inside = self.absorb(&Start::new(item, &[index, src], false));
        let mut emitter = Emitter::new(self, &inside.items);
        let mut path = |source: Source| {
            let path = emitter.step(0, Move::Expand(space.clone()), source.item);
            let path = emitter.step(path, Move::Reshape(room.clone()), source.item);
            (source, emitter.step(path, Move::Permute(SmallVec::clone(&last)), source.item))
        };
        let (index, src) = (path(index), path(src));
        let result = emitter.scattered(item, index, src, dim, space.clone())?;
        let (program, reads) = emitter.finish(SmallVec::from_elem(result, 1));
        let (items, how) = (SmallVec::from_elem(item, 1), SmallVec::from_elem(Reduce::Sum, 1));
        Ok(Combined { items, how, program, reads, boundary: out.rank() })
    }

    /// One stage, or two where one would loop too long or leave most of the device idle. Gives the group that has the
    /// results.
    fn push_reduction(&mut self, combined: Combined, epilogue: Option<Epilogue>) -> usize {
        let Combined { items, how, mut program, mut reads, boundary } = combined;
        let item = items[0];
        let dtypes: SmallVec<[DType; 2]> =
            program.results.iter().map(|&result| program.dtype(result)).collect();
        let inner = program.collapse(boundary);
        let outputs: usize = program.space[..inner].iter().product();
        let length: usize = program.space[inner..].iter().product();
        let (splits, lanes) = stages(self.limits, outputs, length, program.rows_are_contiguous(inner));
        let own = items.iter().map(|&item| Access::Item(Source { item, out: 0 }));
        self.finish(items.iter().copied().skip(usize::from(epilogue.is_some())));
        let first = |splits, epilogue| {
            Kernel::Reduce(Reduction { how: how.clone(), program, inner, splits, lanes, epilogue })
        };
        if splits == 1 {
            let (epilogue, writes) = Epilogue::onto(epilogue, &mut reads, own, &dtypes);
            return self.push(first(1, epilogue), reads, writes, item);
        }
        let scratch = dtypes.iter().map(|dtype| {
            self.out.scratch.push(outputs * splits * dtype.bytes());
            Access::Scratch(self.out.scratch.len() - 1)
        });
        let scratch: SmallVec<[Access; 2]> = scratch.collect();
        let mut partial = scratch.to_vec();
        let (epilogue, writes) = Epilogue::onto(epilogue, &mut partial, own, &dtypes);
        // Groups are listed newest first here.
        let second = Kernel::Reduce(Reduction {
            how: how.clone(),
            program: Program::copies(View::contiguous(&[outputs, splits].into()), &dtypes),
            inner: 1,
            splits: 1,
            lanes: stages(self.limits, outputs, splits, true).1,
            epilogue,
        });
        let group = self.push(second, partial, writes, item);
        self.push(first(splits, None), reads, scratch, item);
        group
    }

    /// The product, or its transpose: that of the transposed operands. Gives the group that has the results.
    fn matmul(&mut self, item: usize, epilogue: Option<Epilogue>, transposed: bool) -> usize {
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
        let mut reads = vec![a];
        let mut matrix = |access: Access, view: &View, batch: [usize; 2]| Matrix {
            read: position(&mut reads, access),
            offset: view.offset as usize,
            batch,
            row: view.strides[rank - 2] as usize,
            col: view.strides[rank - 1] as usize,
        };
        let (mut a, mut b) = (matrix(a, &view_a, strides[0]), matrix(b, &view_b, strides[1]));
        let (mut m, mut n, k) = (out[rank - 2], out[rank - 1], view_a.shape[rank - 1]);
        if transposed {
            (a, b, m, n) = (b.transposed(), a.transposed(), n, m);
        }
        let outputs = out.numel();
        let splits = k_splits(self.limits, outputs, k);
        let product =
            |splits, epilogue| Kernel::MatMul(MatMul { batch: sizes, m, n, k, a, b, splits }, epilogue);
        let own = std::iter::once(Access::Item(Source { item, out: 0 }));
        let dtype = self.cone.items[item].spec(0).dtype;
        if splits == 1 {
            let (epilogue, writes) = Epilogue::onto(epilogue, &mut reads, own, &[dtype]);
            return self.push(product(1, epilogue), reads, writes, item);
        }
        let scratch = Access::Scratch(self.out.scratch.len());
        self.out.scratch.push(outputs * splits * dtype.bytes());
        let mut partial = vec![scratch];
        let (epilogue, writes) = Epilogue::onto(epilogue, &mut partial, own, &[dtype]);
        // The partial products follow one another: the sum runs over the outer dim.
        let view =
            View::contiguous(&[splits, outputs].into()).apply(&Move::Permute(SmallVec::from_slice(&[1, 0])));
        let program = Program::copy(view.expect("strides can say a transpose"), dtype);
        let how = SmallVec::from_elem(Reduce::Sum, 1);
        let sum = Reduction { how, program, inner: 1, splits: 1, lanes: 1, epilogue };
        let group = self.push(Kernel::Reduce(sum), partial, writes, item);
        self.push(product(splits, None), reads, SmallVec::from_elem(scratch, 1), item);
        group
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
        let group = self.out.groups.len();
        self.writer.extend(writes.iter().map(|&access| (access, group)));
        self.out.groups.push(Group { kernel, reads, writes, item });
        group
    }
}

/// Reductions of one index space before they are placed.
struct Combined {
    items: SmallVec<[usize; 2]>,
    how: SmallVec<[Reduce; 2]>,
    program: Program,
    reads: Vec<Access>,
    /// The first dim of the program's space that is reduced.
    boundary: usize,
}

/// What goes on from a reduction or product before it has a kernel.
struct Epilogue {
    program: Program,
    reads: Vec<Access>,
    writes: SmallVec<[Access; 2]>,
}

impl Epilogue {
    /// Put onto a kernel: its reads are the kernel's too. Gives the kernel's writes, which without an epilogue are its
    /// own results; with one, the epilogue stands for the first of them.
    fn onto(
        epilogue: Option<Epilogue>,
        kernel_reads: &mut Vec<Access>,
        mut own: impl Iterator<Item = Access>,
        dtypes: &[DType],
    ) -> (Option<Program>, SmallVec<[Access; 2]>) {
        let Some(Epilogue { mut program, reads, mut writes }) = epilogue else {
            return (None, own.collect());
        };
        own.next();
        for load in &mut program.loads {
            load.read = position(kernel_reads, reads[load.read]);
        }
        for (result, access) in (1..).zip(own) {
            program.write_core(result, dtypes[result]);
            writes.push(access);
        }
        (Some(program), writes)
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
