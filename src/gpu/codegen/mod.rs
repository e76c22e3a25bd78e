//! WGSL from plans: the templates in `shaders/` with their hooks filled in, and the words of their uniform blocks.
//!
//! The text holds no sizes: sizes, strides and offsets are uniforms, so shapes that differ share a kernel. What is text
//! is the pattern: the operations, the collapsed rank, and whether an operand is read contiguously, at one place, or by
//! strides, and whether four neighbours are worked on at a time (`fours`). `schedule` has proven every index to be in
//! its buffer; only the indices that a tensor holds are checked.

mod constants;
mod fours;
mod together;

use std::fmt::Write;

use self::constants::{is_arithmetic_operand, zero};
pub(crate) use self::together::together;
use crate::core::dtype::DType;
use crate::graph::{Reduce, View};
use crate::ir::vectorize::{elementwise_vec4_dim, reduction_vec4_dim};
use crate::ir::{Inst, Load, Program, ReductionKernel, Reg};

const COMMON: &str =
    concat!(include_str!("../../../shaders/common.wgsl"), include_str!("../../../shaders/math.wgsl"));
const ELEMENTWISE: &str = include_str!("../../../shaders/elementwise.wgsl");
const REDUCE: &str = include_str!("../../../shaders/reduce.wgsl");
const SUBGROUPS: &str = include_str!("../../../shaders/reduce_subgroups.wgsl");

/// A word of a uniform block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum UniformWord {
    Fixed(u32),
    /// The user's number on an item of the pending graph.
    Scalar {
        item: usize,
        dtype: DType,
    },
    /// Seed (low, high) and counter (low, high) of a random item.
    Random {
        item: usize,
        part: usize,
    },
    /// A fused item's scalar.
    Attribute {
        item: usize,
        scalar: usize,
    },
    /// The number by which a fault is traced to an item's line.
    Site {
        item: usize,
    },
}

/// A kernel's text, its uniform block, and how its bindings are accessed.
pub(super) struct Text {
    pub source: String,
    pub words: Vec<UniformWord>,
    /// For each slot bound: whether it is written.
    pub bindings: Vec<(usize, bool)>,
    pub faults: bool,
    /// Places that the kernel works on: elements, or vectors of four.
    pub places: usize,
}

/// The whole program of a hand-written shader.
pub(crate) fn whole(source: &str) -> String {
    format!("{COMMON}\n{source}")
}

/// Replaces what stands in the hook.
pub(crate) fn fill(template: &str, hook: &str, text: &str) -> String {
    let (start, end) = (format!("// hook {hook}\n"), format!("// end {hook}\n"));
    let from = template.find(&start).expect("the template has the hook") + start.len();
    let end = template.find(&end).expect("the hook has an end");
    let to = template[..end].rfind('\n').expect("the hook begins above") + 1;
    format!("{}{text}{}", &template[..from], &template[to..])
}

/// Elementwise over the program's space. `reads` and `writes` are the slots of the step.
pub(super) fn map(program: &Program, reads: &[usize], writes: &[usize]) -> Text {
    let fours = elementwise_vec4_dim(program);
    let mut writer = Writer::new(program, reads, writes, fours);
    let places = if fours.is_some() { program.space.numel().div_ceil(4) } else { program.space.numel() };
    writer.param("len", "u32", UniformWord::Fixed(places as u32));
    let element = if fours.is_some() { writer.elements_by_fours() } else { writer.scalar_element() };
    let source = fill(&fill(&whole(ELEMENTWISE), "element", &element), "bindings", &writer.bindings());
    writer.text(source, places)
}

