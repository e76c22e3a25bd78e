//! Generates unrolled register tiles. WGSL does not guarantee that an array stays in registers, so every accumulator is
//! a separate variable: `c3_1` is row 3, columns 4 to 7.

use std::fmt::Write;
use std::ops::Range;

use super::{Order, Registers, Tiled};
use crate::graph::ShaderSource;

const SHARED: &str = include_str!("../../../shaders/matmul.wgsl");
const REGISTERS: &str = include_str!("../../../shaders/matmul_registers.wgsl");
const TILED: &str = include_str!("../../../shaders/matmul_tiled.wgsl");
const SKINNY: &str = include_str!("../../../shaders/matmul_skinny.wgsl");

/// Rows per group when results are stored; see `matmul_registers.wgsl`.
const ROWS_MOVED: usize = 8;

/// Appends a line of text, indented by `$indent` levels.
macro_rules! line {
    ($out:expr, $indent:expr, $($text:tt)*) => {{
        write!($out, "{:1$}", "", 4 * $indent).expect("a string takes text");
        writeln!($out, $($text)*).expect("a string takes text");
    }};
}

pub(super) fn registers(tile: &Registers) -> ShaderSource {
    let &Registers { rows, cols, lanes, subgroup } = tile;
    let vectors = cols / 4;
    // Loads of A per invocation: one per row, or one per `lanes` rows if the subgroup shares them.
    let (loads, step) = if subgroup { (rows / lanes, lanes) } else { (rows, 1) };

    let mut consts = String::new();
    line!(consts, 0, "const ROWS = {rows}u;");
    line!(consts, 0, "const COLS = {cols}u;");
    let builtin = if subgroup { "subgroup_invocation_id" } else { "local_invocation_index" };
    let mut lane = String::new();
    line!(lane, 1, "@builtin({builtin}) lane: u32,");

    let mut start = String::new();
    let own = if subgroup { " + lane" } else { "" };
    for i in 0..loads {
        let row = format!("min(row + {}u{own}, params.m - 1u)", i * step);
        line!(start, 1, "var at_a{i} = work.a + {row} * params.a_m + work.first * params.a_k;");
    }
    for j in 0..vectors {
        line!(start, 1, "let cols{j} = col + {}u * LANES + four;", 4 * j);
        let col = format!("min(cols{j}, vec4(params.n - 1u))");
        line!(start, 1, "var at_b{j} = work.b + {col} * params.b_n + work.first * params.b_k;");
    }
    zeros(&mut start, rows, vectors);

    let mut body = String::new();
    for i in 0..loads {
        line!(body, 2, "let a{i} = a[at_a{i}];");
        line!(body, 2, "at_a{i} += params.a_k;");
    }
    for j in 0..vectors {
        line!(body, 2, "let b{j} = load_vec4(at_b{j});");
        line!(body, 2, "at_b{j} += vec4(params.b_k);");
    }
    multiply(&mut body, 2, rows, vectors, |row| match subgroup {
        true => format!("subgroupBroadcast(a{}, {}u)", row / lanes, row % lanes),
        false => format!("a{row}"),
    });

    let mut stores = String::new();
    let group = ROWS_MOVED.min(rows);
    let each = |rows: Range<usize>| rows.flat_map(move |row| (0..vectors).map(move |j| (row, j)));
    line!(stores, 1, "for (var i = 0u; i < rows; i += {group}u) {{");
    each(0..group).for_each(|(row, j)| line!(stores, 2, "var d{row}_{j} = c{row}_{j};"));
    line!(stores, 2, "for (var r = i; r < min(rows, i + {group}u); r += 1u) {{");
    (0..vectors).for_each(|j| line!(stores, 3, "store_vec4(work, row + r, cols{j}, d0_{j});"));
    each(1..group).for_each(|(row, j)| line!(stores, 3, "d{}_{j} = d{row}_{j};", row - 1));
    line!(stores, 2, "}}");
    each(group..rows).for_each(|(row, j)| line!(stores, 2, "c{}_{j} = c{row}_{j};", row - group));
    line!(stores, 1, "}}");

    let source = product(REGISTERS).fill("tile", consts).fill("lane", lane);
    source.fill("start", start).fill("step", body).fill("stores", stores)
}

