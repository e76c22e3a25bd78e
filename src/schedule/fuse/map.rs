//! Elementwise kernels: alone, several over one index space, or going on from a reduction or product.

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::{Access, Fuser};
use crate::dtype::DType;
use crate::graph::{Move, Op};
use crate::schedule::absorb::{Inside, Start, absorbable};
use crate::schedule::cone::Source;
use crate::schedule::emit::{Blocked, Emitter};
use crate::schedule::plan::{Kernel, Program};

/// Other results that a kernel looks for.
const MOST_SIBLINGS: usize = 16;

/// Reductions or a product that a kernel goes on from.
pub(super) type Cores = SmallVec<[usize; 2]>;

/// What goes on from reductions or a product before it has a kernel.
pub(super) struct Epilogue {
    /// How many of the kernel's results it goes on from: the first ones.
    pub cores: usize,
    pub program: Program,
    pub reads: Vec<Access>,
    pub writes: SmallVec<[Access; 2]>,
}

impl Epilogue {
    /// Put onto a kernel: its reads are the kernel's too. Gives the kernel's writes, which without an epilogue are its
    /// own results; with one, the epilogue stands for those that it goes on from.
    pub fn onto(
        epilogue: Option<Epilogue>,
        kernel_reads: &mut Vec<Access>,
        own: impl Iterator<Item = Access>,
        dtypes: &[DType],
    ) -> (Option<Program>, SmallVec<[Access; 2]>) {
        let Some(Epilogue { cores, mut program, reads, mut writes }) = epilogue else {
            return (None, own.collect());
        };
        program.read_from(&reads, kernel_reads);
        for (result, access) in own.enumerate().skip(cores) {
            program.write_core(result, dtypes[result]);
            writes.push(access);
        }
        (Some(program), writes)
    }
}

