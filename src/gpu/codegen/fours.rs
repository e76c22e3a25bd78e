//! Four neighbours at a time: their operands are read, and their results written, as one vector. An access costs a GPU
//! about the same for one element as for four, and a CPU adapter, which makes each in a loop over its lanes, far more than
//! arithmetic.

use std::fmt::Write;

use super::Writer;
use crate::graph::View;

pub(super) const LANES: [&str; 4] = ["x", "y", "z", "w"];

/// Whether neighbours along the dim are neighbours in memory, rather than one element.
pub(super) fn side_by_side(view: &View, dim: usize) -> bool {
    view.strides.get(dim) == Some(&1)
}

impl Writer<'_> {
    /// An elementwise program on four neighbours.
    pub(super) fn elements_by_fours(&mut self) -> String {
        let mut text = self.one_of_four() + "fn element(i: u32) {\n";
        if self.needs_coordinates() {
            self.coordinates(&mut text, "4u * i", 0..self.program.space.rank());
        }
        self.four(&mut text, "i");
        self.write_fours(&mut text, self.writes, "i");
        text + "}\n"
    }

    /// Writes the first results of four neighbours to their slots, each as the vector `linear`.
    pub(super) fn write_fours(&self, out: &mut String, slots: &[usize], linear: &str) {
        for (i, &slot) in slots.iter().enumerate() {
            let lanes = LANES.map(|lane| self.result_dtype(i).store(&format!("{lane}.r{i}"))).join(", ");
            writeln!(out, "    {}[{linear}] = vec4({lanes});", self.buffer(slot))
                .expect("a string takes text");
        }
    }

    /// The function `compute`: the program at one place, from its coordinates if they matter and from its operands. It
    /// gives `Results`.
    pub(super) fn one_of_four(&mut self) -> String {
        let program = self.program;
        let members =
            (0..program.results.len()).map(|i| format!("r{i}: {}", self.result_dtype(i).register()));
        let members = members.collect::<Vec<_>>().join(", ");
        let mut body = String::new();
        self.code(&mut body, None);
        let coordinates =
            (0..program.space.rank()).filter(|_| program.uses_coordinates()).map(|d| format!("c{d}: i32"));
        let loads =
            program.loads.iter().enumerate().map(|(i, load)| format!("l{i}: {}", load.dtype.register()));
        let args = coordinates.chain(loads).collect::<Vec<_>>().join(", ");
        let values: Vec<String> = program.results.iter().map(|result| format!("v{result}")).collect();
        let values = values.join(", ");
        format!(
            "struct Results {{ {members} }}\n\
             fn compute({args}) -> Results {{\n{body}    return Results({values});\n}}\n"
        )
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
            let coordinates = (0..program.space.rank()).filter(|_| program.uses_coordinates());
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
        self.program.uses_coordinates() || self.program.can_fault() || !self.program.is_plain()
    }
}
