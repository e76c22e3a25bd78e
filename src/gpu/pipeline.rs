//! Shaders compiled, once each.
//!
//! In: WGSL text, override values and the bindings' access. Out: a pipeline, the same one for the same request. Must not know
//! what the text computes. Pipelines are never evicted: a kernel's text has no sizes, so a program has few.

use std::hash::{Hash, Hasher};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustc_hash::{FxHashMap, FxHashSet};

use super::health::Health;
use crate::core::error::Error;
use crate::core::sync::lock;

/// How a kernel uses a storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    Read,
    ReadWrite,
}

/// A request for a kernel. `@binding(0)` is its uniform block; its storage buffers follow from `@binding(1)` on.
#[derive(Clone, Debug)]
pub struct Shader {
    /// For messages and debuggers; no part of what tells one shader from another.
    pub label: String,
    /// WGSL with one compute entry point.
    pub source: String,
    /// Values of the source's `override` constants.
    pub constants: Vec<(String, f64)>,
    pub bindings: Vec<Access>,
    /// Whether the error word of the run, an `atomic<u32>`, follows the last of `bindings`.
    pub faults: bool,
    /// Text of this crate, whose every index is proven: compiled without run-time checks.
    pub trusted: bool,
}

impl Shader {
    fn identity(&self) -> impl Hash + Eq + '_ {
        let constants = self.constants.iter();
        let constants: Vec<_> = constants.map(|(name, v)| (name, v.to_bits())).collect();
        (&self.source, constants, &self.bindings, self.faults, self.trusted)
    }

    fn signature(&self) -> Signature {
        Signature { bindings: self.bindings.clone(), faults: self.faults }
    }
}

/// What tells one layout from another.
#[derive(PartialEq, Eq, Hash)]
struct Signature {
    bindings: Vec<Access>,
    faults: bool,
}

impl PartialEq for Shader {
    fn eq(&self, other: &Shader) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Shader {}

impl Hash for Shader {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// A kernel ready to be dispatched.
pub struct Pipeline {
    pub(super) raw: wgpu::ComputePipeline,
    pub(super) layout: Arc<Layout>,
    pub(super) bindings: Vec<Access>,
    pub(super) faults: bool,
}

/// What pipelines with the same bindings have in common, so that they share bind groups.
pub(super) struct Layout {
    pub id: u32,
    pub group: wgpu::BindGroupLayout,
    pipeline: wgpu::PipelineLayout,
}

pub(super) struct Pipelines {
    device: wgpu::Device,
    health: Arc<Health>,
    checks: wgpu::ShaderRuntimeChecks,
    known: Mutex<FxHashMap<Shader, Arc<Pipeline>>>,
    layouts: Mutex<FxHashMap<Signature, Arc<Layout>>>,
}

impl Pipelines {
    /// `checked` compiles the run-time checks of indices, loops and divisions in.
    pub fn new(device: wgpu::Device, health: Arc<Health>, checked: bool) -> Pipelines {
        let checks = if checked {
            wgpu::ShaderRuntimeChecks::checked()
        } else {
            wgpu::ShaderRuntimeChecks::unchecked()
        };
        Pipelines { device, health, checks, known: Mutex::default(), layouts: Mutex::default() }
    }

    pub fn count(&self) -> u64 {
        lock(&self.known).len() as u64
    }

    /// A pipeline for each shader. The missing ones are compiled side by side.
    ///
    /// # Panics
    ///
    /// If a shader is not valid WGSL, or does not match its bindings.
    pub fn get_or_create(&self, shaders: &[Shader]) -> Result<Vec<Arc<Pipeline>>, Error> {
        let missing: Vec<&Shader> = {
            let known = lock(&self.known);
            let missing = shaders.iter().filter(|shader| !known.contains_key(shader));
            missing.collect::<FxHashSet<_>>().into_iter().collect()
        };
        for (shader, made) in missing.iter().zip(self.create_all(&missing)) {
            let pipeline = match made {
                Ok(pipeline) => pipeline,
                Err(Failure::World(error)) => return Err(error),
                Err(Failure::Text(message)) => panic!("{}", explain(shader, &message)),
            };
            // Another thread may have been faster: then its pipeline is the one.
            lock(&self.known).entry((*shader).clone()).or_insert(pipeline);
        }
        let known = lock(&self.known);
        Ok(shaders.iter().map(|s| Arc::clone(&known[s])).collect())
    }

