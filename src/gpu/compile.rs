//! A plan made ready to run: shaders compiled, and the image of its uniforms with the places that each run fills in.

use smallvec::SmallVec;

use super::codegen::{self, Text, Word};
use super::matmul;
use super::{Access, Dispatch, Gpu, Shader};
use crate::core::dtype::DType;
use crate::core::error::Error;
use crate::core::limits::{AdapterKind, Limits};
use crate::graph::{self, Op};
use crate::ir::{Kernel, MatMul, Plan, Program, Step};
use crate::schedule::{PendingGraph, logs};

/// Dispatches in order, and their uniforms.
pub(crate) struct Compiled {
    pub dispatches: Vec<Dispatch>,
    image: Vec<u32>,
    /// Words that each run writes anew.
    patches: Vec<(usize, Word)>,
}

/// One dispatch before its pipeline exists.
struct Lowered {
    shader: Shader,
    words: Vec<Word>,
    buffers: SmallVec<[u32; 8]>,
    workgroups: usize,
    work: u64,
}

pub(crate) fn compile(gpu: &Gpu, plan: &Plan, graph: &PendingGraph) -> Result<Compiled, Error> {
    let limits = gpu.limits();
    let lowered =
        plan.dispatches().map(|steps| together(steps.iter().map(|s| lower(s, graph, gpu)).collect()));
    let (shaders, rest): (Vec<Shader>, Vec<_>) =
        lowered.map(|step| (step.shader, (step.words, step.buffers, step.workgroups, step.work))).unzip();
    #[cfg(test)]
    let shaders = break_as_asked(shaders, gpu);
    if logs("wgsl") {
        shaders.iter().for_each(|shader| eprintln!("wgrad: kernel {}\n{}", shader.label, shader.source));
    }
    let pipelines = gpu.pipelines(&shaders)?;
    let mut compiled = Compiled { dispatches: Vec::new(), image: Vec::new(), patches: Vec::new() };
    let align = limits.uniform_alignment as usize / 4;
    for (pipeline, (words, buffers, workgroups, work)) in pipelines.into_iter().zip(rest) {
        let start = compiled.image.len().next_multiple_of(align);
        compiled.image.resize(start, 0);
        for (i, &word) in words.iter().enumerate() {
            let fixed = if let Word::Fixed(bits) = word { Some(bits) } else { None };
            if fixed.is_none() {
                compiled.patches.push((start + i, word));
            }
            compiled.image.push(fixed.unwrap_or_default());
        }
        // A uniform block is a multiple of 16 bytes.
        compiled.image.resize(compiled.image.len().next_multiple_of(4), 0);
        compiled.dispatches.push(Dispatch {
            pipeline,
            buffers,
            uniform: 4 * start as u32,
            uniform_bytes: 4 * (compiled.image.len() - start) as u32,
            workgroups: spread(workgroups, limits),
            work,
        });
    }
    Ok(compiled)
}

#[cfg(test)]
fn break_as_asked(mut shaders: Vec<Shader>, gpu: &Gpu) -> Vec<Shader> {
    if let Some((from, to)) = *crate::core::sync::lock(&gpu.broken) {
        shaders.iter_mut().for_each(|shader| shader.source = shader.source.replace(from, to));
    }
    shaders
}

impl Compiled {
    /// The uniforms of a run of this graph: its scalars, seeds and lines in their places.
    pub fn uniforms(&self, gpu: &Gpu, graph: &PendingGraph) -> Vec<u32> {
        let mut image = self.image.clone();
        for &(at, word) in &self.patches {
            image[at] = patch(word, gpu, graph);
        }
        image
    }
}

fn patch(word: Word, gpu: &Gpu, graph: &PendingGraph) -> u32 {
    let op = |item: usize| &graph.items[item].node.op;
    match word {
        Word::Fixed(bits) => bits,
        Word::Scalar { item, dtype } => match (op(item), dtype) {
            (Op::Scalar(x), DType::F32) => (*x as f32).to_bits(),
            (Op::Scalar(x), DType::I32) => *x as i32 as u32,
            (Op::Scalar(x), _) => *x as u32,
            (op, _) => unreachable!("{} is no scalar", op.name()),
        },
        Word::Random { item, part } => match op(item) {
            Op::Random { seed, counter } => {
                [*seed as u32, (*seed >> 32) as u32, *counter as u32, (*counter >> 32) as u32][part]
            }
            op => unreachable!("{} is not random", op.name()),
        },
        Word::Attribute { item, scalar } => match op(item) {
            Op::Fused(op) => (op.scalars()[scalar] as f32).to_bits(),
            op => unreachable!("{} is not fused", op.name()),
        },
        Word::Site { item } => gpu.site(op(item).name(), graph.items[item].node.at),
    }
}

/// Columns, or fours of them, side by side in a workgroup whose lanes share them.
const COLUMNS: u32 = 8;

