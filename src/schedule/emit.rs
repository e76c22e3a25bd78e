//! Writes a kernel's straight-line code: each absorbed item at each place it is asked for.
//!
//! A path is the movement between the kernel's index space and an item, from the space inwards. An item read from
//! memory is read through its path as one strided view; where strides cannot say the path, the item at which it broke
//! must be written to memory, and the kernel is built anew.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::cone::Source;
use super::fuse::{Access, Fuser};
use super::plan::{Inst, Load, Program, Reg};
use crate::dtype::DType;
use crate::graph::{Binary, Move, Op, View};
use crate::shape::Shape;

/// The item that must be in memory before this kernel can be.
pub(super) struct Blocked(pub usize);

type PathId = usize;

/// Instructions in a kernel. An item met on several paths is computed on each, and paths can multiply.
const MAX_INSTRUCTIONS: usize = 512;

/// One movement op on a path. `blame` is the item to write if strides cannot say it.
struct Step {
    parent: PathId,
    movement: Move,
    blame: usize,
}

pub(super) struct Emitter<'a, 'b> {
    fuser: &'a Fuser<'b>,
    inside: &'a FxHashSet<usize>,
    /// The reductions, or the product, whose results are at hand at each place.
    cores: &'a [usize],
    /// Whether they are wanted with their last two dims exchanged.
    pub transposed: bool,
    /// Path `i` ends with step `i - 1`; path 0 is empty.
    steps: Vec<Step>,
    /// The path behind each movement item on each path.
    known: FxHashMap<(PathId, usize), PathId>,
    registers: FxHashMap<(Source, PathId), Reg>,
    program: Program,
    reads: Vec<Access>,
}

impl<'a, 'b> Emitter<'a, 'b> {
    pub fn new(fuser: &'a Fuser<'b>, inside: &'a FxHashSet<usize>) -> Self {
        Emitter {
            fuser,
            inside,
            cores: &[],
            transposed: false,
            steps: Vec::new(),
            known: FxHashMap::default(),
            registers: FxHashMap::default(),
            program: Program::default(),
            reads: Vec::new(),
        }
    }

    /// Code that goes on from reductions or a product, at the place of each of their results.
    pub fn after(fuser: &'a Fuser<'b>, inside: &'a FxHashSet<usize>, cores: &'a [usize]) -> Self {
        Emitter { cores, ..Emitter::new(fuser, inside) }
    }

    /// The item's own operation over its own shape.
    pub fn head(&mut self, item: usize) -> Result<Reg, Blocked> {
        self.program.space = self.fuser.cone.items[item].spec(0).shape.clone();
        match self.inside.contains(&item) {
            true => self.emit(Source { item, out: 0 }, 0),
            false => self.compute(item, 0),
        }
    }

    /// A source seen along a path from the index space.
    pub fn value(&mut self, source: Source, path: PathId, space: Shape) -> Result<Reg, Blocked> {
        self.program.space = space;
        self.emit(source, path)
    }

    /// `src` where `index` is the coordinate along `dim`, zero elsewhere.
    pub fn scattered(
        &mut self,
        item: usize,
        index: (Source, PathId),
        src: (Source, PathId),
        dim: usize,
        space: Shape,
    ) -> Result<Reg, Blocked> {
        let dtypes = [index.0, src.0].map(|source| self.fuser.cone.spec(source).dtype);
        let size = space[dim];
        let place = self.push(Inst::Index(along(&space, dim)));
        self.program.space = space;
        let index = self.emit(index.0, index.1)?;
        self.push(Inst::Check { item, index, size });
        let index = if dtypes[0] == DType::I32 { index } else { self.push(Inst::Cast(index, DType::I32)) };
        let src = self.emit(src.0, src.1)?;
        let hit = self.push(Inst::Binary(Binary::Eq, index, place, DType::I32));
        let zero = self.push(Inst::Const(0.0, dtypes[1]));
        Ok(self.push(Inst::Where(hit, src, zero)))
    }

    pub fn finish(mut self, results: SmallVec<[Reg; 2]>) -> (Program, Vec<Access>) {
        self.program.results = results;
        (self.program, self.reads)
    }

