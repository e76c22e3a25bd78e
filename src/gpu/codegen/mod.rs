//! Generates WGSL from plans: fills the hooks of the templates in `shaders/`, and lists the words of the uniform
//! blocks.
//!
//! The text contains no sizes: sizes, strides and offsets are uniforms, so different shapes share a kernel. The text
//! depends on the operations, on the collapsed rank, on whether an operand is read contiguously, at one index, or by
//! strides, and on whether the kernel is vectorized (`vec4`). `schedule` has proven that every index is within its
//! buffer; the kernels check only indices that come from a tensor.

mod batch;
mod constants;
mod vec4;

use std::fmt::Write;

use self::batch::bind;
pub(crate) use self::batch::{KernelPart, batch_kernels, suffix, with_suffix};
use self::constants::{is_arithmetic_operand, zero};
use crate::core::dtype::DType;
use crate::graph::{Reduce, ShaderSource, View, hook};
use crate::ir::vectorize::{elementwise_vec4_dim, reduction_vec4_dim};
use crate::ir::{Inst, Load, Program, ReductionKernel, Reg};

const ELEMENTWISE: &str = include_str!("../../../shaders/elementwise.wgsl");
const REDUCE: &str = include_str!("../../../shaders/reduce.wgsl");
const REDUCE_SUBGROUPS: &str = include_str!("../../../shaders/reduce_subgroups.wgsl");

/// A word of a uniform block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum UniformWord {
    Fixed(u32),
    /// The value of a scalar item of the pending graph.
    Scalar {
        item: usize,
        dtype: DType,
    },
    /// One of the four words of a random item: `part` 0 and 1 are the seed (low, high), 2 and 3 the counter (low,
    /// high).
    Random {
        item: usize,
        part: usize,
    },
    /// A scalar attribute of a fused operation.
    Attribute {
        item: usize,
        scalar: usize,
    },
    /// The number that identifies an item's source line when it reports a fault.
    Site {
        item: usize,
    },
}

/// A kernel's source, its uniform block, and how its bindings are accessed.
pub(crate) struct GeneratedKernel {
    pub source: ShaderSource,
    pub words: Vec<UniformWord>,
    /// The bound slots, and whether each is written.
    pub bindings: Vec<(usize, bool)>,
    pub faults: bool,
}

/// An elementwise kernel over the program's space, and the number of invocations it needs: one per element, or per
/// vec4. `reads` and `writes` are the slots of the step; `suffix` ends the names of the kernel's declarations.
pub(crate) fn elementwise(
    program: &Program,
    reads: &[usize],
    writes: &[usize],
    suffix: &str,
) -> (KernelPart, usize) {
    let vec4_dim = elementwise_vec4_dim(program);
    let mut writer = Writer::new(program, reads, writes, suffix, vec4_dim);
    let numel = program.space.numel();
    let len = if vec4_dim.is_some() { numel.div_ceil(4) } else { numel };
    writer.param("len", "u32", UniformWord::Fixed(len as u32));
    let element = if vec4_dim.is_some() { writer.vec4_element() } else { writer.scalar_element() };
    (writer.part(ShaderSource::new(ELEMENTWISE).with_workgroup(false), &[("element", element)]), len)
}

