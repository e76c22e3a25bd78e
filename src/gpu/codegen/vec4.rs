//! Vectorized code: loads four neighbours, and stores their results, as one vec4. On a GPU an access costs about the
//! same for four elements as for one. On a CPU adapter, which loops over its lanes for each access, it costs far more
//! than arithmetic.

use std::fmt::Write;

use super::Writer;
use crate::graph::View;

pub(super) const LANES: [&str; 4] = ["x", "y", "z", "w"];

/// Whether neighbours along the dim are adjacent in memory. Otherwise, in a vectorized kernel, they are one element.
pub(super) fn is_vector(view: &View, dim: usize) -> bool {
    view.strides.get(dim) == Some(&1)
}

impl Writer<'_> {
    /// An elementwise kernel's function that computes four neighbours.
    pub(super) fn vec4_element(&mut self) -> String {
        let mut text = self.compute_function() + &format!("fn element{}(i: u32) {{\n", self.suffix);
        if self.needs_coordinates() {
            self.coordinates(&mut text, "4u * i", 0..self.program.space.rank());
        }
        self.compute_vec4(&mut text, "i");
        self.store_vec4(&mut text, self.writes, "i");
        text + "}\n"
    }

    /// Stores the first results of four neighbours to the slots, as the vec4 at index `linear`.
    pub(super) fn store_vec4(&self, out: &mut String, slots: &[usize], linear: &str) {
        for (i, &slot) in slots.iter().enumerate() {
            let lanes = LANES.map(|lane| self.result_dtype(i).store(&format!("{lane}.r{i}"))).join(", ");
            writeln!(out, "    {}[{linear}] = vec4({lanes});", self.buffer(slot))
                .expect("a string takes text");
        }
    }

    /// The function `compute`: runs the program at one index, and returns `Results`. Its arguments are the coordinates,
    /// if the program uses them, and the loaded operands.
    pub(super) fn compute_function(&mut self) -> String {
        let (program, suffix) = (self.program, self.suffix);
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
            "struct Results{suffix} {{ {members} }}\n\
             fn compute{suffix}({args}) -> Results{suffix} {{\n{body}    return Results{suffix}({values});\n}}\n"
        )
    }

    /// Loads the operands of four neighbours and computes each of them: `x`, `y`, `z` and `w`. `linear` is the index of
    /// the vec4 in a contiguous operand.
    pub(super) fn compute_vec4(&mut self, out: &mut String, linear: &str) {
        let (program, dim) = (self.program, self.vec4_dim.expect("the kernel is vectorized"));
        for (i, load) in program.loads.iter().enumerate() {
            let (view, storage, name) = (&load.view, load.dtype.storage(), format!("l{i}"));
            let slot = self.reads[load.read];
            let vector = is_vector(view, dim);
            let element = |writer: &Self, offset: &str| match vector {
                true => format!("{}[u32({offset}) / 4u]", writer.buffer(slot)),
                false => writer.element(slot, &format!("u32({offset})")),
            };
            let value = if vector && view.is_contiguous() {
                format!("{}[{linear}]", self.buffer(slot))
            } else {
                let offset = self.offset(&name, view);
                match self.within(&name, view) {
                    None => element(self, &offset),
                    Some(within) => {
                        let zero = if vector { format!("vec4<{storage}>()") } else { format!("{storage}()") };
                        let value = element(self, &format!("select(0, {offset}, {within})"));
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
                let part = if is_vector(&load.view, dim) { format!(".{lane}") } else { String::new() };
                load.dtype.load(&format!("l{i}{part}"))
            });
            let args = coordinates.chain(loads).collect::<Vec<_>>().join(", ");
            writeln!(out, "    let {lane} = compute{}({args});", self.suffix).expect("a string takes text");
        }
    }

    /// Whether the generated code may use the coordinates of an index.
    pub(super) fn needs_coordinates(&self) -> bool {
        self.program.uses_coordinates() || self.program.can_fault() || !self.program.is_plain()
    }
}