/// One stage of a reduction; `places` is the number of partial results, or of fours of them. With `subgroups` a
/// workgroup's lanes are those of one output.
pub(super) fn reduce(
    reduction: &ReductionKernel,
    reads: &[usize],
    writes: &[usize],
    subgroups: bool,
) -> Text {
    let ReductionKernel { reduce_ops, program, splits, epilogue, .. } = reduction;
    let (inner, (here, reduced)) = (reduction.inner(), reduction.results());
    let mut outputs: usize = program.space[..inner].iter().product();
    let mut len: usize = program.space[inner..].iter().product();
    let fours = reduction_vec4_dim(reduction);
    let columns = fours.is_some_and(|dim| dim < inner);
    let mut part = reduction.part();
    match fours {
        Some(_) if columns => outputs /= 4,
        Some(_) => (len, part) = (len / 4, part / 4),
        None => {}
    }
    let mut writer = Writer::after(reduction, reads, writes, fours);
    let sizes = [outputs, len, *splits, part];
    for (name, size) in ["outputs", "len", "splits", "part"].into_iter().zip(sizes) {
        writer.param(name, "u32", UniformWord::Fixed(size as u32));
    }
    let dtypes: Vec<DType> = reduced.iter().map(|&result| program.dtype(result)).collect();
    let (mut members, mut identities, mut sums, mut others) = (vec![], vec![], vec![], vec![]);
    for (n, (how, dtype)) in reduce_ops.iter().zip(&dtypes).enumerate() {
        members.push(format!("a{n}: {}", dtype.register()));
        let (a, b) = (format!("a.a{n}"), format!("b.a{n}"));
        let (identity, combine) = match (how, dtype) {
            (Reduce::Sum, dtype) => (writer.number(0.0, *dtype, false), format!("{a} + {b}")),
            (Reduce::Max, DType::F32) => {
                let lowest = UniformWord::Fixed(f32::NEG_INFINITY.to_bits());
                (writer.param(&format!("lowest{n}"), "f32", lowest), format!("max_f32({a}, {b})"))
            }
            (Reduce::Max, DType::I32) => ("i32(-2147483648)".to_owned(), format!("max({a}, {b})")),
            (Reduce::Max, _) => ("0u".to_owned(), format!("max({a}, {b})")),
        };
        identities.push(identity);
        sums.push(combine);
        others.push(format!("subgroupShuffleXor({a}, step)"));
    }
    let [members, identity, sum] = [members, identities, sums].map(|list| list.join(", "));
    let what_is_reduced = |name: &str, suffix: &str| {
        format!(
            "struct {name} {{ {members} }}\n\
             fn identity{suffix}() -> {name} {{ return {name}({identity}); }}\n\
             fn combine{suffix}(a: {name}, b: {name}) -> {name} {{ return {name}({sum}); }}\n"
        )
    };
    let (name, suffix) = if columns { ("Column", "_one") } else { ("Element", "") };
    let mut hook = what_is_reduced(name, suffix);
    if columns {
        hook += FOUR_COLUMNS;
    }
    if fours.is_some() {
        hook += &writer.one_of_four();
    }
    hook += "fn value(o: u32, r: u32) -> Element {\n";
    writer.coordinates(&mut hook, if columns { "4u * o" } else { "o" }, 0..inner);
    let along = if fours.is_some() && !columns { "4u * r" } else { "r" };
    writer.coordinates(&mut hook, along, inner..program.space.rank());
    let linear = "o * params.len + r";
    match fours {
        Some(_) => writer.four(&mut hook, linear),
        None => writer.code(&mut hook, Some(("o", "r"))),
    }
    writer.write_here(&mut hook, &writes[..here.len()], linear);
    let elements = |value: &dyn Fn(usize) -> String| {
        let values: Vec<String> = (here.len()..program.results.len()).map(value).collect();
        format!("{name}({})", values.join(", "))
    };
    let [x, y, z, w] = fours::LANES.map(|lane| elements(&|i| format!("{lane}.r{i}")));
    let result = match fours {
        None => elements(&|i| format!("v{}", program.results[i])),
        Some(_) if columns => format!("Element({x}, {y}, {z}, {w})"),
        Some(_) => format!("combine(combine({x}, {y}), combine({z}, {w}))"),
    };
    let store = writer.store(epilogue.as_ref(), |n| format!("a.a{n}"), &dtypes);
    write!(hook, "    return {result};\n}}\nfn store{suffix}(i: u32, a: {name}) {{\n{store}}}\n")
        .expect("a string takes text");
    let mut template = whole(REDUCE);
    if subgroups {
        let others = others.join(", ");
        let other = format!("fn other(a: Element, step: u32) -> Element {{ return Element({others}); }}\n");
        template = fill(&template, "across", &fill(SUBGROUPS, "other", &other));
    }
    let source = fill(&fill(&template, "reduction", &hook), "bindings", &writer.bindings());
    writer.text(source, outputs * splits)
}

