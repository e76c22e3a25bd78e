//! WGSL's uniformity analysis, on naga's intermediate representation: finds barriers and subgroup operations that only
//! some invocations of a workgroup may execute. naga's own analysis accepts most of these.
//!
//! A function is analyzed once, with unknown parameters. A value depends on a set of parameters, and may vary between
//! invocations. A local variable depends on all values that are stored to it, and on the conditions of the stores.

use std::collections::HashMap;

use naga::{
    AddressSpace, Arena, Binding, Block, BuiltIn, Expression, Function, FunctionArgument, Handle,
    LocalVariable, Module, Statement, StorageAccess, TypeInner,
};

/// The dependencies of a value: one bit for each parameter.
type Causes = u64;

/// The bit of values that vary between the invocations of a workgroup.
const VARYING: Causes = 1 << 63;

/// The summary of a function for the analysis of its callers.
struct Summary {
    result: Causes,
    /// The dependencies of all values stored through the function's pointer parameters.
    stored: Causes,
    /// The dependencies of the conditions under which the function's barriers and subgroup operations are executed;
    /// `None` if the function has neither.
    synchronized: Option<Causes>,
}

/// Returns the functions of a valid module that synchronize invocations in non-uniform control flow.
pub fn faults(module: &Module) -> Vec<String> {
    let mut summaries: Vec<Summary> = Vec::new();
    let mut faults = Vec::new();
    let entries = module.entry_points.iter().map(|entry| (&entry.function, true));
    // A function is listed after its callees.
    for (function, is_entry) in module.functions.iter().map(|(_, function)| (function, false)).chain(entries)
    {
        let summary = Analysis::new(module, function, is_entry, &summaries).run();
        if summary.synchronized.is_some_and(|causes| causes & VARYING != 0) {
            faults.push(function.name.clone().unwrap_or("the entry point".into()));
        }
        summaries.push(summary);
    }
    faults
}

/// The ways in which control flow may leave a statement early, with the dependencies of their conditions.
#[derive(Clone, Copy, Default)]
struct Exits {
    breaks: Causes,
    continues: Causes,
    returns: Causes,
}

impl Exits {
    fn or(self, other: Exits) -> Exits {
        Exits {
            breaks: self.breaks | other.breaks,
            continues: self.continues | other.continues,
            returns: self.returns | other.returns,
        }
    }

    fn all(self) -> Causes {
        self.breaks | self.continues | self.returns
    }
}

struct Analysis<'a> {
    module: &'a Module,
    expressions: &'a Arena<Expression>,
    function: &'a Function,
    is_entry: bool,
    callees: &'a [Summary],
    locals: HashMap<Handle<LocalVariable>, Causes>,
    calls: HashMap<Handle<Expression>, Causes>,
    summary: Summary,
}

impl<'a> Analysis<'a> {
    fn new(module: &'a Module, function: &'a Function, is_entry: bool, callees: &'a [Summary]) -> Self {
        let summary = Summary { result: 0, stored: 0, synchronized: None };
        let (locals, calls) = (HashMap::new(), HashMap::new());
        Analysis {
            module,
            expressions: &function.expressions,
            function,
            is_entry,
            callees,
            locals,
            calls,
            summary,
        }
    }

    fn run(mut self) -> Summary {
        // Iterates to a fixed point: the dependencies of variables only grow.
        loop {
            let before = (self.locals.clone(), self.calls.clone(), self.summary.stored);
            self.block(&self.function.body, 0);
            if before == (self.locals.clone(), self.calls.clone(), self.summary.stored) {
                return self.summary;
            }
        }
    }

    fn block(&mut self, block: &Block, mut flow: Causes) -> Exits {
        let mut exits = Exits::default();
        for statement in block.iter() {
            let early = self.statement(statement, flow);
            flow |= early.all();
            exits = exits.or(early);
        }
        exits
    }