fn lower(step: &Step, graph: &PendingGraph, gpu: &Gpu) -> Lowered {
    let node = &graph.items[step.item].node;
    let label = node.op.name();
    match &step.kernel {
        Kernel::Elementwise(program) => {
            let text = codegen::map(program, &step.reads, &step.writes);
            // GPUs start workgroups of 64 too slowly to keep memory busy.
            let group = if gpu.limits().kind == AdapterKind::Software { 64 } else { 128 };
            let workgroups = text.places.div_ceil(group);
            lowered(label, text, vec![("GROUP", group as f64)], workgroups, cost(program))
        }
        Kernel::Reduce(reduction) => {
            let (limits, lanes) = (gpu.limits(), reduction.lanes);
            let rows = reduction.program.rows_are_contiguous(reduction.inner());
            let (group, apart) = match limits.kind {
                // A CPU adapter runs a workgroup on one core: small ones keep both busy.
                AdapterKind::Software => (8, 1),
                _ if rows || lanes == 1 => (64, 1),
                _ => (COLUMNS * lanes, COLUMNS),
            };
            let subgroups = limits.subgroup.is_some() && lanes == group;
            let text = codegen::reduce(reduction, &step.reads, &step.writes, subgroups);
            let workgroups = text.places.div_ceil((group / lanes) as usize);
            let constants = vec![("GROUP", group.into()), ("LANES", lanes.into()), ("STEP", apart.into())];
            let work = cost(&reduction.program) + reduction.epilogue.as_ref().map_or(0, cost);
            lowered(label, text, constants, workgroups, work)
        }
        Kernel::MatMul(product, epilogue) => matmul(label, product, epilogue.as_ref(), step, gpu),
        Kernel::Fused(launch) => fused(label, launch, step),
    }
}

fn cost(program: &Program) -> u64 {
    program.space.numel() as u64 * program.code.len() as u64
}

fn lowered(label: &str, text: Text, constants: Vec<(&str, f64)>, workgroups: usize, work: u64) -> Lowered {
    let bindings = text.bindings.iter().map(|&(_, written)| access(written));
    Lowered {
        buffers: text.bindings.iter().map(|&(slot, _)| slot as u32).collect(),
        shader: Shader {
            label: label.to_owned(),
            source: text.source,
            constants: constants.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            bindings: bindings.collect(),
            faults: text.faults,
            trusted: true,
        },
        words: text.words,
        workgroups,
        work,
    }
}

/// Kernels with the same constants in one dispatch.
fn together(mut kernels: Vec<Lowered>) -> Lowered {
    if kernels.len() == 1 {
        return kernels.remove(0);
    }
    let sources: Vec<&str> = kernels.iter().map(|kernel| &kernel.shader.source[..]).collect();
    let source = codegen::together(&sources);
    let Shader { label, constants, .. } = kernels[0].shader.clone();
    let ends = kernels.iter().scan(0, |end, kernel| {
        *end += kernel.workgroups as u32;
        Some(Word::Fixed(*end))
    });
    let words = ends.chain(kernels.iter().flat_map(|kernel| kernel.words.iter().copied())).collect();
    assert!(kernels.iter().all(|kernel| kernel.shader.constants == constants && !kernel.shader.faults));
    let bindings = kernels.iter().flat_map(|kernel| kernel.shader.bindings.iter().copied()).collect();
    Lowered {
        shader: Shader { label, source, constants, bindings, faults: false, trusted: true },
        words,
        buffers: kernels.iter().flat_map(|kernel| kernel.buffers.iter().copied()).collect(),
        workgroups: kernels.iter().map(|kernel| kernel.workgroups).sum(),
        work: kernels.iter().map(|kernel| kernel.work).sum(),
    }
}

fn access(written: bool) -> Access {
    if written { Access::ReadWrite } else { Access::Read }
}

fn matmul(label: &str, product: &MatMul, epilogue: Option<&Program>, step: &Step, gpu: &Gpu) -> Lowered {
    let (text, constants) =
        matmul::lower(product, epilogue, &step.reads, &step.writes, gpu.limits(), &gpu.matmul_costs());
    let workgroups = text.places;
    let MatMul { batch, m, n, k, .. } = product;
    let work = 2 * (batch[0] * batch[1] * m * n) as u64 * *k as u64 + epilogue.map_or(0, cost);
    lowered(label, text, constants, workgroups, work)
}

fn fused(label: &str, launch: &graph::Launch, step: &Step) -> Lowered {
    let (mut reads, mut writes) = (step.reads.iter(), step.writes.iter());
    let mut faults = false;
    let mut bindings = Vec::new();
    for buffer in &launch.buffers {
        match buffer {
            graph::Buffer::Input(_) => bindings.push((*reads.next().expect("a slot for each input"), false)),
            graph::Buffer::Output(_) | graph::Buffer::Scratch { .. } => {
                bindings.push((*writes.next().expect("a slot for each result"), true));
            }
            graph::Buffer::Fault => faults = true,
        }
    }
    let item = step.item;
    let word = |word: &graph::Word| match *word {
        graph::Word::Size(size) => Word::Fixed(size),
        graph::Word::Scalar(scalar) => Word::Attribute { item, scalar },
        graph::Word::Site => Word::Site { item },
    };
    let text = Text {
        source: codegen::whole(&launch.source),
        words: launch.uniforms.iter().map(word).collect(),
        bindings,
        faults,
        places: launch.workgroups as usize,
    };
    let constants = launch.constants.iter().map(|&(name, value)| (name, f64::from(value))).collect();
    let mut lowered = lowered(label, text, constants, launch.workgroups as usize, launch.work);
    lowered.shader.trusted = launch.trusted;
    lowered
}

/// Workgroups over two dimensions, each within the limit. Kernels leave the surplus ones.
fn dilate(workgroups: usize, limits: &Limits) -> [u32; 3] {
    let most = limits.workgroups as usize;
    let rows = workgroups.div_ceil(most);
    [workgroups.div_ceil(rows.max(1)) as u32, rows as u32, 1]
}