    fn create_all(&self, shaders: &[&Shader]) -> Vec<Result<Arc<Pipeline>, Failure>> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let threads = cores.min(shaders.len());
        if threads <= 1 {
            return shaders.iter().map(|shader| self.create(shader)).collect();
        }
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut made = Vec::new();
            loop {
                let position = next.fetch_add(1, Ordering::Relaxed);
                match shaders.get(position) {
                    Some(shader) => made.push((position, self.create(shader))),
                    None => return made,
                }
            }
        };
        let mut made = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            let results = workers.into_iter().map(|worker| worker.join());
            let results = results.map(|made| made.unwrap_or_else(|panic| resume_unwind(panic)));
            results.flatten().collect::<Vec<_>>()
        });
        made.sort_by_key(|&(position, _)| position);
        made.into_iter().map(|(_, pipeline)| pipeline).collect()
    }

    fn create(&self, shader: &Shader) -> Result<Arc<Pipeline>, Failure> {
        // Error scopes belong to a thread, so each thread that compiles opens its own.
        let mistakes = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let failures = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let module = wgpu::ShaderModuleDescriptor {
            label: Some(&shader.label),
            source: wgpu::ShaderSource::Wgsl(shader.source.as_str().into()),
        };
        let module = if shader.trusted {
            // SAFETY: the shader is text of this crate, which indexes only inside its bindings, ends its loops and divides
            // by no zero; `Options::checked` runs the same tests with the checks in.
            #[expect(unsafe_code)]
            unsafe {
                self.device.create_shader_module_trusted(module, self.checks)
            }
        } else {
            self.device.create_shader_module(module)
        };
        let layout = self.layout(shader.signature());
        let constants: Vec<(&str, f64)> =
            shader.constants.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let descriptor = wgpu::ComputePipelineDescriptor {
            label: Some(&shader.label),
            layout: Some(&layout.pipeline),
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // Our kernels write workgroup memory before they read it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        };
        let raw = self.device.create_compute_pipeline(&descriptor);
        let failure = pollster::block_on(failures.pop());
        let mistake = pollster::block_on(mistakes.pop());
        if let Some(mistake) = mistake {
            return Err(Failure::Text(mistake.to_string()));
        }
        if let Some(failure) = failure {
            let message = format!("{}: {failure}", shader.label);
            return Err(Failure::World(Error::Driver(message)));
        }
        // A lost device refuses in silence.
        self.health.check().map_err(Failure::World)?;
        Ok(Arc::new(Pipeline { raw, layout, bindings: shader.bindings.clone(), faults: shader.faults }))
    }

    fn layout(&self, signature: Signature) -> Arc<Layout> {
        let mut layouts = lock(&self.layouts);
        let id = layouts.len() as u32;
        let layout = layouts.entry(signature).or_insert_with_key(|signature| {
            let storage =
                |access: &Access| wgpu::BufferBindingType::Storage { read_only: *access == Access::Read };
            // Uniforms and error words are those of the dispatch, and of the run.
            let uniform = (wgpu::BufferBindingType::Uniform, true);
            let word = signature.faults.then(|| (storage(&Access::ReadWrite), true));
            let entries: Vec<_> = std::iter::once(uniform)
                .chain(signature.bindings.iter().map(|access| (storage(access), false)))
                .chain(word)
                .zip(0..)
                .map(|((ty, has_dynamic_offset), binding)| entry(binding, ty, has_dynamic_offset))
                .collect();
            let group = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
            let group = self.device.create_bind_group_layout(&group);
            let pipeline = wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&group)],
                immediate_size: 0,
            };
            let pipeline = self.device.create_pipeline_layout(&pipeline);
            Arc::new(Layout { id, group, pipeline })
        });
        Arc::clone(layout)
    }
}

/// Why there is no pipeline.
enum Failure {
    /// The shader's text is wrong: a mistake of whoever wrote it.
    Text(String),
    /// The driver or the device failed.
    World(Error),
}

fn entry(binding: u32, ty: wgpu::BufferBindingType, has_dynamic_offset: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset,
            // Checked against the kernel at each dispatch instead, since kernels share the layout.
            min_binding_size: None,
        },
        count: None,
    }
}

fn explain(shader: &Shader, message: &str) -> String {
    let lines = shader.source.lines().zip(1..);
    let numbered: String = lines.map(|(line, number)| format!("{number:5} | {line}\n")).collect();
    format!(
        "the shader {} is broken: {message}\nwith {:?}, faults {}, constants {:?}:\n{numbered}",
        shader.label, shader.bindings, shader.faults, shader.constants
    )
}