pub(super) fn tiled(tile: &Tiled, orders: [Order; 2]) -> ShaderSource {
    let &Tiled { rows, cols, threads } = tile;
    let vectors = cols / 4;
    let mut consts = String::new();
    line!(consts, 0, "const ROWS = {rows}u;");
    line!(consts, 0, "const COLS = {cols}u;");
    line!(consts, 0, "const THREADS_M = {}u;", threads[0]);
    line!(consts, 0, "const THREADS_N = {}u;", threads[1]);

    let loads = load("a", 1, "m", orders[0]) + &load("b", 2, "n", orders[1]);
    let results = || (0..rows).flat_map(|row| (0..vectors).map(move |j| (row, j)));
    let mut step = String::from("struct Results {\n");
    results().for_each(|(row, j)| line!(step, 1, "c{row}_{j}: vec4<f32>,"));
    line!(step, 0, "}}\n\nfn step(at_a: u32, at_b: u32, c: ptr<function, Results>) {{");
    (0..rows / 4).for_each(|i| line!(step, 1, "let a{i} = slices_a[at_a + {i}u * THREADS_M];"));
    (0..vectors).for_each(|j| line!(step, 1, "let b{j} = slices_b[at_b + {j}u * THREADS_N];"));
    for (row, j) in results() {
        let a = format!("vec4(a{}[{}])", row / 4, row % 4);
        line!(step, 1, "(*c).c{row}_{j} = fma({a}, b{j}, (*c).c{row}_{j});");
    }
    line!(step, 0, "}}");

    let mut stores = String::new();
    for (row, j) in results() {
        let r = format!("row + 4u * (thread.y + {}u * THREADS_M) + {}u", row / 4, row % 4);
        let c = format!("col + 4u * (thread.x + {j}u * THREADS_N)");
        line!(stores, 1, "store_vec4(work, {r}, {c}, c.c{row}_{j});");
    }
    product(TILED).fill("tile", consts).fill("loads", loads).fill("step", step).fill("stores", stores)
}

pub(super) fn skinny() -> ShaderSource {
    product(SKINNY)
}

fn product(kernel: &'static str) -> ShaderSource {
    ShaderSource::new(kernel).with_prelude(SHARED)
}

fn zeros(out: &mut String, rows: usize, vectors: usize) {
    for row in 0..rows {
        (0..vectors).for_each(|j| line!(out, 1, "var c{row}_{j} = vec4<f32>();"));
    }
}

/// One step of K: `value` returns a row's element of A; `b0`, `b1`.. are the vec4 of B.
fn multiply(out: &mut String, indent: usize, rows: usize, vectors: usize, value: impl Fn(usize) -> String) {
    for row in 0..rows {
        line!(out, indent, "let x{row} = vec4({});", value(row));
        (0..vectors).for_each(|j| line!(out, indent, "c{row}_{j} = fma(x{row}, b{j}, c{row}_{j});"));
    }
}

/// The binding of an operand, and the function that loads a block of it. `size` names the dim that is not K.
fn load(operand: &str, binding: u32, size: &str, order: Order) -> String {
    let element = if order == Order::Strided { "f32" } else { "vec4<f32>" };
    let upper = operand.to_uppercase();
    let start = format!("work.{operand}");
    let (outer, inner) = (format!("params.{operand}_{size}"), format!("params.{operand}_k"));
    let four = format!("min(vec4(i) + vec4(0u, 1u, 2u, 3u), vec4(params.{size} - 1u))");

    let mut out = String::new();
    line!(out, 0, "@group(0) @binding({binding}) var<storage, read> {operand}: array<{element}>;");
    line!(out, 0, "const {upper}_IN_K = {};", order != Order::AlongSize);
    line!(out, 0, "fn load_{operand}(work: Work, i: u32, k: u32) -> mat4x4<f32> {{");
    line!(out, 1, "var block = mat4x4<f32>();");
    match order {
        Order::AlongK => {
            line!(out, 1, "if (k < work.last) {{");
            line!(out, 2, "let p = ({start} + {four} * {outer} + k) / 4u;");
            let columns: Vec<String> = ["x", "y", "z", "w"].map(|c| format!("{operand}[p.{c}]")).into();
            line!(out, 2, "block = transpose(mat4x4({}));", columns.join(", "));
            line!(out, 1, "}}");
        }
        Order::AlongSize => {
            line!(out, 1, "let at = {start} + min(i, params.{size} - 4u);");
            for j in 0..4 {
                line!(out, 1, "if (k + {j}u < work.last) {{");
                line!(out, 2, "block[{j}] = {operand}[(at + (k + {j}u) * {inner}) / 4u];");
                line!(out, 1, "}}");
            }
        }
        Order::Strided => {
            line!(out, 1, "let at = {start} + {four} * {outer};");
            for j in 0..4 {
                line!(out, 1, "if (k + {j}u < work.last) {{");
                line!(out, 2, "let p = at + (k + {j}u) * {inner};");
                let elements: Vec<String> = ["x", "y", "z", "w"].map(|c| format!("{operand}[p.{c}]")).into();
                line!(out, 2, "block[{j}] = vec4({});", elements.join(", "));
                line!(out, 1, "}}");
            }
        }
    }
    line!(out, 1, "return block;");
    line!(out, 0, "}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The default hooks of the templates are the generated text of the smallest tiles, so that it can be read there.
    #[test]
    fn the_templates_hold_the_smallest_tiles() {
        let small = Registers { rows: 2, cols: 4, lanes: 8, subgroup: false };
        assert_eq!(registers(&small).render(), product(REGISTERS).render());
        let small = Tiled { rows: 4, cols: 4, threads: [8, 8] };
        assert_eq!(tiled(&small, [Order::Strided; 2]).render(), product(TILED).render());
    }
}
