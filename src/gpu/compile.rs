//! Compiles a plan: its pipelines, and an image of its uniforms with a list of the words that each run overwrites.

use smallvec::SmallVec;

use super::codegen::{self, GeneratedKernel, UniformWord};
use super::matmul;
use super::{Access, Dispatch, Gpu, Shader};
use crate::core::dtype::DType;
use crate::core::error::Error;
use crate::core::limits::{AdapterKind, Limits};
use crate::graph::{self, Op};
use crate::ir::{Kernel, MatMul, Plan, Program, Step};
use crate::schedule::{PendingGraph, logs};

/// The dispatches of a plan in order, and their uniforms.
pub(crate) struct Compiled {
    pub dispatches: Vec<Dispatch>,
    image: Vec<u32>,
    /// The words that each run overwrites, by their index in `image`.
    patches: Vec<(usize, UniformWord)>,
}

/// One dispatch before its pipeline exists.
struct Lowered {
    shader: Shader,
    words: Vec<UniformWord>,
    buffers: SmallVec<[u32; 8]>,
    workgroups: usize,
    work: u64,
}

pub(crate) fn compile(gpu: &Gpu, plan: &Plan, graph: &PendingGraph) -> Result<Compiled, Error> {
    let limits = gpu.limits();
    let lowered = plan.dispatches().map(|steps| lower(steps, graph, gpu));
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
            let fixed = if let UniformWord::Fixed(bits) = word { Some(bits) } else { None };
            if fixed.is_none() {
                compiled.patches.push((start + i, word));
            }
            compiled.image.push(fixed.unwrap_or_default());
        }
        // The size of a uniform block must be a multiple of 16 bytes.
        compiled.image.resize(compiled.image.len().next_multiple_of(4), 0);
        compiled.dispatches.push(Dispatch {
            pipeline,
            buffers,
            uniform: 4 * start as u32,
            uniform_bytes: 4 * (compiled.image.len() - start) as u32,
            workgroups: grid(workgroups, limits),
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
    /// The uniforms for a run of this graph: the image with the graph's scalars, seeds and fault sites written into it.
    pub fn uniforms(&self, gpu: &Gpu, graph: &PendingGraph) -> Vec<u32> {
        let mut image = self.image.clone();
        for &(at, word) in &self.patches {
            image[at] = patch(word, gpu, graph);
        }
        image
    }
}

fn patch(word: UniformWord, gpu: &Gpu, graph: &PendingGraph) -> u32 {
    let op = |item: usize| &graph.items[item].node.op;
    match word {
        UniformWord::Fixed(bits) => bits,
        UniformWord::Scalar { item, dtype } => match (op(item), dtype) {
            (Op::Scalar(x), DType::F32) => (*x as f32).to_bits(),
            (Op::Scalar(x), DType::I32) => *x as i32 as u32,
            (Op::Scalar(x), _) => *x as u32,
            (op, _) => unreachable!("{} is no scalar", op.name()),
        },
        UniformWord::Random { item, part } => match op(item) {
            Op::Random { seed, counter } => {
                [*seed as u32, (*seed >> 32) as u32, *counter as u32, (*counter >> 32) as u32][part]
            }
            op => unreachable!("{} is not random", op.name()),
        },
        UniformWord::Attribute { item, scalar } => match op(item) {
            Op::Fused(op) => (op.scalars()[scalar] as f32).to_bits(),
            op => unreachable!("{} is not fused", op.name()),
        },
        UniformWord::Site { item } => gpu.site(op(item).name(), graph.items[item].node.at),
    }
}

/// Neighbouring columns, or vec4 of them, in a workgroup of a column reduction whose lanes split each column.
const COLUMNS: u32 = 8;

/// One dispatch of a step, or of several steps whose kernels are generated from the same template.
fn lower(steps: &[Step], graph: &PendingGraph, gpu: &Gpu) -> Lowered {
    let label = graph.items[steps[0].item].node.op.name();
    match (&steps[0].kernel, steps) {
        (Kernel::MatMul(product, epilogue), [step]) => matmul(label, product, epilogue.as_ref(), step, gpu),
        (Kernel::Fused(launch), [step]) => fused(label, launch, step),
        _ => generated(label, steps, gpu.limits()),
    }
}

fn generated(label: &str, steps: &[Step], limits: &Limits) -> Lowered {
    let (mut parts, mut workgroups, mut work) = (Vec::new(), Vec::new(), 0);
    let mut shared_constants = None;
    for (k, step) in steps.iter().enumerate() {
        let suffix = codegen::suffix(k, steps.len());
        let (part, constants) = match &step.kernel {
            Kernel::Elementwise(program) => {
                let (part, len) = codegen::elementwise(program, &step.reads, &step.writes, &suffix);
                // GPUs launch workgroups of 64 too slowly to saturate memory bandwidth.
                let group = if limits.kind == AdapterKind::Software { 64 } else { 128 };
                workgroups.push(len.div_ceil(group));
                work += cost(program);
                (part, vec![("GROUP", group as f64)])
            }
            Kernel::Reduce(reduction) => {
                let (lanes, rows) =
                    (reduction.lanes, reduction.program.rows_are_contiguous(reduction.inner()));
                let (group, stride) = match limits.kind {
                    // A CPU adapter runs a workgroup on one core, so small workgroups keep all cores busy.
                    AdapterKind::Software => (8, 1),
                    _ if rows || lanes == 1 => (64, 1),
                    _ => (COLUMNS * lanes, COLUMNS),
                };
                let subgroups = limits.subgroup.is_some() && lanes == group;
                let (part, len) = codegen::reduce(reduction, &step.reads, &step.writes, &suffix, subgroups);
                workgroups.push(len.div_ceil((group / lanes) as usize));
                work += cost(&reduction.program) + reduction.epilogue.as_ref().map_or(0, cost);
                (part, vec![("GROUP", group.into()), ("LANES", lanes.into()), ("STEP", stride.into())])
            }
            Kernel::MatMul(..) | Kernel::Fused(_) => unreachable!("{label} has a dispatch of its own"),
        };
        parts.push(part);
        assert_eq!(
            *shared_constants.get_or_insert_with(|| constants.clone()),
            constants,
            "{label} in a batch"
        );
    }
    let kernel = codegen::batch_kernels(parts, &workgroups);
    assert!(steps.len() == 1 || !kernel.faults, "{label} may fault, but is in a batch");
    let constants = shared_constants.expect("a dispatch has a step");
    lowered(label, kernel, constants, workgroups.iter().sum(), work)
}

fn cost(program: &Program) -> u64 {
    program.space.numel() as u64 * program.code.len() as u64
}

fn lowered(
    label: &str,
    kernel: GeneratedKernel,
    constants: Vec<(&str, f64)>,
    workgroups: usize,
    work: u64,
) -> Lowered {
    let bindings = kernel.bindings.iter().map(|&(_, written)| access(written));
    Lowered {
        buffers: kernel.bindings.iter().map(|&(slot, _)| slot as u32).collect(),
        shader: Shader {
            label: label.to_owned(),
            source: kernel.source.render(),
            constants: constants.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            bindings: bindings.collect(),
            faults: kernel.faults,
            trusted: true,
        },
        words: kernel.words,
        workgroups,
        work,
    }
}

fn access(written: bool) -> Access {
    if written { Access::ReadWrite } else { Access::Read }
}

fn matmul(label: &str, product: &MatMul, epilogue: Option<&Program>, step: &Step, gpu: &Gpu) -> Lowered {
    let lowering =
        matmul::lower(product, epilogue, &step.reads, &step.writes, gpu.limits(), &gpu.matmul_costs());
    let MatMul { batch, m, n, k, .. } = product;
    let work = 2 * (batch[0] * batch[1] * m * n) as u64 * *k as u64 + epilogue.map_or(0, cost);
    lowered(label, lowering.kernel, lowering.constants, lowering.workgroups, work)
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
        graph::Word::Size(size) => UniformWord::Fixed(size),
        graph::Word::Scalar(scalar) => UniformWord::Attribute { item, scalar },
        graph::Word::Site => UniformWord::Site { item },
    };
    let kernel = GeneratedKernel {
        source: launch.source.clone(),
        words: launch.uniforms.iter().map(word).collect(),
        bindings,
        faults,
    };
    let constants = launch.constants.iter().map(|&(name, value)| (name, f64::from(value))).collect();
    let mut lowered = lowered(label, kernel, constants, launch.workgroups as usize, launch.work);
    lowered.shader.trusted = launch.trusted;
    lowered
}

/// Spreads workgroups over two dimensions, each within the limit. Surplus workgroups store nothing.
fn grid(workgroups: usize, limits: &Limits) -> [u32; 3] {
    let most = limits.workgroups as usize;
    let rows = workgroups.div_ceil(most);
    [workgroups.div_ceil(rows.max(1)) as u32, rows as u32, 1]
}
