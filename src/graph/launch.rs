//! The dispatches of a fused operation.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::shader_source::ShaderSource;

/// One dispatch of a fused operation: a WGSL program with one entry point, and its bindings. `shaders/common.wgsl`
/// (`is_nan`, `max_f32`, `tanh_`...) is prepended to the program.
///
/// Pass shapes as uniforms instead of writing them into the WGSL, so that a new batch size does not need a new
/// pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Launch {
    pub(crate) source: ShaderSource,
    pub(crate) constants: SmallVec<[(&'static str, u32); 4]>,
    pub(crate) buffers: SmallVec<[Buffer; 6]>,
    pub(crate) uniforms: SmallVec<[Word; 8]>,
    pub(crate) workgroups: u32,
    pub(crate) work: u64,
    pub(crate) trusted: bool,
}

impl Launch {
    /// Creates a dispatch of one workgroup without bindings. The driver's run-time checks of indices, loops and
    /// divisions are on.
    pub fn new(source: impl Into<Cow<'static, str>>) -> Launch {
        Launch::from_source(ShaderSource::new(source))
    }

    /// Creates a dispatch of one of the crate's own kernels.
    pub(crate) fn from_source(source: ShaderSource) -> Launch {
        Launch {
            source,
            constants: SmallVec::new(),
            buffers: SmallVec::new(),
            uniforms: SmallVec::new(),
            workgroups: 1,
            work: 0,
            trusted: false,
        }
    }

    /// Sets the value of an `override` constant.
    pub fn constant(mut self, name: &'static str, value: u32) -> Launch {
        self.constants.push((name, value));
        self
    }

    /// Sets the storage bindings, starting at `@binding(1)`.
    pub fn buffers(mut self, buffers: impl IntoIterator<Item = Buffer>) -> Launch {
        self.buffers = buffers.into_iter().collect();
        self
    }

    /// Sets the words of the uniform block at `@binding(0)`, in the order of its members.
    pub fn uniforms(mut self, words: impl IntoIterator<Item = Word>) -> Launch {
        self.uniforms = words.into_iter().collect();
        self
    }

    /// Sets the number of workgroups. More than 65,535 workgroups are dispatched as a two-dimensional grid, which may
    /// have more workgroups than requested. A kernel computes its workgroup index as `group.y * groups.x + group.x` and
    /// must ignore surplus workgroups.
    pub fn workgroups(mut self, count: u32) -> Launch {
        self.workgroups = count;
        self
    }

    /// Sets the estimated number of operations, by which the runtime limits the length of a submission.
    pub fn work(mut self, operations: u64) -> Launch {
        self.work = operations;
        self
    }

    /// Turns run-time checks off, for the crate's own kernels whose indices are proven to be in bounds.
    pub(crate) fn trusted(mut self) -> Launch {
        self.trusted = true;
        self
    }
}

/// A storage binding of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Buffer {
    /// An operand: `var<storage, read>`.
    Input(usize),
    /// A result: `var<storage, read_write>`. A later dispatch of the operation may read the elements written by an
    /// earlier dispatch.
    Output(usize),
    /// Temporary memory, shared by the operation's dispatches that use the same index: `var<storage, read_write>`, with
    /// undefined initial contents.
    Scratch {
        /// Identifies the memory.
        index: usize,
        /// The size in bytes. If dispatches give different sizes, the maximum is used.
        bytes: usize,
    },
    /// The fault flag buffer, a `var<storage, read_write>` of `atomic<u32>`, which must be the last binding. For an
    /// index out of range, a kernel writes NaN and applies `atomicMin` with [`Word::Site`] to this buffer.
    Fault,
}

/// A word of a launch's uniform block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// A size.
    Size(u32),
    /// The operation's scalar at this position, as f32.
    Scalar(usize),
    /// The number that identifies the operation and the user's line in an index fault.
    Site,
}

/// Panics if a launch binds an input or output that does not exist, or if no launch writes an output.
pub(crate) fn validate(name: &str, launches: &[Launch], inputs: usize, outputs: usize) {
    let mut written = vec![false; outputs];
    for launch in launches {
        for (at, buffer) in launch.buffers.iter().enumerate() {
            match *buffer {
                Buffer::Input(i) => assert!(i < inputs, "{name}: a launch binds input {i} of {inputs}"),
                Buffer::Output(i) => {
                    assert!(i < outputs, "{name}: a launch binds output {i} of {outputs}");
                    written[i] = true;
                }
                Buffer::Scratch { .. } => {}
                Buffer::Fault => {
                    assert_eq!(
                        at + 1,
                        launch.buffers.len(),
                        "{name}: the fault word must be the last binding"
                    );
                }
            }
        }
    }
    if let Some(output) = written.iter().position(|written| !written) {
        panic!("{name}: no launch binds output {output}");
    }
}
