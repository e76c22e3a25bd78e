//! What a fused operation dispatches.

use std::borrow::Cow;

use smallvec::SmallVec;

/// One dispatch of a fused operation: a WGSL program with one entry point, and what is bound to it. `shaders/common.wgsl`
/// (`is_nan`, `max_f32`, `tanh_`...) stands before the program.
///
/// Shapes belong into uniforms rather than into the text, so that a new batch size compiles nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Launch {
    pub(crate) source: Cow<'static, str>,
    pub(crate) constants: SmallVec<[(&'static str, u32); 4]>,
    pub(crate) buffers: SmallVec<[Buffer; 6]>,
    pub(crate) uniforms: SmallVec<[Word; 8]>,
    pub(crate) workgroups: u32,
    pub(crate) work: u64,
    pub(crate) trusted: bool,
}

impl Launch {
    /// A dispatch of one workgroup that binds nothing. The driver's checks of indices, loops and divisions stay in.
    pub fn new(source: impl Into<Cow<'static, str>>) -> Launch {
        Launch {
            source: source.into(),
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

    /// What each storage binding is, from `@binding(1)` on.
    pub fn buffers(mut self, buffers: impl IntoIterator<Item = Buffer>) -> Launch {
        self.buffers = buffers.into_iter().collect();
        self
    }

    /// The words of the uniform block at `@binding(0)`, in the order of its members.
    pub fn uniforms(mut self, words: impl IntoIterator<Item = Word>) -> Launch {
        self.uniforms = words.into_iter().collect();
        self
    }

    /// Workgroups wanted: any number. Those over 65,535 go on in a second dimension, whose last row may have more than
    /// was asked for: a kernel counts `group.y * groups.x + group.x` and leaves the surplus alone.
    pub fn workgroups(mut self, count: u32) -> Launch {
        self.workgroups = count;
        self
    }

    /// Operations in all, roughly: they bound how much is submitted at once.
    pub fn work(mut self, operations: u64) -> Launch {
        self.work = operations;
        self
    }

    /// Leaves the driver's checks out: for the crate's own kernels, which are proven to index inside their bindings.
    pub(crate) fn trusted(mut self) -> Launch {
        self.trusted = true;
        self
    }
}

/// What a storage binding of a launch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Buffer {
    /// An operand: `var<storage, read>`.
    Input(usize),
    /// A result: `var<storage, read_write>`. A later dispatch of the operation may read what an earlier one wrote.
    Output(usize),
    /// Memory of the operation's own, from one of its dispatches to another: `var<storage, read_write>`, undefined before
    /// it is written. Dispatches that name the same index share it.
    Scratch {
        /// Which.
        index: usize,
        /// Its size: the largest that a dispatch names.
        bytes: usize,
    },
    /// The fault word, a `var<storage, read_write>` of `atomic<u32>`, last of the bindings: a kernel that meets an index
    /// out of range writes NaN and does `atomicMin` of [`Word::Site`].
    Fault,
}

/// A word of a launch's uniform block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// A size that is known from the shapes.
    Size(u32),
    /// The operation's scalar of this position, as f32.
    Scalar(usize),
    /// The number by which a fault is traced to the user's line.
    Site,
}

/// Refuses launches that name what is not there, or leave a result unwritten: mistakes of whoever wrote the operation.
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
                    assert_eq!(at + 1, launch.buffers.len(), "{name}: the fault word is the last binding");
                }
            }
        }
    }
    if let Some(output) = written.iter().position(|written| !written) {
        panic!("{name}: no launch binds output {output}");
    }
}
