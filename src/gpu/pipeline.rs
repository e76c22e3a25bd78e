//! The pipeline cache: each shader is compiled once.
//!
//! In: WGSL, override values and the access of the bindings. Out: a pipeline, which is shared by equal requests.
//! Pipelines are never evicted: WGSL texts contain no sizes, so a program has few pipelines.

use std::hash::{Hash, Hasher};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustc_hash::{FxHashMap, FxHashSet};

use super::health::Health;
use crate::core::error::Error;
use crate::core::sync::lock;

/// The access mode of a storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    Read,
    ReadWrite,
}

/// A request for a kernel. `@binding(0)` is the uniform block, and the storage buffers start at `@binding(1)`.
#[derive(Clone, Debug)]
pub struct Shader {
    /// A name for messages and debuggers. Shaders that differ only in the label are equal.
    pub label: String,
    /// WGSL with one compute entry point.
    pub source: String,
    /// Values of the source's `override` constants.
    pub constants: Vec<(String, f64)>,
    pub bindings: Vec<Access>,
    /// Whether the run's fault flag, an `atomic<u32>`, is bound after the last of `bindings`.
    pub faults: bool,
    /// Whether the source is WGSL of this crate with indices proven to be in bounds, which is compiled without run-time
    /// checks.
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

/// The key of a layout.
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

/// The layout of pipelines with the same bindings, which share bind groups.
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
    /// Creates an empty cache. With `checked`, run-time checks of indices, loops and divisions are compiled into all
    /// shaders.
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

    /// Returns a pipeline for each shader. Missing pipelines are compiled in parallel.
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
                Err(Failure::Environment(error)) => return Err(error),
                Err(Failure::InvalidShader(message)) => panic!("{}", explain(shader, &message)),
            };
            // If another thread has inserted the pipeline in the meantime, the other thread's pipeline is used.
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
        // Error scopes are per thread.
        let mistakes = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let failures = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let module = wgpu::ShaderModuleDescriptor {
            label: Some(&shader.label),
            source: wgpu::ShaderSource::Wgsl(shader.source.as_str().into()),
        };
        let module = if shader.trusted {
            // SAFETY: shaders of this crate index only inside their bindings, their loops end, and they do not divide
            // by zero. The tests also run with `Options::checked`.
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
                // The crate's kernels write workgroup memory before reading it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        };
        let raw = self.device.create_compute_pipeline(&descriptor);
        let failure = pollster::block_on(failures.pop());
        let mistake = pollster::block_on(mistakes.pop());
        if let Some(mistake) = mistake {
            return Err(Failure::InvalidShader(mistake.to_string()));
        }
        if let Some(failure) = failure {
            let message = format!("{}: {failure}", shader.label);
            return Err(Failure::Environment(Error::Driver(message)));
        }
        // Error scopes do not report a lost device.
        self.health.check().map_err(Failure::Environment)?;
        Ok(Arc::new(Pipeline { raw, layout, bindings: shader.bindings.clone(), faults: shader.faults }))
    }

    fn layout(&self, signature: Signature) -> Arc<Layout> {
        let mut layouts = lock(&self.layouts);
        let id = layouts.len() as u32;
        let layout = layouts.entry(signature).or_insert_with_key(|signature| {
            let storage =
                |access: &Access| wgpu::BufferBindingType::Storage { read_only: *access == Access::Read };
            // Dynamic offsets select the dispatch's uniforms and the run's fault flag.
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

/// The reason why a pipeline was not created.
enum Failure {
    /// The shader is not valid: a programming mistake.
    InvalidShader(String),
    /// The driver or the device failed.
    Environment(Error),
}

fn entry(binding: u32, ty: wgpu::BufferBindingType, has_dynamic_offset: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset,
            // Kernels with different sizes share the layout, so wgpu checks the size at each dispatch instead.
            min_binding_size: None,
        },
        count: None,
    }
}

fn explain(shader: &Shader, message: &str) -> String {
    let lines = shader.source.lines().zip(1..);
    let numbered: String = lines.map(|(line, number)| format!("{number:5} | {line}\n")).collect();
    format!(
        "the shader {} is not valid: {message}\nwith {:?}, faults {}, constants {:?}:\n{numbered}",
        shader.label, shader.bindings, shader.faults, shader.constants
    )
}