    fn statement(&mut self, statement: &Statement, flow: Causes) -> Exits {
        let mut exits = Exits::default();
        match statement {
            Statement::Block(block) => return self.block(block, flow),
            Statement::If { condition, accept, reject } => {
                let flow = flow | self.causes(*condition);
                return self.block(accept, flow).or(self.block(reject, flow));
            }
            Statement::Switch { selector, cases } => {
                let flow = flow | self.causes(*selector);
                for case in cases {
                    exits = exits.or(self.block(&case.body, flow));
                }
                return Exits { breaks: 0, ..exits };
            }
            Statement::Loop { body, continuing, break_if } => {
                // Invocations that have left the loop do not return to its head.
                let mut left = 0;
                loop {
                    let flow = flow | left;
                    let inside = self.block(body, flow);
                    let again = flow | inside.breaks | inside.returns;
                    let behind = self.block(continuing, again);
                    let ended = break_if.map_or(0, |condition| self.causes(condition));
                    let more = left | inside.breaks | inside.returns | behind.all() | ended;
                    if more == left {
                        return Exits { returns: inside.returns, ..exits };
                    }
                    left = more;
                }
            }
            Statement::Break => exits.breaks = flow,
            Statement::Continue => exits.continues = flow,
            Statement::Return { value } => {
                exits.returns = flow;
                self.summary.result |= flow | value.map_or(0, |value| self.causes(value));
            }
            Statement::Store { pointer, value } => self.store(*pointer, flow | self.causes(*value)),
            Statement::ControlBarrier(_)
            | Statement::SubgroupBallot { .. }
            | Statement::SubgroupGather { .. }
            | Statement::SubgroupCollectiveOperation { .. }
            | Statement::WorkGroupUniformLoad { .. } => self.synchronize(flow),
            Statement::Call { function, arguments, result } => {
                let callee = &self.callees[function.index()];
                let arguments: Vec<_> = arguments.iter().map(|&value| (value, self.causes(value))).collect();
                let of = |causes: Causes| {
                    let passed = arguments.iter().enumerate().filter(|(i, _)| causes & 1 << i != 0);
                    passed.fold(causes & VARYING, |all, (_, (_, causes))| all | causes)
                };
                let (stored, returned) = (flow | of(callee.stored), of(callee.result));
                if let Some(causes) = callee.synchronized {
                    self.synchronize(flow | of(causes));
                }
                for (value, _) in arguments {
                    if self.is_pointer(value) {
                        self.store(value, stored);
                    }
                }
                if let Some(result) = result {
                    *self.calls.entry(*result).or_default() |= returned;
                }
            }
            Statement::Emit(_) | Statement::Atomic { .. } | Statement::MemoryBarrier(_) => {}
            other => panic!("the analysis lacks {other:?}"),
        }
        exits
    }

    fn synchronize(&mut self, flow: Causes) {
        *self.summary.synchronized.get_or_insert(0) |= flow;
    }

    /// Whether an argument is a pointer to a local variable or a pointer parameter.
    fn is_pointer(&self, value: Handle<Expression>) -> bool {
        let parameter =
            |i: u32| self.module.types[self.function.arguments[i as usize].ty].inner.pointer_space();
        match self.expressions[value] {
            Expression::FunctionArgument(i) => parameter(i).is_some(),
            _ => self.local(value).is_some(),
        }
    }

    /// Returns the local variable into which a pointer points.
    fn local(&self, pointer: Handle<Expression>) -> Option<Handle<LocalVariable>> {
        match self.expressions[pointer] {
            Expression::LocalVariable(local) => Some(local),
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.local(base),
            _ => None,
        }
    }

    fn store(&mut self, pointer: Handle<Expression>, causes: Causes) {
        let causes = causes | self.index_causes(pointer);
        match self.local(pointer) {
            Some(local) => *self.locals.entry(local).or_default() |= causes,
            None => self.summary.stored |= causes,
        }
    }

    /// Returns the dependencies of the indices in a pointer.
    fn index_causes(&self, pointer: Handle<Expression>) -> Causes {
        match self.expressions[pointer] {
            Expression::Access { base, index } => self.index_causes(base) | self.causes(index),
            Expression::AccessIndex { base, .. } => self.index_causes(base),
            _ => 0,
        }
    }

    /// Returns the dependencies of a value, or of the value to which a pointer points.
    fn causes(&self, value: Handle<Expression>) -> Causes {
        let all =
            |values: &[Handle<Expression>]| values.iter().fold(0, |all, &value| all | self.causes(value));
        match self.expressions[value] {
            Expression::Literal(_)
            | Expression::Constant(_)
            | Expression::Override(_)
            | Expression::ZeroValue(_)
            | Expression::ArrayLength(_)
            | Expression::WorkGroupUniformLoadResult { .. } => 0,
            Expression::FunctionArgument(i) if self.is_entry => {
                self.input(&self.function.arguments[i as usize])
            }
            Expression::FunctionArgument(i) => 1 << i,
            Expression::GlobalVariable(variable) => match self.module.global_variables[variable].space {
                AddressSpace::Uniform => 0,
                AddressSpace::Storage { access } if !access.contains(StorageAccess::STORE) => 0,
                _ => VARYING,
            },
            Expression::LocalVariable(local) => {
                let initial = self.function.local_variables[local].init.map_or(0, |init| self.causes(init));
                initial | self.locals.get(&local).copied().unwrap_or_default()
            }
            Expression::CallResult(_) => self.calls.get(&value).copied().unwrap_or_default(),
            Expression::AtomicResult { .. }
            | Expression::SubgroupBallotResult
            | Expression::SubgroupOperationResult { .. } => VARYING,
            Expression::Load { pointer: x }
            | Expression::AccessIndex { base: x, .. }
            | Expression::Splat { value: x, .. }
            | Expression::Swizzle { vector: x, .. }
            | Expression::Unary { expr: x, .. }
            | Expression::Relational { argument: x, .. }
            | Expression::As { expr: x, .. } => self.causes(x),
            Expression::Access { base: a, index: b } | Expression::Binary { left: a, right: b, .. } => {
                all(&[a, b])
            }
            Expression::Select { condition, accept, reject } => all(&[condition, accept, reject]),
            Expression::Compose { ref components, .. } => all(components),
            Expression::Math { arg, arg1, arg2, arg3, .. } => [Some(arg), arg1, arg2, arg3]
                .into_iter()
                .flatten()
                .fold(0, |causes, x| causes | self.causes(x)),
            ref other => panic!("the analysis lacks {other:?}"),
        }
    }

