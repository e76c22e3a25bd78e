//! Four neighbours at a time: their operands are read, and their results written, as one vector. An access costs a GPU
//! about the same for one element as for four, and a CPU adapter, which makes each in a loop over its lanes, far more than
//! arithmetic.

use std::fmt::Write;

use super::{Writer, is_constant};
use crate::graph::View;
use crate::schedule::plan::{Inst, Program};

const LANES: [&str; 4] = ["x", "y", "z", "w"];

/// Places from which on four at a time are worth a text of their own: below, sizes of every kind share one.
const MANY: usize = 1 << 14;

/// The dim along which an elementwise program goes by fours: the last one. A single dim need not be a multiple of four,
/// as memory is: what is computed beyond its end lies in the buffers' padding.
pub(super) fn of_map(program: &Program) -> Option<usize> {
    let rank = program.space.rank();
    let dim = rank.saturating_sub(1);
    let fits = rank <= 1 || program.space[dim].is_multiple_of(4);
    let worth = program.space.numel() >= MANY || (rank <= 1 && is_plain(program) && !is_placed(program));
    (fits && worth && goes_by_fours(program, dim)).then_some(dim)
}

/// Sums that four columns may have each: lanes hand them over in workgroup memory.
const MOST_SUMS: usize = 8;

/// The dim along which a reduction goes by fours: the last one that is reduced, or else the last one that stays.
pub(super) fn of_reduction(program: &Program, inner: usize) -> Option<usize> {
    let rows = program.space.rank().checked_sub(1).filter(|&last| last >= inner);
    let many = program.space.numel() >= MANY;
    let fits = |&dim: &usize| many && program.space[dim].is_multiple_of(4) && goes_by_fours(program, dim);
    let columns = inner.checked_sub(1).filter(|_| program.results.len() <= MOST_SUMS);
    rows.into_iter().chain(columns).find(fits)
}

/// Each operand has four neighbours along the dim in one vector, or is the same for all of them. What a gather reads lies
/// anywhere.
fn goes_by_fours(program: &Program, dim: usize) -> bool {
    let view_fits = |view: &View| {
        let range = view.mask.as_ref().and_then(|mask| mask.get(dim));
        let masked = range.is_some_and(|(low, high)| low % 4 != 0 || high % 4 != 0);
        let aligned = |d: usize| d == dim || view.shape[d] == 1 || view.strides[d] % 4 == 0;
        !masked
            && match view.strides.get(dim) {
                Some(1) => view.offset % 4 == 0 && (0..view.strides.len()).all(aligned),
                stride => matches!(stride, None | Some(0)),
            }
    };
    program.loads.iter().all(|load| view_fits(&load.view))
        && !program.code.iter().any(|inst| matches!(inst, Inst::Gather { .. }))
}

/// Whether neighbours along the dim are neighbours in memory, rather than one element.
pub(super) fn side_by_side(view: &View, dim: usize) -> bool {
    view.strides.get(dim) == Some(&1)
}

/// Whether every operand is read in order or at one place.
fn is_plain(program: &Program) -> bool {
    program.loads.iter().all(|load| load.view.is_contiguous() || is_constant(&load.view))
}

/// Whether a place's own coordinates enter into what is computed there.
fn is_placed(program: &Program) -> bool {
    program.code.iter().any(|inst| matches!(inst, Inst::Index(_) | Inst::Random(..) | Inst::Mask(..)))
}

impl Writer<'_> {
    /// An elementwise program on four neighbours.
    pub(super) fn elements_by_fours(&mut self) -> String {
        let dtypes: Vec<_> = (0..self.program.results.len()).map(|i| self.result_dtype(i)).collect();
        let members = dtypes.iter().enumerate().map(|(i, dtype)| format!("r{i}: {}", dtype.register()));
        let mut text = format!("struct Results {{ {} }}\n", members.collect::<Vec<_>>().join(", "));
        text += &self.one_of_four("Results");
        text += "fn element(i: u32) {\n";
        if self.needs_coordinates() {
            self.coordinates(&mut text, "4u * i", 0..self.program.space.rank());
        }
        self.four(&mut text, "i");
        for (i, dtype) in dtypes.iter().enumerate() {
            let lanes = LANES.map(|lane| dtype.store(&format!("{lane}.r{i}"))).join(", ");
            writeln!(text, "    {}[i] = vec4({lanes});", self.target(i)).expect("a string takes text");
        }
        text + "}\n"
    }

    /// The function `compute`: the program at one place, from its coordinates if they matter and from its operands.
    pub(super) fn one_of_four(&mut self, results: &str) -> String {
        let program = self.program;
        let mut body = String::new();
        self.code(&mut body, None);
        let coordinates =
            (0..program.space.rank()).filter(|_| is_placed(program)).map(|d| format!("c{d}: i32"));
        let loads =
            program.loads.iter().enumerate().map(|(i, load)| format!("l{i}: {}", load.dtype.register()));
        let args = coordinates.chain(loads).collect::<Vec<_>>().join(", ");
        let values: Vec<String> = program.results.iter().map(|result| format!("v{result}")).collect();
        let values = values.join(", ");
        format!("fn compute({args}) -> {results} {{\n{body}    return {results}({values});\n}}\n")
    }

    /// Reads what four neighbours need, and computes each: `x`, `y`, `z` and `w`. Of what is read in order they want the
    /// vector `linear`.
    pub(super) fn four(&mut self, out: &mut String, linear: &str) {
        let (program, dim) = (self.program, self.fours.expect("the kernel goes by fours"));
        for (i, load) in program.loads.iter().enumerate() {
            let (view, storage, name) = (&load.view, load.dtype.storage(), format!("l{i}"));
            let slot = self.reads[load.read];
            let vector = side_by_side(view, dim);
            let element = |writer: &Self, place: &str| match vector {
                true => format!("{}[u32({place}) / 4u]", writer.buffer(slot)),
                false => writer.at(slot, &format!("u32({place})")),
            };
            let value = if vector && view.is_contiguous() {
                format!("{}[{linear}]", self.buffer(slot))
            } else {
                let place = self.place(&name, view);
                match self.within(&name, view) {
                    None => element(self, &place),
                    Some(within) => {
                        let zero = if vector { format!("vec4<{storage}>()") } else { format!("{storage}()") };
                        let value = element(self, &format!("select(0, {place}, {within})"));
                        format!("select({zero}, {value}, {within})")
                    }
                }
            };
            writeln!(out, "    let {name} = {value};").expect("a string takes text");
        }
        for (n, lane) in LANES.iter().enumerate() {
            let coordinates = (0..program.space.rank()).filter(|_| is_placed(program));
            let coordinates =
                coordinates.map(|d| if d == dim { format!("c{d} + {n}") } else { format!("c{d}") });
            let loads = program.loads.iter().enumerate().map(|(i, load)| {
                let part = if side_by_side(&load.view, dim) { format!(".{lane}") } else { String::new() };
                load.dtype.load(&format!("l{i}{part}"))
            });
            let args = coordinates.chain(loads).collect::<Vec<_>>().join(", ");
            writeln!(out, "    let {lane} = compute({args});").expect("a string takes text");
        }
    }

    /// Whether anything depends on where in the space a place is.
    pub(super) fn needs_coordinates(&self) -> bool {
        is_placed(self.program) || self.program.can_fault() || !is_plain(self.program)
    }
}