    /// The path that goes on from `parent` through one more movement op.
    pub fn step(&mut self, parent: PathId, movement: Move, blame: usize) -> PathId {
        self.steps.push(Step { parent, movement, blame });
        self.steps.len()
    }

    fn push(&mut self, inst: Inst) -> Reg {
        self.program.code.push(inst);
        self.program.code.len() - 1
    }

    fn emit(&mut self, source: Source, path: PathId) -> Result<Reg, Blocked> {
        if let Some(&register) = self.registers.get(&(source, path)) {
            return Ok(register);
        }
        let register = if self.inside.contains(&source.item) {
            self.compute(source.item, path)?
        } else if let Some(n) = self.cores.iter().position(|&core| core == source.item) {
            self.core_at(n, source, path)?
        } else {
            let view = self.through(self.fuser.layout(source), path)?;
            let load = self.load(source, view);
            // Two paths may come to the same view: it is read once.
            let known = self.program.code.iter().position(|inst| matches!(inst, Inst::Load(i) if *i == load));
            known.unwrap_or_else(|| self.push(Inst::Load(load)))
        };
        self.registers.insert((source, path), register);
        Ok(register)
    }

    /// The n-th core's result, if each place wants the one that is at hand there: in order, or all of them transposed.
    fn core_at(&mut self, n: usize, source: Source, path: PathId) -> Result<Reg, Blocked> {
        let layout = self.fuser.layout(source);
        let view = self.through(layout.clone(), path)?;
        let in_order = view.is_contiguous() && view.shape.numel() == self.program.space.numel();
        let across =
            || view.shape == self.program.space && layout.transposed().is_some_and(|other| other == view);
        let transposed = !in_order;
        let mut cores = self.program.code.iter().filter(|inst| matches!(inst, Inst::Core(..)));
        if (transposed && !across()) || (cores.next().is_some() && transposed != self.transposed) {
            return Err(Blocked(source.item));
        }
        self.transposed = transposed;
        let is_known = |inst: &Inst| matches!(inst, Inst::Core(other, _) if *other == n);
        let known = self.program.code.iter().position(is_known);
        Ok(known.unwrap_or_else(|| self.push(Inst::Core(n, self.fuser.cone.spec(source).dtype))))
    }

    fn compute(&mut self, item: usize, path: PathId) -> Result<Reg, Blocked> {
        if self.program.code.len() > MAX_INSTRUCTIONS && self.inside.contains(&item) {
            return Err(Blocked(item));
        }
        let cone = self.fuser.cone;
        let it = &cone.items[item];
        let (spec, sources) = (it.spec(0), &it.sources);
        let inst = match &it.node.op {
            Op::Const(x) => Inst::Const(*x, spec.dtype),
            Op::Scalar(_) => Inst::Scalar(item, spec.dtype),
            Op::Iota(dim) => Inst::Index(self.through(along(&spec.shape, *dim), path)?),
            Op::Random { .. } => Inst::Random(item, self.through(View::contiguous(&spec.shape), path)?),
            Op::Unary(op) => Inst::Unary(*op, self.emit(sources[0], path)?, spec.dtype),
            Op::Binary(op) => {
                let operands = cone.spec(sources[0]).dtype;
                Inst::Binary(*op, self.emit(sources[0], path)?, self.emit(sources[1], path)?, operands)
            }
            Op::Where => {
                let condition = self.emit(sources[0], path)?;
                Inst::Where(condition, self.emit(sources[1], path)?, self.emit(sources[2], path)?)
            }
            Op::Cast(to) => Inst::Cast(self.emit(sources[0], path)?, *to),
            Op::Move(movement) => return self.moved(item, movement, path),
            Op::Gather(dim) => self.gather(item, *dim, path)?,
            Op::Input | Op::Reduce(..) | Op::MatMul | Op::ScatterAdd(..) | Op::Fused(_) => {
                unreachable!("{} is read from memory", it.node.op.name())
            }
        };
        Ok(self.push(inst))
    }