    /// Returns the dependencies of an entry point's argument. A struct of built-ins is uniform if all its built-ins are
    /// uniform.
    fn input(&self, argument: &FunctionArgument) -> Causes {
        let is_uniform = |binding: &Option<Binding>| {
            use BuiltIn::{NumSubgroups, NumWorkGroups, SubgroupSize, WorkGroupId};
            matches!(
                binding,
                Some(Binding::BuiltIn(WorkGroupId | NumWorkGroups | NumSubgroups | SubgroupSize))
            )
        };
        let uniform = match &self.module.types[argument.ty].inner {
            TypeInner::Struct { members, .. } => members.iter().all(|member| is_uniform(&member.binding)),
            _ => is_uniform(&argument.binding),
        };
        if uniform { 0 } else { VARYING }
    }
}

const PROGRAM: &str = "
    struct Params { count: u32 }
    @group(0) @binding(0) var<uniform> params: Params;
    @group(0) @binding(1) var<storage, read> x: array<u32>;
    @group(0) @binding(2) var<storage, read_write> y: array<u32>;
    override WIDTH: u32 = 64u;
    var<workgroup> shared_: array<u32, 64>;
    fn barrier() { workgroupBarrier(); }
    fn barrier_below(i: u32, n: u32) { if (i < n) { workgroupBarrier(); } }
    fn leave(i: u32) -> u32 { if (i > 3u) { return i; } return 7u; }
    fn put(at: ptr<function, u32>, i: u32) { *at = i; }
    struct Both { @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32 }
    @compute @workgroup_size(64)
    fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
        var v = 0u;
        BODY
    }";

fn faults_of(body: &str) -> Vec<String> {
    let source = PROGRAM.replace("BODY", body);
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
    faults(&module)
}

#[test]
fn what_all_invocations_execute_is_uniform() {
    for body in [
        "workgroupBarrier();",
        "if (group.x < params.count && x[group.y] > 3u) { barrier(); }",
        "if (WIDTH == 64u) { return; } barrier_below(group.x, 3u);",
        "for (var i = 0u; i < params.count; i += 1u) { if (lane < i) { v += 1u; } barrier(); }",
        "for (var i = lane; i < params.count; i += 64u) { if (i == 7u) { break; } if (i == 9u) { continue; } } barrier();",
        "if (lane < 3u) { shared_[lane] = leave(lane); } barrier(); if (lane > 3u) { return; } y[lane] = 1u;",
        "let n = leave(group.x); if (n == 3u) { barrier(); }",
        "v = workgroupUniformLoad(&shared_[0]); if (v == 3u) { barrier(); }",
        "put(&v, group.x); if (v == 3u) { barrier(); }",
        "loop { barrier(); continuing { v += 1u; break if v > params.count; } }",
    ] {
        assert!(faults_of(body).is_empty(), "{body}");
    }
}

#[test]
fn what_some_invocations_may_not_execute_is_not() {
    for body in [
        "if (lane < 3u) { workgroupBarrier(); }",
        "if (lane < 3u) { barrier(); }",
        "if (lane < 3u) { return; } barrier();",
        "barrier_below(lane, params.count);",
        "for (var i = lane; i < params.count; i += 64u) { barrier(); }",
        "for (var i = 0u; i < params.count; i += 1u) { if (lane == i) { break; } barrier(); }",
        "for (var i = 0u; i < params.count; i += 1u) { barrier(); if (lane == i) { break; } }",
        "for (var i = 0u; i < params.count; i += 1u) { if (lane == i) { continue; } barrier(); }",
        "for (var i = 0u; i < params.count; i += 1u) { if (lane == i) { return; } } barrier();",
        "if (lane == 0u) { v = 1u; } if (v == 1u) { barrier(); }",
        "let n = leave(lane); if (n == 3u) { barrier(); }",
        "if (shared_[0] == 3u) { barrier(); }",
        "if (y[0] == 3u) { barrier(); }",
        "put(&v, lane); if (v == 3u) { barrier(); }",
        "if (lane < 3u) { v = workgroupUniformLoad(&shared_[0]); }",
        "loop { barrier(); continuing { v += lane; break if v > params.count; } }",
        "switch (lane) { case 0u: { barrier(); } default: {} }",
    ] {
        assert_eq!(faults_of(body), ["main"], "{body}");
    }
    let both = PROGRAM.replace(
        "@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {",
        "both: Both) {",
    );
    let source = both.replace("BODY", "if (both.group.x == 0u) { barrier(); }");
    let module = naga::front::wgsl::parse_str(&source).expect("it is valid");
    assert_eq!(faults(&module), ["main"], "a struct of built-ins of which one differs");
}