/// Four columns side by side are reduced together.
const FOUR_COLUMNS: &str = "\
struct Element { x: Column, y: Column, z: Column, w: Column }
fn identity() -> Element { return Element(identity_one(), identity_one(), identity_one(), identity_one()); }
fn combine(a: Element, b: Element) -> Element {
    return Element(combine_one(a.x, b.x), combine_one(a.y, b.y), combine_one(a.z, b.z), combine_one(a.w, b.w));
}
fn store(i: u32, a: Element) {
    store_one(4u * i, a.x);
    store_one(4u * i + 1u, a.y);
    store_one(4u * i + 2u, a.z);
    store_one(4u * i + 3u, a.w);
}
";

/// What a product of matrices does with each result: the words of its uniforms after the product's own, and the hooks
/// `params` and `result`. Its bindings follow those of the operands, from 3 on.
pub(super) struct Epilogue {
    pub params: String,
    pub result: String,
    pub words: Vec<UniformWord>,
    pub bindings: Vec<(usize, bool)>,
    pub faults: bool,
}

pub(super) fn epilogue(program: &Program, reads: &[usize], writes: &[usize]) -> Epilogue {
    let mut writer = Writer::new(program, reads, writes, None);
    let mut body = String::new();
    writer.after_core(&mut body, program, |_| "v".to_owned());
    let result = format!("{}fn result(i: u32, v: f32) {{\n{body}}}\n", writer.storage(3));
    let params = format!("    {}\n", writer.params);
    let Text { words, bindings, faults, .. } = writer.text(String::new(), 0);
    Epilogue { params, result, words, bindings, faults }
}

/// A buffer that is bound.
struct Slot {
    number: usize,
    storage: &'static str,
    written: bool,
    /// Bound as vectors of four.
    vectors: bool,
}

struct Writer<'a> {
    /// What is written at the moment.
    program: &'a Program,
    /// Before the names of its parameters.
    prefix: &'static str,
    faults: bool,
    reads: &'a [usize],
    /// In binding order.
    slots: Vec<Slot>,
    writes: &'a [usize],
    /// The dim along which it goes by fours.
    fours: Option<usize>,
    params: String,
    words: Vec<UniformWord>,
}

impl<'a> Writer<'a> {
    fn new(program: &'a Program, reads: &'a [usize], writes: &'a [usize], fours: Option<usize>) -> Self {
        let writer = Writer::bound(&[program], reads, writes, fours);
        writer.targets(writes, program, &program.results, fours.is_some())
    }

    /// A program that reduces, and what is done with its results.
    fn after(
        reduction: &'a ReductionKernel,
        reads: &'a [usize],
        writes: &'a [usize],
        fours: Option<usize>,
    ) -> Self {
        let ReductionKernel { program, epilogue, .. } = reduction;
        let (here, reduced) = reduction.results();
        let (now, later) = writes.split_at(here.len());
        let programs: Vec<&Program> = std::iter::once(program).chain(epilogue).collect();
        let (last, results) = epilogue.as_ref().map_or((program, reduced), |last| (last, &last.results[..]));
        let writer = Writer::bound(&programs, reads, later, fours);
        writer.targets(now, program, here, fours.is_some()).targets(later, last, results, false)
    }