    /// Movement is index arithmetic of what lies behind it; where it pads a computed value, a mask as well.
    fn moved(&mut self, item: usize, movement: &Move, path: PathId) -> Result<Reg, Blocked> {
        let source = self.fuser.cone.items[item].sources[0];
        let inner = match self.known.get(&(path, item)) {
            Some(&inner) => inner,
            None => {
                // What a reshape gives can be written in order; windows over a mask want the masked source written.
                let blame = if let Move::Windows(_) = movement { source.item } else { item };
                let inner = self.step(path, movement.clone(), blame);
                self.known.insert((path, item), inner);
                inner
            }
        };
        let register = self.emit(source, inner)?;
        let masked = matches!(self.program.code[register], Inst::Load(_) | Inst::Mask(..));
        if masked || !matches!(movement, Move::Pad(_)) {
            return Ok(register);
        }
        let spec = self.fuser.cone.spec(source).clone();
        let mask = self.through(View::contiguous(&spec.shape), inner)?;
        Ok(self.push(Inst::Mask(mask, register, spec.dtype)))
    }

    fn gather(&mut self, item: usize, dim: usize, path: PathId) -> Result<Inst, Blocked> {
        let it = &self.fuser.cone.items[item];
        let [x, index] = it.sources[..] else { unreachable!("a gather has two operands") };
        let (out, dtype) = (it.spec(0).shape.clone(), it.spec(0).dtype);
        if out.numel() == 0 {
            // All that is seen of it is the padding around it, and there no index is in range.
            return Ok(Inst::Const(0.0, dtype));
        }
        let (base, mut view) = self.fuser.located(x);
        let (size, stride) = (view.shape[dim], view.strides[dim]);
        // The index walks along the dim; the other coordinates are the result's own.
        view.strides[dim] = 0;
        view.shape = out;
        let view = self.through(view, path)?;
        let index_dtype = self.fuser.cone.spec(index).dtype;
        let mut index = self.emit(index, path)?;
        // In a padding nothing is gathered: an index that is computed there is no fault.
        if self.pads(path) && !matches!(self.program.code[index], Inst::Load(_) | Inst::Mask(..)) {
            let mask = self.through(View::contiguous(&it.spec(0).shape), path)?;
            index = self.push(Inst::Mask(mask, index, index_dtype));
        }
        let load = self.load_of(base, dtype, view);
        Ok(Inst::Gather { item, load, index, size, stride })
    }

    fn load(&mut self, source: Source, view: View) -> usize {
        let dtype = self.fuser.cone.spec(source).dtype;
        self.load_of(source, dtype, view)
    }

    fn load_of(&mut self, source: Source, dtype: DType, view: View) -> usize {
        let read = position(&mut self.reads, Access::Item(source));
        position(&mut self.program.loads, Load { read, dtype, view })
    }

    /// Whether part of the index space lies outside of what is at the end of a path.
    fn pads(&self, mut path: PathId) -> bool {
        while path > 0 {
            let step = &self.steps[path - 1];
            if matches!(step.movement, Move::Pad(_)) {
                return true;
            }
            path = step.parent;
        }
        false
    }

    /// A layout seen along a path.
    fn through(&self, layout: View, mut path: PathId) -> Result<View, Blocked> {
        let mut view = layout;
        while path > 0 {
            let step = &self.steps[path - 1];
            view = view.apply(&step.movement).ok_or(Blocked(step.blame))?;
            path = step.parent;
        }
        Ok(view)
    }
}

/// The coordinate along a dim, as a view that gives integers.
fn along(shape: &Shape, dim: usize) -> View {
    let strides = (0..shape.rank()).map(|d| isize::from(d == dim)).collect();
    View { shape: shape.clone(), strides, offset: 0, mask: None }
}

/// Where an entry stands in a list, at whose end it is put if need be.
pub(super) fn position<T: PartialEq>(list: &mut Vec<T>, entry: T) -> usize {
    list.iter().position(|other| *other == entry).unwrap_or_else(|| {
        list.push(entry);
        list.len() - 1
    })
}