impl Fuser<'_> {
    /// Elementwise: the item, with what it absorbs and what it can write besides; as the epilogue of what it goes on
    /// from, if there are such reductions or a product.
    pub(super) fn map(&mut self, item: usize) {
        let mut most = if self.enabled { usize::MAX } else { 0 };
        loop {
            let start = self.start(item);
            let mut inside = self.grow(&start);
            let cores = if most == 0 { Cores::new() } else { self.cores(item, &inside, most) };
            inside.loads.retain(|load| !cores.contains(load));
            let code = self.code(item, &inside, &cores);
            let fewer = usize::from(cores.len() > 1);
            if code.is_err() && !cores.is_empty() {
                most = fewer; // not at its own place
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
            if cores.is_empty() {
                self.finish(items);
                self.push(Kernel::Map(program), reads, writes, item);
                return;
            }
            let epilogue = Epilogue { cores: cores.len(), program, reads, writes };
            let transposable = !transposed || self.is_last_use(cores[0], &inside);
            if transposable && self.go_on(&cores, epilogue, transposed) {
                self.finish(items);
                return;
            }
            most = fewer;
        }
    }

    /// The kernel of an item, and of others over its index space that must be written too and share an operand, or go on
    /// from siblings.
    fn start(&self, item: usize) -> Start<'_> {
        let items = &self.cone.items;
        let mut start = Start::new(item, &items[item].sources, true);
        // A gather has an operand apart; a reshape is written in its source's space.
        let fits = |op: &Op| absorbable(op) && !matches!(op, Op::Gather(_) | Op::Move(Move::Reshape(_)));
        if !self.enabled || !fits(&items[item].node.op) {
            return start;
        }
        let mut inside = self.grow(&start);
        // What goes on from siblings comes whole or not at all.
        let mut refused: Vec<usize> = Vec::new();
        for other in self.siblings(item, fits) {
            if inside.items.contains(&other) {
                continue;
            }
            let reads = self.grow(&Start::new(other, &items[other].sources, false)).loads;
            let mut theirs: Vec<usize> = vec![other];
            if reads.is_disjoint(&inside.loads) {
                let alone = self.grow(&Start::new(other, &items[other].sources, true));
                if refused.contains(&other) || !self.go_on_alike((item, &inside), (other, &alone)) {
                    continue;
                }
                theirs.extend(alone.written);
            }
            let mut wider = start.clone();
            wider.siblings.push(other);
            let both = self.grow(&wider);
            let lossless = inside.written.iter().chain(&theirs).all(|item| both.written.contains(item));
            if lossless && self.needed(&both.loads, &[item]).is_empty() {
                (start, inside) = (wider, both);
            } else if theirs.len() > 1 {
                refused.extend(theirs);
            }
        }
        start
    }

    /// Whether two kernels could each go on from a reduction, and these are siblings.
    fn go_on_alike(&self, one: (usize, &Inside), other: (usize, &Inside)) -> bool {
        let (ours, theirs) = (self.bare(one.0, one.1), self.bare(other.0, other.1));
        ours.iter().any(|&a| theirs.iter().any(|&b| self.alike(a, b)))
    }

    /// Older items of the same shape that kernels are known to need, and that none computes yet.
    pub(super) fn siblings(&self, item: usize, kind: impl Fn(&Op) -> bool) -> impl Iterator<Item = usize> {
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

    /// Reductions and products without a kernel so far, of whose every result the kernel makes something, newest first.
    fn bare(&self, item: usize, inside: &Inside) -> SmallVec<[usize; 4]> {
        let items = &self.cone.items;
        let mut bare: SmallVec<[usize; 4]> = inside
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
        bare.sort_unstable_by(|a, b| b.cmp(a));
        bare
    }

    /// What the kernel can go on from: the newest that can wait for all else that the kernel reads, and its siblings.
    fn cores(&self, item: usize, inside: &Inside, most: usize) -> Cores {
        let bare = self.bare(item, inside);
        let with_siblings = |core: usize| -> Cores {
            let siblings = bare.iter().copied().filter(|&other| other != core && self.alike(core, other));
            std::iter::once(core).chain(siblings).take(most).collect()
        };
        let ways =
            bare.iter().flat_map(|&core| [with_siblings(core), with_siblings(core)[..most.min(1)].into()]);
        ways.into_iter().find(|cores| self.can_wait(item, inside, cores)).unwrap_or_default()
    }

    /// Whether the cores need nothing that the kernel writes, nor one another.
    fn can_wait(&self, item: usize, inside: &Inside, cores: &[usize]) -> bool {
        let mut others = inside.loads.clone();
        others.retain(|load| !cores.contains(load));
        let buffers = self.buffers(&others) + inside.written.len() + 5; // two operands, two results, the error word
        let sources = cores.iter().flat_map(|&core| &self.cone.items[core].sources);
        others.extend(sources.map(|source| source.item));
        let targets: SmallVec<[usize; 8]> =
            cores.iter().chain([&item]).chain(&inside.written).copied().collect();
        buffers <= self.limits.storage_buffers as usize && self.needed(&others, &targets).is_empty()
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

    /// The code of a kernel: the item first, then what else it writes; and whether it wants its core transposed.
    fn code(
        &self,
        item: usize,
        inside: &Inside,
        cores: &[usize],
    ) -> Result<(Program, Vec<Access>, bool), Blocked> {
        let mut emitter = Emitter::after(self, &inside.items, cores);
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
        let (program, reads) = emitter.finish(results);
        Ok((program, reads, transposed))
    }

    /// Places reductions or a product with their epilogue, unless that takes more buffers than a kernel can have.
    fn go_on(&mut self, cores: &[usize], mut epilogue: Epilogue, transposed: bool) -> bool {
        let product = matches!(self.cone.items[cores[0]].node.op, Op::MatMul);
        if transposed && !product {
            return false;
        }
        for (n, &core) in cores.iter().enumerate() {
            if self.root[core] || self.cone.items[core].wanted {
                epilogue.writes.push(Access::Item(Source { item: core, out: 0 }));
                epilogue.program.write_core(n, self.cone.items[core].spec(0).dtype);
                self.written.insert(core);
            }
        }
        let group = if product {
            self.matmul(cores[0], Some(epilogue), transposed)
        } else {
            let combined = self.reduction(cores, &epilogue.reads);
            let room = self.limits.storage_buffers as usize - 2; // one may be written later, and the error word
            let buffers = combined.reads.len() + epilogue.reads.len() + epilogue.writes.len();
            if buffers + combined.items.len() - cores.len() > room {
                self.written.retain(|item| !cores.contains(item));
                return false;
            }
            self.push_reduction(combined, Some(epilogue))
        };
        for (n, &core) in cores.iter().enumerate() {
            if !self.written.contains(&core) {
                self.merged.insert(core, (group, n));
            }
            self.oldest = self.oldest.min(core);
        }
        true
    }
}