    /// With the programs' operands bound. The first goes by fours.
    fn bound(
        programs: &[&'a Program],
        reads: &'a [usize],
        writes: &'a [usize],
        fours: Option<usize>,
    ) -> Self {
        let mut slots: Vec<Slot> = Vec::new();
        for (n, program) in programs.iter().enumerate() {
            for load in &program.loads {
                let number = reads[load.read];
                let vectors = n == 0 && fours.is_some_and(|dim| fours::side_by_side(&load.view, dim));
                match slots.iter_mut().find(|slot| slot.number == number) {
                    Some(slot) => slot.vectors |= vectors,
                    None => {
                        let storage = load.dtype.storage();
                        slots.push(Slot { number, storage, written: false, vectors });
                    }
                }
            }
        }
        let faults = programs.iter().any(|program| program.can_fault());
        let (program, params, words) = (programs[0], String::new(), Vec::new());
        Writer { program, prefix: "", faults, reads, slots, writes, fours, params, words }
    }

    /// With results of a program bound.
    fn targets(mut self, slots: &[usize], program: &Program, results: &[Reg], vectors: bool) -> Self {
        for (&number, &result) in slots.iter().zip(results) {
            let storage = program.dtype(result).storage();
            match self.slots.iter_mut().find(|slot| slot.number == number) {
                Some(slot) => {
                    let vectors = slot.vectors || vectors;
                    *slot = Slot { number, storage, written: true, vectors };
                }
                None => self.slots.push(Slot { number, storage, written: true, vectors }),
            }
        }
        self
    }

    /// Writes the first results to their slots, where the program has come to. `linear` is as for `four` and `load`.
    fn write_here(&mut self, out: &mut String, slots: &[usize], linear: &str) {
        let program = self.program;
        let Some(layout) = &program.layout else { return };
        let (in_order, fours) = (layout.is_contiguous(), self.fours.is_some());
        let place = if in_order { linear.to_owned() } else { format!("u32({})", self.place("y", layout)) };
        if fours {
            let vector = if in_order { place } else { format!("{place} / 4u") };
            return self.write_fours(out, slots, &vector);
        }
        for (n, &slot) in slots.iter().enumerate() {
            let value = self.result_dtype(n).store(&format!("v{}", program.results[n]));
            writeln!(out, "    {} = {value};", self.at(slot, &place)).expect("a string takes text");
        }
    }

    /// The body of a function that writes the results `core` at place `i`, by way of the epilogue if there is one.
    fn store(
        &mut self,
        epilogue: Option<&'a Program>,
        core: impl Fn(usize) -> String,
        dtypes: &[DType],
    ) -> String {
        let mut body = String::new();
        let Some(epilogue) = epilogue else {
            for (n, dtype) in dtypes.iter().enumerate() {
                let target = self.at(self.writes[n], "i");
                writeln!(body, "    {target} = {};", dtype.store(&core(n))).expect("a string takes text");
            }
            return body;
        };
        self.after_core(&mut body, epilogue, core);
        body
    }

    /// The epilogue at place `i`, from the results `core`.
    fn after_core(&mut self, body: &mut String, epilogue: &'a Program, core: impl Fn(usize) -> String) {
        (self.program, self.prefix, self.fours) = (epilogue, "e_", None);
        for inst in &epilogue.code {
            if let Inst::Accumulator(n, _) = inst {
                writeln!(body, "    let core{n} = {};", core(*n)).expect("a string takes text");
            }
        }
        self.elements(body);
    }

    /// The name of a slot's binding.
    fn buffer(&self, number: usize) -> String {
        let i = self.slots.iter().position(|slot| slot.number == number).expect("every slot is bound");
        format!("{}{i}", if self.slots[i].written { 'y' } else { 'x' })
    }

    /// One element of a slot.
    fn at(&self, number: usize, place: &str) -> String {
        let buffer = self.buffer(number);
        match self.slots.iter().any(|slot| slot.number == number && slot.vectors) {
            true => format!("{buffer}[({place}) / 4u][({place}) % 4u]"),
            false => format!("{buffer}[{place}]"),
        }
    }

    /// Adds a member to the uniform block.
    fn param(&mut self, name: &str, ty: &str, word: UniformWord) -> String {
        let name = format!("{}{name}", self.prefix);
        write!(self.params, "{name}: {ty}, ").expect("a string takes text");
        self.words.push(word);
        format!("params.{name}")
    }

    /// The coordinates `c0`, `c1`.. of dims within the linear index `index`.
    fn coordinates(&mut self, out: &mut String, index: &str, dims: std::ops::Range<usize>) {
        let mut rest = index.to_owned();
        for dim in dims.clone().rev() {
            if dim == dims.start {
                writeln!(out, "    let c{dim} = i32({rest});").expect("a string takes text");
            } else {
                let size = self.param(
                    &format!("size{dim}"),
                    "u32",
                    UniformWord::Fixed(self.program.space[dim] as u32),
                );
                writeln!(out, "    let c{dim} = i32({rest} % {size});\n    let r{dim} = {rest} / {size};")
                    .expect("a string takes text");
                rest = format!("r{dim}");
            }
        }
    }

    /// Where a view points at the current coordinates, as an i32.
    fn place(&mut self, name: &str, view: &View) -> String {
        let mut text =
            self.param(&format!("{name}_at"), "i32", UniformWord::Fixed(view.offset as i32 as u32));
        if !view.is_uniform() || view.mask.is_some() {
            for (dim, &stride) in view.strides.iter().enumerate() {
                let stride = self.param(
                    &format!("{name}_stride{dim}"),
                    "i32",
                    UniformWord::Fixed(stride as i32 as u32),
                );
                write!(text, " + c{dim} * {stride}").expect("a string takes text");
            }
        }
        text
    }

    /// Whether the current coordinates are within a view's mask.
    fn within(&mut self, name: &str, view: &View) -> Option<String> {
        let mask = view.mask.as_ref()?;
        let tests: Vec<String> = mask
            .iter()
            .enumerate()
            .map(|(dim, &(low, high))| {
                let low = self.param(&format!("{name}_low{dim}"), "i32", UniformWord::Fixed(low as u32));
                let high = self.param(&format!("{name}_high{dim}"), "i32", UniformWord::Fixed(high as u32));
                format!("c{dim} >= {low} && c{dim} < {high}")
            })
            .collect();
        Some(if tests.is_empty() { "false".into() } else { tests.join(" && ") })
    }

    /// One element; zero outside the mask. `linear` is the expression of the place's own index.
    fn load(&mut self, i: usize, linear: &str) -> String {
        let load = &self.program.loads[i];
        let (view, dtype, name) = (&load.view, load.dtype, format!("l{i}"));
        let slot = self.reads[load.read];
        if view.is_contiguous() {
            return dtype.load(&self.at(slot, linear));
        }
        let place = self.place(&name, view);
        match self.within(&name, view) {
            None => dtype.load(&self.at(slot, &format!("u32({place})"))),
            Some(within) => {
                let element = self.at(slot, &format!("u32(select(0, {place}, {within}))"));
                let element = dtype.load(&element);
                format!("select({}, {element}, {within})", zero(dtype))
            }
        }
    }

    /// The program's instructions, each a `let`. In a reduction `split` names the outer and the inner index.
    fn code(&mut self, out: &mut String, split: Option<(&str, &str)>) {
        let linear = match split {
            Some((o, r)) => format!("{o} * params.len + {r}"),
            None => "i".to_owned(),
        };
        let program = self.program;
        let zero_dim = program.space.rank() == 0;
        for (n, inst) in program.code.iter().enumerate() {
            let value = match inst {
                Inst::Load(i) if self.fours.is_some() => format!("l{i}"),
                Inst::Load(i) => self.load(*i, if zero_dim { "0" } else { &linear }),
                Inst::Const(x, dtype) => self.number(*x, *dtype, is_arithmetic_operand(program, n)),
                Inst::Accumulator(n, _) => format!("core{n}"),
                Inst::Scalar(item, dtype) => self.param(
                    &format!("s{n}"),
                    dtype.register(),
                    UniformWord::Scalar { item: *item, dtype: *dtype },
                ),
                Inst::Index(view) => self.place(&format!("i{n}"), view),
                Inst::Random(item, view) => {
                    let words: Vec<String> = (0..4)
                        .map(|part| {
                            self.param(
                                &format!("k{n}_{part}"),
                                "u32",
                                UniformWord::Random { item: *item, part },
                            )
                        })
                        .collect();
                    let place = self.place(&format!("i{n}"), view);
                    format!("uniform_({}, u32({place}))", words.join(", "))
                }
                Inst::Unary(op, x, dtype) => {
                    op.row().wgsl.replace("{x}", &format!("v{x}")).replace("{t}", dtype.register())
                }
                Inst::Binary(op, a, b, dtype) => {
                    let text =
                        op.row().wgsl.replace("{a}", &format!("v{a}")).replace("{b}", &format!("v{b}"));
                    text.replace("{t}", dtype.register())
                }
                Inst::Where(condition, a, b) => format!("select(v{b}, v{a}, v{condition})"),
                Inst::Cast(x, to) => format!("{}(v{x})", to.register()),
                Inst::Mask(view, x, dtype) => match self.within(&format!("m{n}"), view) {
                    Some(within) => format!("select({}, v{x}, {within})", zero(*dtype)),
                    None => format!("v{x}"),
                },
                Inst::Check { item, index, size } => {
                    let fine = self.check(out, n, *item, *index, *size);
                    format!("select(1u, 0u, {fine})")
                }
                Inst::Gather { item, load, index, size, stride } => {
                    let fine = self.check(out, n, *item, *index, *size);
                    self.gather(n, *load, *index, *stride, &fine)
                }
            };
            writeln!(out, "    let v{n} = {value};").expect("a string takes text");
        }
    }

    /// Notes a fault unless the index is below the size; the name of what tells whether it is.
    fn check(&mut self, out: &mut String, n: usize, item: usize, index: usize, size: usize) -> String {
        let size = self.param(&format!("f{n}_size"), "u32", UniformWord::Fixed(size as u32));
        let site = self.param(&format!("f{n}_site"), "u32", UniformWord::Site { item });
        writeln!(
            out,
            "    let fine{n} = u32(v{index}) < {size};\n    if (!fine{n}) {{ atomicMin(&fault, {site}); }}"
        )
        .expect("a string takes text");
        format!("fine{n}")
    }

    /// The element that the index names; NaN (0 for integers) if there is none.
    fn gather(&mut self, n: usize, load: usize, index: usize, stride: isize, fine: &str) -> String {
        let Load { read, dtype, view } = &self.program.loads[load];
        let (slot, name) = (self.reads[*read], format!("g{n}"));
        let stride = self.param(&format!("{name}_step"), "i32", UniformWord::Fixed(stride as i32 as u32));
        let place = format!("{} + i32(v{index}) * {stride}", self.place(&name, view));
        let fine = match self.within(&name, view) {
            Some(within) => format!("({fine} && {within})"),
            None => fine.to_owned(),
        };
        let element = dtype.load(&self.at(slot, &format!("u32(select(0, {place}, {fine}))")));
        let missing = match dtype {
            DType::F32 => self.param(&format!("{name}_nan"), "f32", UniformWord::Fixed(f32::NAN.to_bits())),
            dtype => zero(*dtype).to_owned(),
        };
        format!("select({missing}, {element}, {fine})")
    }

    fn scalar_element(&mut self) -> String {
        let mut body = String::from("fn element(i: u32) {\n");
        self.elements(&mut body);
        body + "}\n"
    }

    /// The program at place `i`, and its results written there.
    fn elements(&mut self, body: &mut String) {
        if self.needs_coordinates() {
            self.coordinates(body, "i", 0..self.program.space.rank());
        }
        self.code(body, None);
        for (n, &result) in self.program.results.iter().enumerate() {
            let value = self.result_dtype(n).store(&format!("v{result}"));
            let target = self.at(self.writes[n], "i");
            writeln!(body, "    {target} = {value};").expect("a string takes text");
        }
    }

    fn result_dtype(&self, i: usize) -> DType {
        self.program.dtype(self.program.results[i])
    }

    fn bindings(&self) -> String {
        let params = format!("struct Params {{ {}}}\n", self.params);
        params + "@group(0) @binding(0) var<uniform> params: Params;\n" + &self.storage(1)
    }

    /// The storage bindings, from number `first` on.
    fn storage(&self, first: usize) -> String {
        let mut text = String::new();
        for (i, &Slot { number, storage, written, vectors }) in self.slots.iter().enumerate() {
            let access = if written { "read_write" } else { "read" };
            let element = if vectors { format!("vec4<{storage}>") } else { storage.to_owned() };
            let (binding, name) = (first + i, self.buffer(number));
            writeln!(text, "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>;")
                .expect("a string takes text");
        }
        if self.faults {
            let binding = first + self.slots.len();
            writeln!(text, "@group(0) @binding({binding}) var<storage, read_write> fault: atomic<u32>;")
                .expect("a string takes text");
        }
        text
    }

    fn text(self, source: String, places: usize) -> Text {
        Text {
            source,
            words: self.words,
            bindings: self.slots.iter().map(|slot| (slot.number, slot.written)).collect(),
            faults: self.faults,
            places,
        }
    }
}
