//! Elementwise kernels: alone, several over one index space, or going on from a reduction or product.

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::{Access, Fuser};
use crate::dtype::DType;
use crate::graph::{Move, Op};
use crate::schedule::absorb::{Inside, Start, absorbable};
use crate::schedule::cone::Source;
use crate::schedule::emit::{Blocked, Emitter, position};
use crate::schedule::plan::{Kernel, Program};

/// Other results that a kernel looks for.
const MOST_SIBLINGS: usize = 16;

/// What goes on from a reduction or product before it has a kernel.
pub(super) struct Epilogue {
    pub program: Program,
    pub reads: Vec<Access>,
    pub writes: SmallVec<[Access; 2]>,
}

impl Epilogue {
    /// Put onto a kernel: its reads are the kernel's too. Gives the kernel's writes, which without an epilogue are its
    /// own results; with one, the epilogue stands for the first of them.
    pub fn onto(
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

impl Fuser<'_> {
    /// Elementwise: the item, with what it absorbs and what it can write besides; as the epilogue of what it goes on
    /// from, if there is such a reduction or product.
    pub(super) fn map(&mut self, item: usize) {
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
}
