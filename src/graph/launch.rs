//! The dispatches of a fused operation.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::shader_source::ShaderSource;

/// One dispatch of a fused operation: a WGSL program with one entry point, and what is bound to it. `shaders/common.wgsl`
/// (`is_nan`, `max_f32`, `tanh_`...) is prepended to the program.
///
/// Pass shapes as uniforms instead of writing them into the WGSL, so that another batch size compiles nothing.
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
    /// A dispatch of one workgroup without bindings. The driver's run-time checks of indices, loops and divisions are on.
    pub fn new(source: impl Into<Cow<'static, str>>) -> Launch {
        Launch::from_source(ShaderSource::new(source))
    }

    /// A dispatch of one of the crate's own kernels.
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

    /// The value of an `override` constant.
    pub fn constant(mut self, name: &'static str, value: u32) -> Launch {
        self.constants.push((name, value));
        self
    }

    /// The storage bindings, from `@binding(1)` on.
    pub fn buffers(mut self, buffers: impl IntoIterator<Item = Buffer>) -> Launch {
        self.buffers = buffers.into_iter().collect();
        self
    }

    /// The words of the uniform block at `@binding(0)`, in the order of its members.
    pub fn uniforms(mut self, words: impl IntoIterator<Item = Word>) -> Launch {
        self.uniforms = words.into_iter().collect();
        self
    }

    /// The number of workgroups. More than 65,535 are laid out in two dimensions, and the last row may have more workgroups
    /// than requested. A kernel computes its number as `group.y * groups.x + group.x` and must ignore surplus workgroups.
    pub fn workgroups(mut self, count: u32) -> Launch {
        self.workgroups = count;
        self
    }

    /// Estimated number of operations, which bounds the length of a submission.
    pub fn work(mut self, operations: u64) -> Launch {
        self.work = operations;
        self
    }

    /// Turns run-time checks off, for kernels of the crate whose indices are proven to be in bounds.
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
    /// A result: `var<storage, read_write>`. A later dispatch of the operation may read what an earlier one wrote.
    Output(usize),
    /// Temporary memory shared by the dispatches of the operation that use the same index: `var<storage, read_write>`, with
    /// undefined initial contents.
    Scratch {
        /// Identifies it.
        index: usize,
        /// Its size. If dispatches give different sizes, the largest counts.
        bytes: usize,
    },
    /// The fault word, a `var<storage, read_write>` of `atomic<u32>`; it must be the last binding. A kernel that finds an index
    /// out of range writes NaN and does `atomicMin` of [`Word::Site`].
    Fault,
}

/// A word of a launch's uniform block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// A size.
    Size(u32),
    /// The operation's scalar of this position, as f32.
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