/// One stage of a reduction, and the number of partial results (or vec4 of them) that it computes. With `subgroups`,
/// all lanes of a workgroup belong to one output.
pub(crate) fn reduce(
    reduction: &ReductionKernel,
    reads: &[usize],
    writes: &[usize],
    suffix: &str,
    subgroups: bool,
) -> (KernelPart, usize) {
    let ReductionKernel { reduce_ops, program, splits, epilogue, .. } = reduction;
    let (inner, (elementwise_outputs, reduced)) = (reduction.inner(), reduction.results());
    let elementwise_outputs = elementwise_outputs.len();
    let mut outputs: usize = program.space[..inner].iter().product();
    let mut len: usize = program.space[inner..].iter().product();
    let vec4_dim = reduction_vec4_dim(reduction);
    let columns = vec4_dim.is_some_and(|dim| dim < inner);
    let mut part = reduction.part();
    match vec4_dim {
        Some(_) if columns => outputs /= 4,
        Some(_) => (len, part) = (len / 4, part / 4),
        None => {}
    }
    let mut writer = Writer::of_reduction(reduction, reads, writes, suffix, vec4_dim);
    let sizes = [outputs, len, *splits, part];
    for (name, size) in ["outputs", "len", "splits", "part"].into_iter().zip(sizes) {
        writer.param(name, "u32", UniformWord::Fixed(size as u32));
    }
    let dtypes: Vec<DType> = reduced.iter().map(|&result| program.dtype(result)).collect();
    let (mut members, mut identities, mut combined, mut shuffled) = (vec![], vec![], vec![], vec![]);
    for (n, (op, dtype)) in reduce_ops.iter().zip(&dtypes).enumerate() {
        members.push(format!("a{n}: {}", dtype.register()));
        let (a, b) = (format!("a.a{n}"), format!("b.a{n}"));
        let (identity, combine) = match (op, dtype) {
            (Reduce::Sum, dtype) => (writer.number(0.0, *dtype, false), format!("{a} + {b}")),
            (Reduce::Max, DType::F32) => {
                let lowest = UniformWord::Fixed(f32::NEG_INFINITY.to_bits());
                (writer.param(&format!("lowest{n}"), "f32", lowest), format!("max_f32({a}, {b})"))
            }
            (Reduce::Max, DType::I32) => ("i32(-2147483648)".to_owned(), format!("max({a}, {b})")),
            (Reduce::Max, _) => ("0u".to_owned(), format!("max({a}, {b})")),
        };
        identities.push(identity);
        combined.push(combine);
        shuffled.push(format!("subgroupShuffleXor({a}, step)"));
    }
    let [members, identity, combined, shuffled] =
        [members, identities, combined, shuffled].map(|list| list.join(", "));
    // The type of one element, or of one column if four columns are reduced together.
    let (one, element) = (if columns { "Column" } else { "Element" }, format!("Element{suffix}"));
    let (ty, function) = (format!("{one}{suffix}"), if columns { "_of_column" } else { "" });
    let mut code = format!(
        "struct {ty} {{ {members} }}\n\
         fn identity{function}{suffix}() -> {ty} {{ return {ty}({identity}); }}\n\
         fn combine{function}{suffix}(a: {ty}, b: {ty}) -> {ty} {{ return {ty}({combined}); }}\n"
    );
    if columns {
        code += &with_suffix(FOUR_COLUMNS, suffix);
    }
    if vec4_dim.is_some() {
        code += &writer.compute_function();
    }
    writeln!(code, "fn value{suffix}(o: u32, r: u32) -> {element} {{").expect("a string takes text");
    writer.coordinates(&mut code, if columns { "4u * o" } else { "o" }, 0..inner);
    let along = if vec4_dim.is_some() && !columns { "4u * r" } else { "r" };
    writer.coordinates(&mut code, along, inner..program.space.rank());
    let linear = format!("o * params.len{suffix} + r");
    match vec4_dim {
        Some(_) => writer.compute_vec4(&mut code, &linear),
        None => writer.code(&mut code, Some(&linear)),
    }
    writer.elementwise_outputs(&mut code, &writes[..elementwise_outputs], &linear);
    let elements = |value: &dyn Fn(usize) -> String| {
        let values: Vec<String> = (elementwise_outputs..program.results.len()).map(value).collect();
        format!("{ty}({})", values.join(", "))
    };
    let [x, y, z, w] = vec4::LANES.map(|lane| elements(&|i| format!("{lane}.r{i}")));
    let result = match vec4_dim {
        None => elements(&|i| format!("v{}", program.results[i])),
        Some(_) if columns => format!("{element}({x}, {y}, {z}, {w})"),
        Some(_) => format!("combine{suffix}(combine{suffix}({x}, {y}), combine{suffix}({z}, {w}))"),
    };
    let store = writer.store(epilogue.as_ref(), |n| format!("a.a{n}"), &dtypes);
    write!(code, "    return {result};\n}}\nfn store{function}{suffix}(i: u32, a: {ty}) {{\n{store}}}\n")
        .expect("a string takes text");
    let template = ShaderSource::new(REDUCE).with_workgroup(subgroups);
    let (mut template, mut fills) = (template, vec![("reduction", code)]);
    if subgroups {
        let function = format!(
            "fn shuffled{suffix}(a: {element}, step: u32) -> {element} {{ return {element}({shuffled}); }}\n"
        );
        template = template.variant(REDUCE_SUBGROUPS);
        fills.push(("shuffled", function));
    }
    (writer.part(template, &fills), outputs * splits)
}

