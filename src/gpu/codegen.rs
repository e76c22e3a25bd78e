//! WGSL from plans: the templates in `shaders/` with their hooks filled in, and the words of their uniform blocks.
//!
//! The text holds no sizes: sizes, strides and offsets are uniforms, so shapes that differ share a kernel. What is text
//! is the pattern: the operations, the collapsed rank, and whether an operand is read contiguously, at one place, or by
//! strides. `schedule` has proven every index to be in its buffer; only the indices that a tensor holds are checked.

use std::fmt::Write;

use crate::dtype::DType;
use crate::graph::{Reduce, View};
use crate::schedule::plan::{Inst, Load, Program, Reduction};

const COMMON: &str =
    concat!(include_str!("../../shaders/common.wgsl"), include_str!("../../shaders/math.wgsl"));
const ELEMENTWISE: &str = include_str!("../../shaders/elementwise.wgsl");
const REDUCE: &str = include_str!("../../shaders/reduce.wgsl");

/// A word of a uniform block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Word {
    Fixed(u32),
    /// The user's number on an item of the cone.
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
    pub words: Vec<Word>,
    /// For each slot bound: whether it is written.
    pub bindings: Vec<(usize, bool)>,
    pub faults: bool,
    /// Places that the kernel works on: elements, or vectors of four.
    pub places: usize,
}

/// The whole program of a hand-written shader.
pub(super) fn whole(source: &str) -> String {
    format!("{COMMON}\n{source}")
}

/// Replaces what stands in the hook.
pub(super) fn fill(template: &str, hook: &str, text: &str) -> String {
    let (start, end) = (format!("// hook {hook}\n"), format!("// end {hook}\n"));
    let from = template.find(&start).expect("the template has the hook") + start.len();
    let end = template.find(&end).expect("the hook has an end");
    let to = template[..end].rfind('\n').expect("the hook begins above") + 1;
    format!("{}{text}{}", &template[..from], &template[to..])
}

/// Elementwise over the program's space. `reads` and `writes` are the slots of the step.
pub(super) fn map(program: &Program, reads: &[usize], writes: &[usize]) -> Text {
    let vector = is_vector(program);
    let mut writer = Writer::new(program, reads, writes, vector);
    let places = if vector { program.space.numel().div_ceil(4) } else { program.space.numel() };
    writer.param("len", "u32", Word::Fixed(places as u32));
    let element = if vector { writer.vector_element() } else { writer.scalar_element() };
    let source = fill(&fill(&whole(ELEMENTWISE), "element", &element), "bindings", &writer.bindings());
    writer.text(source, places)
}