/// The declarations of a kernel that reduces four neighbouring columns together.
const FOUR_COLUMNS: &str = "\
struct Element_0 { x: Column_0, y: Column_0, z: Column_0, w: Column_0 }
fn identity_0() -> Element_0 {
    return Element_0(identity_of_column_0(), identity_of_column_0(), identity_of_column_0(), identity_of_column_0());
}
fn combine_0(a: Element_0, b: Element_0) -> Element_0 {
    return Element_0(
        combine_of_column_0(a.x, b.x), combine_of_column_0(a.y, b.y),
        combine_of_column_0(a.z, b.z), combine_of_column_0(a.w, b.w));
}
fn store_0(i: u32, a: Element_0) {
    store_of_column_0(4u * i, a.x);
    store_of_column_0(4u * i + 1u, a.y);
    store_of_column_0(4u * i + 2u, a.z);
    store_of_column_0(4u * i + 3u, a.w);
}
";

/// The epilogue of a matrix product: the texts of the hooks `params` and `result`, and the words that follow the
/// product's own uniforms. Its bindings follow those of the operands, from 3 on.
pub(super) struct Epilogue {
    pub params: String,
    pub result: String,
    pub words: Vec<UniformWord>,
    pub bindings: Vec<(usize, bool)>,
    pub faults: bool,
}

pub(super) fn epilogue(program: &Program, reads: &[usize], writes: &[usize]) -> Epilogue {
    let mut writer = Writer::new(program, reads, writes, "", None);
    let mut body = String::new();
    writer.epilogue(&mut body, program, |_| "v".to_owned());
    let result = format!("{}fn result(i: u32, v: f32) {{\n{body}}}\n", bind(writer.storage().iter(), 3));
    let params = format!("    {}\n", writer.params);
    let (bindings, faults) = (writer.bindings(), writer.faults);
    Epilogue { params, result, words: writer.words, bindings, faults }
}

/// A bound buffer.
struct Slot {
    number: usize,
    storage: &'static str,
    written: bool,
    /// Bound as vec4.
    vectors: bool,
}

struct Writer<'a> {
    /// The program that is being generated: the main program, then its epilogue.
    program: &'a Program,
    /// The prefix of the program's uniform names.
    prefix: &'static str,
    /// The suffix of the names of the kernel's declarations.
    suffix: &'a str,
    faults: bool,
    reads: &'a [usize],
    /// In binding order.
    slots: Vec<Slot>,
    writes: &'a [usize],
    /// The dim along which the program is vectorized.
    vec4_dim: Option<usize>,
    params: String,
    words: Vec<UniformWord>,
}

impl<'a> Writer<'a> {
    fn new(
        program: &'a Program,
        reads: &'a [usize],
        writes: &'a [usize],
        suffix: &'a str,
        vec4_dim: Option<usize>,
    ) -> Self {
        let writer = Writer::bound(&[program], reads, writes, suffix, vec4_dim);
        writer.targets(writes, program, &program.results, vec4_dim.is_some())
    }

    /// A writer for a reduction and its epilogue.
    fn of_reduction(
        reduction: &'a ReductionKernel,
        reads: &'a [usize],
        writes: &'a [usize],
        suffix: &'a str,
        vec4_dim: Option<usize>,
    ) -> Self {
        let ReductionKernel { program, epilogue, .. } = reduction;
        let (elementwise_outputs, reduced) = reduction.results();
        let (now, later) = writes.split_at(elementwise_outputs.len());
        let programs: Vec<&Program> = std::iter::once(program).chain(epilogue).collect();
        let (last, results) = epilogue.as_ref().map_or((program, reduced), |last| (last, &last.results[..]));
        let writer = Writer::bound(&programs, reads, later, suffix, vec4_dim);
        let writer = writer.targets(now, program, elementwise_outputs, vec4_dim.is_some());
        writer.targets(later, last, results, false)
    }