/// One stage of a reduction. `places` is the number of partial results.
pub(super) fn reduce(reduction: &Reduction, reads: &[usize], writes: &[usize]) -> Text {
    let Reduction { how, program, inner, splits, epilogue, .. } = reduction;
    let outputs: usize = program.space[..*inner].iter().product();
    let len: usize = program.space[*inner..].iter().product();
    let mut writer = Writer::after(program, epilogue.as_ref(), reads, writes);
    let sizes = [outputs, len, *splits, len.div_ceil(*splits)];
    for (name, size) in ["outputs", "len", "splits", "part"].into_iter().zip(sizes) {
        writer.param(name, "u32", Word::Fixed(size as u32));
    }
    let dtypes: Vec<DType> = program.results.iter().map(|&result| program.dtype(result)).collect();
    let (mut members, mut identities, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    for (n, (how, dtype)) in how.iter().zip(&dtypes).enumerate() {
        members.push(format!("a{n}: {}", dtype.register()));
        let (a, b) = (format!("a.a{n}"), format!("b.a{n}"));
        let (identity, combine) = match (how, dtype) {
            (Reduce::Sum, dtype) => (writer.number(0.0, *dtype), format!("{a} + {b}")),
            (Reduce::Max, DType::F32) => {
                let lowest = Word::Fixed(f32::NEG_INFINITY.to_bits());
                (writer.param(&format!("lowest{n}"), "f32", lowest), format!("max_f32({a}, {b})"))
            }
            (Reduce::Max, DType::I32) => ("i32(-2147483648)".to_owned(), format!("max({a}, {b})")),
            (Reduce::Max, _) => ("0u".to_owned(), format!("max({a}, {b})")),
        };
        identities.push(identity);
        sums.push(combine);
    }
    let mut value = String::new();
    writer.coordinates(&mut value, "o", 0..*inner);
    writer.coordinates(&mut value, "r", *inner..program.space.rank());
    writer.code(&mut value, Some(("o", "r")));
    let results: Vec<String> = program.results.iter().map(|result| format!("v{result}")).collect();
    let hook = format!(
        "struct Element {{ {} }}\n\
         fn identity() -> Element {{ return Element({}); }}\n\
         fn combine(a: Element, b: Element) -> Element {{ return Element({}); }}\n\
         fn value(o: u32, r: u32) -> Element {{\n{value}    return Element({});\n}}\n\
         fn store(i: u32, a: Element) {{\n{}}}\n",
        members.join(", "),
        identities.join(", "),
        sums.join(", "),
        results.join(", "),
        writer.store(epilogue.as_ref(), |n| format!("a.a{n}"), &dtypes),
    );
    let source = fill(&fill(&whole(REDUCE), "reduction", &hook), "bindings", &writer.bindings());
    writer.text(source, outputs * splits)
}

/// What a product of matrices does with each result: the words of its uniforms after the product's own, and the hooks
/// `params` and `result`. Its bindings follow those of the operands, from 3 on.
pub(super) struct Epilogue {
    pub params: String,
    pub result: String,
    pub words: Vec<Word>,
    pub bindings: Vec<(usize, bool)>,
    pub faults: bool,
}

pub(super) fn epilogue(program: &Program, reads: &[usize], writes: &[usize]) -> Epilogue {
    let mut writer = Writer::new(program, reads, writes, false);
    let mut body = String::new();
    writer.after_core(&mut body, program, |_| "v".to_owned());
    let result = format!("{}fn result(i: u32, v: f32) {{\n{body}}}\n", writer.storage(3));
    let params = format!("    {}\n", writer.params);
    let Text { words, bindings, faults, .. } = writer.text(String::new(), 0);
    Epilogue { params, result, words, bindings, faults }
}

/// Four neighbours at a time: nothing needs a place's coordinates, and every operand is read in order or at one place.
fn is_vector(program: &Program) -> bool {
    let plain =
        |load: &Load| load.view.mask.is_none() && (load.view.is_contiguous() || is_constant(&load.view));
    program.loads.iter().all(plain)
        && program.code.iter().all(|inst| {
            !matches!(
                inst,
                Inst::Index(_) | Inst::Random(..) | Inst::Mask(..) | Inst::Gather { .. } | Inst::Check { .. }
            )
        })
}

/// Every place reads the same element.
fn is_constant(view: &View) -> bool {
    view.mask.is_none()
        && view.strides.iter().zip(view.shape.iter()).all(|(&stride, &size)| stride == 0 || size == 1)
}

struct Writer<'a> {
    /// What is written at the moment.
    program: &'a Program,
    /// Before the names of its parameters.
    prefix: &'static str,
    faults: bool,
    reads: &'a [usize],
    /// Distinct slots in binding order, with their element type and whether they are written.
    slots: Vec<(usize, &'static str, bool)>,
    writes: &'a [usize],
    vector: bool,
    params: String,
    words: Vec<Word>,
}

impl<'a> Writer<'a> {
    fn new(program: &'a Program, reads: &'a [usize], writes: &'a [usize], vector: bool) -> Self {
        let mut writer = Writer::bound(&[program], reads, writes);
        writer.vector = vector;
        writer.targets(program.results.iter().map(|&result| program.dtype(result)))
    }

    /// A program that reduces, and what is done with its results.
    fn after(
        program: &'a Program,
        epilogue: Option<&'a Program>,
        reads: &'a [usize],
        writes: &'a [usize],
    ) -> Self {
        let programs: Vec<&Program> = std::iter::once(program).chain(epilogue).collect();
        let writer = Writer::bound(&programs, reads, writes);
        let last = epilogue.unwrap_or(program);
        writer.targets(last.results.iter().map(|&result| last.dtype(result)))
    }

    /// With the programs' operands bound.
    fn bound(programs: &[&'a Program], reads: &'a [usize], writes: &'a [usize]) -> Self {
        let mut slots: Vec<(usize, &'static str, bool)> = Vec::new();
        for load in programs.iter().flat_map(|program| &program.loads) {
            let slot = reads[load.read];
            if !slots.iter().any(|(other, ..)| *other == slot) {
                slots.push((slot, load.dtype.storage(), false));
            }
        }
        let faults = programs.iter().any(|program| program.can_fault());
        let (program, params, words) = (programs[0], String::new(), Vec::new());
        Writer { program, prefix: "", faults, reads, slots, writes, vector: false, params, words }
    }

    fn targets(mut self, dtypes: impl Iterator<Item = DType>) -> Self {
        for (&slot, dtype) in self.writes.iter().zip(dtypes) {
            let storage = dtype.storage();
            match self.slots.iter_mut().find(|(other, ..)| *other == slot) {
                Some((_, ty, written)) => (*ty, *written) = (storage, true),
                None => self.slots.push((slot, storage, true)),
            }
        }
        self
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
                writeln!(body, "    {}[i] = {};", self.target(n), dtype.store(&core(n)))
                    .expect("a string takes text");
            }
            return body;
        };
        self.after_core(&mut body, epilogue, core);
        body
    }

    /// The epilogue at place `i`, from the results `core`.
    fn after_core(&mut self, body: &mut String, epilogue: &'a Program, core: impl Fn(usize) -> String) {
        (self.program, self.prefix) = (epilogue, "e_");
        for inst in &epilogue.code {
            if let Inst::Core(n, _) = inst {
                writeln!(body, "    let core{n} = {};", core(*n)).expect("a string takes text");
            }
        }
        self.elements(body);
    }

    /// The name of a slot's binding.
    fn buffer(&self, slot: usize) -> String {
        let i = self.slots.iter().position(|(other, ..)| *other == slot).expect("every slot is bound");
        format!("{}{i}", if self.slots[i].2 { 'y' } else { 'x' })
    }

    fn target(&self, result: usize) -> String {
        self.buffer(self.writes[result])
    }

    /// Adds a member to the uniform block.
    fn param(&mut self, name: &str, ty: &str, word: Word) -> String {
        let name = format!("{}{name}", self.prefix);
        write!(self.params, "{name}: {ty}, ").expect("a string takes text");
        self.words.push(word);
        format!("params.{name}")
    }

    /// A number that the library wrote. Few are text; the others would make a kernel for every 1/n.
    fn number(&mut self, x: f64, dtype: DType) -> String {
        let name = format!("c{}", self.words.len());
        match dtype {
            DType::Bool => (x != 0.0).to_string(),
            DType::F32 if [0.0, 0.5, 1.0, 2.0].contains(&x) => format!("{x:?}"),
            DType::F32 => self.param(&name, "f32", Word::Fixed((x as f32).to_bits())),
            DType::I32 => self.param(&name, "i32", Word::Fixed(x as i32 as u32)),
            DType::U32 => self.param(&name, "u32", Word::Fixed(x as u32)),
        }
    }

    /// The coordinates `c0`, `c1`.. of dims within the linear index `index`.
    fn coordinates(&mut self, out: &mut String, index: &str, dims: std::ops::Range<usize>) {
        let mut rest = index.to_owned();
        for dim in dims.clone().rev() {
            if dim == dims.start {
                writeln!(out, "    let c{dim} = i32({rest});").expect("a string takes text");
            } else {
                let size =
                    self.param(&format!("size{dim}"), "u32", Word::Fixed(self.program.space[dim] as u32));
                writeln!(out, "    let c{dim} = i32({rest} % {size});\n    let r{dim} = {rest} / {size};")
                    .expect("a string takes text");
                rest = format!("r{dim}");
            }
        }
    }

    /// Where a view points at the current coordinates, as an i32.
    fn place(&mut self, name: &str, view: &View) -> String {
        let mut text = self.param(&format!("{name}_at"), "i32", Word::Fixed(view.offset as i32 as u32));
        if !is_constant(view) || view.mask.is_some() {
            for (dim, &stride) in view.strides.iter().enumerate() {
                let stride =
                    self.param(&format!("{name}_stride{dim}"), "i32", Word::Fixed(stride as i32 as u32));
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
                let low = self.param(&format!("{name}_low{dim}"), "i32", Word::Fixed(low as u32));
                let high = self.param(&format!("{name}_high{dim}"), "i32", Word::Fixed(high as u32));
                format!("c{dim} >= {low} && c{dim} < {high}")
            })
            .collect();
        Some(if tests.is_empty() { "false".into() } else { tests.join(" && ") })
    }

    /// One element; zero outside the mask. `linear` is the expression of the place's own index.
    fn load(&mut self, i: usize, linear: &str) -> String {
        let load = &self.program.loads[i];
        let (view, dtype, name) = (&load.view, load.dtype, format!("l{i}"));
        let buffer = self.buffer(self.reads[load.read]);
        if view.is_contiguous() {
            return dtype.load(&format!("{buffer}[{linear}]"));
        }
        let place = self.place(&name, view);
        match self.within(&name, view) {
            None => dtype.load(&format!("{buffer}[u32({place})]")),
            Some(within) => {
                let element = dtype.load(&format!("{buffer}[u32(select(0, {place}, {within}))]"));
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
                Inst::Load(i) if self.vector => format!("l{i}"),
                Inst::Load(i) => self.load(*i, if zero_dim { "0" } else { &linear }),
                Inst::Const(x, dtype) => self.number(*x, *dtype),
                Inst::Core(n, _) => format!("core{n}"),
                Inst::Scalar(item, dtype) => self.param(
                    &format!("s{n}"),
                    dtype.register(),
                    Word::Scalar { item: *item, dtype: *dtype },
                ),
                Inst::Index(view) => self.place(&format!("i{n}"), view),
                Inst::Random(item, view) => {
                    let words: Vec<String> = (0..4)
                        .map(|part| {
                            self.param(&format!("k{n}_{part}"), "u32", Word::Random { item: *item, part })
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
        let size = self.param(&format!("f{n}_size"), "u32", Word::Fixed(size as u32));
        let site = self.param(&format!("f{n}_site"), "u32", Word::Site { item });
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
        let buffer = self.buffer(self.reads[*read]);
        let name = format!("g{n}");
        let stride = self.param(&format!("{name}_step"), "i32", Word::Fixed(stride as i32 as u32));
        let place = format!("{} + i32(v{index}) * {stride}", self.place(&name, view));
        let fine = match self.within(&name, view) {
            Some(within) => format!("({fine} && {within})"),
            None => fine.to_owned(),
        };
        let element = dtype.load(&format!("{buffer}[u32(select(0, {place}, {fine}))]"));
        let missing = match dtype {
            DType::F32 => self.param(&format!("{name}_nan"), "f32", Word::Fixed(f32::NAN.to_bits())),
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
        if !self.program.views_are_plain() {
            self.coordinates(body, "i", 0..self.program.space.rank());
        }
        self.code(body, None);
        for (n, &result) in self.program.results.iter().enumerate() {
            let value = self.result_dtype(n).store(&format!("v{result}"));
            writeln!(body, "    {}[i] = {value};", self.target(n)).expect("a string takes text");
        }
    }

    /// `compute` on four neighbours.
    fn vector_element(&mut self) -> String {
        let program = self.program;
        let mut body = String::new();
        self.code(&mut body, None);
        let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
        let args = list(
            &mut program.loads.iter().enumerate().map(|(i, load)| format!("l{i}: {}", load.dtype.register())),
        );
        let members = list(
            &mut (0..program.results.len()).map(|i| format!("r{i}: {}", self.result_dtype(i).register())),
        );
        let results = list(&mut program.results.iter().map(|result| format!("v{result}")));
        let mut text = format!(
            "struct Results {{ {members} }}\n\
             fn compute({args}) -> Results {{\n{body}    return Results({results});\n}}\n\
             fn element(i: u32) {{\n"
        );
        for (i, load) in program.loads.iter().enumerate() {
            let buffer = self.buffer(self.reads[load.read]);
            if load.view.is_contiguous() {
                writeln!(text, "    let l{i} = {buffer}[i];").expect("a string takes text");
            } else {
                let at = self.param(&format!("l{i}_at"), "u32", Word::Fixed(load.view.offset as u32));
                writeln!(text, "    let l{i} = vec4({buffer}[{at} / 4u][{at} % 4u]);")
                    .expect("a string takes text");
            }
        }
        for lane in ["x", "y", "z", "w"] {
            let args =
                program.loads.iter().enumerate().map(|(i, load)| load.dtype.load(&format!("l{i}.{lane}")));
            let args = args.collect::<Vec<_>>().join(", ");
            writeln!(text, "    let {lane} = compute({args});").expect("a string takes text");
        }
        for i in 0..program.results.len() {
            let lane = |lane: &str| self.result_dtype(i).store(&format!("{lane}.r{i}"));
            let lanes = ["x", "y", "z", "w"].map(lane).join(", ");
            writeln!(text, "    {}[i] = vec4({lanes});", self.target(i)).expect("a string takes text");
        }
        text + "}\n"
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
        for (i, &(slot, ty, written)) in self.slots.iter().enumerate() {
            let access = if written { "read_write" } else { "read" };
            let element = if self.vector { format!("vec4<{ty}>") } else { ty.to_owned() };
            let (binding, name) = (first + i, self.buffer(slot));
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
            bindings: self.slots.iter().map(|&(slot, _, written)| (slot, written)).collect(),
            faults: self.faults,
            places,
        }
    }
}

/// The register value that stands for nothing.
fn zero(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "0.0",
        DType::I32 => "0i",
        DType::U32 => "0u",
        DType::Bool => "false",
    }
}