    /// A writer with the programs' operands bound. Only the first program may be vectorized.
    fn bound(
        programs: &[&'a Program],
        reads: &'a [usize],
        writes: &'a [usize],
        suffix: &'a str,
        vec4_dim: Option<usize>,
    ) -> Self {
        let mut slots: Vec<Slot> = Vec::new();
        for (n, program) in programs.iter().enumerate() {
            for load in &program.loads {
                let number = reads[load.read];
                let vectors = n == 0 && vec4_dim.is_some_and(|dim| vec4::is_vector(&load.view, dim));
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
        Writer { program, prefix: "", suffix, faults, reads, slots, writes, vec4_dim, params, words }
    }

    /// Binds results of a program.
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

    /// Stores the elementwise outputs, which are the first results, at the current index. `linear` is as in
    /// `compute_vec4` and `load`.
    fn elementwise_outputs(&mut self, out: &mut String, slots: &[usize], linear: &str) {
        let program = self.program;
        let Some(layout) = &program.layout else { return };
        let (in_order, vectorized) = (layout.is_contiguous(), self.vec4_dim.is_some());
        let index = if in_order { linear.to_owned() } else { format!("u32({})", self.offset("y", layout)) };
        if vectorized {
            let vector = if in_order { index } else { format!("{index} / 4u") };
            return self.store_vec4(out, slots, &vector);
        }
        for (n, &slot) in slots.iter().enumerate() {
            let value = self.result_dtype(n).store(&format!("v{}", program.results[n]));
            writeln!(out, "    {} = {value};", self.element(slot, &index)).expect("a string takes text");
        }
    }

    /// The body of a function that stores the accumulators, or the results of their epilogue, at index `i`.
    fn store(
        &mut self,
        epilogue: Option<&'a Program>,
        accumulator: impl Fn(usize) -> String,
        dtypes: &[DType],
    ) -> String {
        let mut body = String::new();
        let Some(epilogue) = epilogue else {
            for (n, dtype) in dtypes.iter().enumerate() {
                let target = self.element(self.writes[n], "i");
                writeln!(body, "    {target} = {};", dtype.store(&accumulator(n)))
                    .expect("a string takes text");
            }
            return body;
        };
        self.epilogue(&mut body, epilogue, accumulator);
        body
    }

    /// Generates the epilogue at index `i`. The writer then stays on the epilogue's program.
    fn epilogue(&mut self, body: &mut String, epilogue: &'a Program, accumulator: impl Fn(usize) -> String) {
        (self.program, self.prefix, self.vec4_dim) = (epilogue, "e_", None);
        for inst in &epilogue.code {
            if let Inst::Accumulator(n, _) = inst {
                writeln!(body, "    let acc{n} = {};", accumulator(*n)).expect("a string takes text");
            }
        }
        self.elements(body);
    }

    /// The name of a slot's binding.
    fn buffer(&self, number: usize) -> String {
        let i = self.slots.iter().position(|slot| slot.number == number).expect("every slot is bound");
        format!("{}{i}{}", if self.slots[i].written { 'y' } else { 'x' }, self.suffix)
    }

    /// One element of a slot.
    fn element(&self, number: usize, index: &str) -> String {
        let buffer = self.buffer(number);
        match self.slots.iter().any(|slot| slot.number == number && slot.vectors) {
            true => format!("{buffer}[({index}) / 4u][({index}) % 4u]"),
            false => format!("{buffer}[{index}]"),
        }
    }

    /// Adds a member to the uniform block, and returns its expression.
    fn param(&mut self, name: &str, ty: &str, word: UniformWord) -> String {
        let name = format!("{}{name}{}", self.prefix, self.suffix);
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

    /// The offset of a view at the current coordinates, as an i32.
    fn offset(&mut self, name: &str, view: &View) -> String {
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

    /// Returns a WGSL condition that is true where the current coordinates are within the view's mask, or `None` if the
    /// view has no mask.
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

    /// The element of load `i`; zero outside the mask. `linear` is the expression of the current index.
    fn load(&mut self, i: usize, linear: &str) -> String {
        let load = &self.program.loads[i];
        let (view, dtype, name) = (&load.view, load.dtype, format!("l{i}"));
        let slot = self.reads[load.read];
        if view.is_contiguous() {
            return dtype.load(&self.element(slot, linear));
        }
        let offset = self.offset(&name, view);
        match self.within(&name, view) {
            None => dtype.load(&self.element(slot, &format!("u32({offset})"))),
            Some(within) => {
                let element = self.element(slot, &format!("u32(select(0, {offset}, {within}))"));
                let element = dtype.load(&element);
                format!("select({}, {element}, {within})", zero(dtype))
            }
        }
    }

    /// Generates a `let` for each instruction of the program. `linear` is the expression of the current index, `i` by
    /// default.
    fn code(&mut self, out: &mut String, linear: Option<&str>) {
        let linear = linear.unwrap_or("i");
        let program = self.program;
        let zero_dim = program.space.rank() == 0;
        for (n, inst) in program.code.iter().enumerate() {
            let value = match inst {
                Inst::Load(i) if self.vec4_dim.is_some() => format!("l{i}"),
                Inst::Load(i) => self.load(*i, if zero_dim { "0" } else { linear }),
                Inst::Const(x, dtype) => self.number(*x, *dtype, is_arithmetic_operand(program, n)),
                Inst::Accumulator(n, _) => format!("acc{n}"),
                Inst::Scalar(item, dtype) => self.param(
                    &format!("s{n}"),
                    dtype.register(),
                    UniformWord::Scalar { item: *item, dtype: *dtype },
                ),
                Inst::Index(view) => self.offset(&format!("i{n}"), view),
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
                    let index = self.offset(&format!("i{n}"), view);
                    format!("uniform_({}, u32({index}))", words.join(", "))
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

    /// Generates code that reports a fault unless the index is below the size. Returns the name of the result of the
    /// check.
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

    /// The element at the index; NaN (0 for integers) if the index is out of bounds.
    fn gather(&mut self, n: usize, load: usize, index: usize, stride: isize, fine: &str) -> String {
        let Load { read, dtype, view } = &self.program.loads[load];
        let (slot, name) = (self.reads[*read], format!("g{n}"));
        let stride = self.param(&format!("{name}_step"), "i32", UniformWord::Fixed(stride as i32 as u32));
        let offset = format!("{} + i32(v{index}) * {stride}", self.offset(&name, view));
        let fine = match self.within(&name, view) {
            Some(within) => format!("({fine} && {within})"),
            None => fine.to_owned(),
        };
        let element = dtype.load(&self.element(slot, &format!("u32(select(0, {offset}, {fine}))")));
        let missing = match dtype {
            DType::F32 => self.param(&format!("{name}_nan"), "f32", UniformWord::Fixed(f32::NAN.to_bits())),
            dtype => zero(*dtype).to_owned(),
        };
        format!("select({missing}, {element}, {fine})")
    }

    fn scalar_element(&mut self) -> String {
        let mut body = format!("fn element{}(i: u32) {{\n", self.suffix);
        self.elements(&mut body);
        body + "}\n"
    }

    /// Generates the code that evaluates the program at index `i` and stores its results at `i`.
    fn elements(&mut self, body: &mut String) {
        if self.needs_coordinates() {
            self.coordinates(body, "i", 0..self.program.space.rank());
        }
        self.code(body, None);
        for (n, &result) in self.program.results.iter().enumerate() {
            let value = self.result_dtype(n).store(&format!("v{result}"));
            let target = self.element(self.writes[n], "i");
            writeln!(body, "    {target} = {value};").expect("a string takes text");
        }
    }

    fn result_dtype(&self, i: usize) -> DType {
        self.program.dtype(self.program.results[i])
    }

    /// The storage variables, in binding order.
    fn storage(&self) -> Vec<String> {
        let variable = |&Slot { number, storage, written, vectors }: &Slot| {
            let access = if written { "read_write" } else { "read" };
            let element = if vectors { format!("vec4<{storage}>") } else { storage.to_owned() };
            format!("var<storage, {access}> {}: array<{element}>", self.buffer(number))
        };
        let fault = self.faults.then(|| "var<storage, read_write> fault: atomic<u32>".to_owned());
        self.slots.iter().map(variable).chain(fault).collect()
    }

    fn bindings(&self) -> Vec<(usize, bool)> {
        self.slots.iter().map(|slot| (slot.number, slot.written)).collect()
    }

    /// Returns the finished kernel: the template's section `kernel`. `fills` maps the names of the hooks inside it to
    /// their text.
    fn part(self, template: ShaderSource, fills: &[(&'static str, String)]) -> KernelPart {
        let text = template.render_without_common();
        let kernel = ShaderSource::new(with_suffix(&text[hook(&text, "kernel")], self.suffix));
        let kernel = fills.iter().fold(kernel, |kernel, (hook, text)| kernel.fill(hook, text.clone()));
        KernelPart {
            template,
            suffix: self.suffix.to_owned(),
            code: kernel.render_without_common(),
            storage: self.storage(),
            bindings: self.bindings(),
            params: self.params,
            words: self.words,
            faults: self.faults,
        }
    }
}
