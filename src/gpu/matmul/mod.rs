//! Selects the kernel for a matrix product.
//!
//! In: a product, the adapter's limits, and the cost of each variant. Out: WGSL and uniforms. Must not depend on the
//! rest of the graph.
//!
//! | adapter | variants |
//! |---|---|
//! | software, fixed subgroups | registers 64 x 64 and 16 x 32 (for subgroups of 8), A broadcast in the subgroup |
//! | software, otherwise | registers 16 x 64 and 4 x 32 |
//! | discrete | tiled 128 x 128, 64 x 128, 64 x 64 and 32 x 32, skinny |
//! | integrated, other | tiled 64 x 64 and 32 x 32, skinny |
//!
//! On a GPU, skinny computes products with up to four rows or columns; otherwise the cheapest of the other variants is
//! selected. The others all sum in the same order, so the selection among them does not change the result. If the
//! transposed product Cᵀ = Bᵀ Aᵀ is cheaper, it is computed instead.

mod text;

use std::fmt;
use std::num::NonZero;

use super::codegen::{self, GeneratedKernel, UniformWord};
use crate::core::limits::{AdapterKind, Limits};
use crate::graph::ShaderSource;
use crate::ir::{MatMul, Matrix, Program};

/// Invocations per workgroup of the skinny kernel.
const SKINNY_INVOCATIONS: usize = 64;

/// Rows of the skinny kernel: a vec4 of accumulators.
const SKINNY_ROWS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Variant {
    Registers(Registers),
    Tiled(Tiled),
    Skinny,
}

/// An invocation's tile in the variant without workgroup memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Registers {
    rows: usize,
    cols: usize,
    /// Invocations per workgroup, each with its own columns.
    lanes: usize,
    /// Whether the workgroup is one subgroup, in which each lane loads a different row of A and broadcasts it.
    subgroup: bool,
}

/// An invocation's tile in the variant where a workgroup shares slices of A and B in workgroup memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tiled {
    rows: usize,
    cols: usize,
    /// Invocations per workgroup along m and n.
    threads: [usize; 2],
}

/// The dim along which an operand can be read as vec4.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    AlongK,
    /// Along m or n.
    AlongSize,
    Strided,
}

/// The cost of a workgroup of each variant per step of K, in a unit of the adapter, and the number of workgroups that
/// run concurrently.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Costs {
    pub variants: Vec<(Variant, f64)>,
    pub side_by_side: usize,
}

impl Costs {
    /// The default costs for adapters of this kind. For software adapters, a multiplication costs 1 and a load 20, as
    /// measured on llvmpipe. For GPUs, the cost is the number of multiplications times a factor for the extra reads of
    /// smaller tiles.
    pub fn of(limits: &Limits) -> Costs {
        let registers = |rows, cols, lanes, subgroup| {
            let loads = if subgroup { rows / lanes + cols } else { rows + cols };
            (Variant::Registers(Registers { rows, cols, lanes, subgroup }), (rows * cols + 20 * loads) as f64)
        };
        let tiled = |size, threads: [usize; 2], factor| {
            let results = (size * size * threads[0] * threads[1]) as f64;
            (Variant::Tiled(Tiled { rows: size, cols: size, threads }), results * factor)
        };
        let small = [tiled(8, [8, 8], 1.15), tiled(4, [8, 8], 1.6)];
        let large = [tiled(8, [16, 16], 1.0), tiled(8, [8, 16], 1.02)];
        let (variants, side_by_side) = match (limits.kind, limits.subgroup) {
            (AdapterKind::Software, subgroup) => {
                let variants = match subgroup {
                    Some((min @ (4 | 8 | 16), max)) if min == max => {
                        let lanes = min as usize;
                        vec![registers(64, 8, lanes, true), registers(16, 4, lanes, true)]
                    }
                    _ => vec![registers(16, 8, 8, false), registers(4, 4, 8, false)],
                };
                (variants, std::thread::available_parallelism().map_or(1, NonZero::get))
            }
            (AdapterKind::Discrete, _) => ([large, small].concat(), 128),
            (AdapterKind::Integrated | AdapterKind::Other, _) => (small.to_vec(), 16),
        };
        Costs { variants, side_by_side }
    }

    /// Sequential steps of K in a product of square matrices.
    pub fn steps(&self, variant: Variant, n: usize) -> usize {
        let matrix = Matrix { read: 0, offset: 0, batch: [0, 0], row: n, col: 1 };
        let product = MatMul { batch: [1, 1], m: n, n, k: n, a: matrix, b: matrix, splits: 1 };
        self.waves(variant, &product) * n
    }

    /// Rounds of `side_by_side` concurrent workgroups that the product takes.
    fn waves(&self, variant: Variant, product: &MatMul) -> usize {
        let (tiles_m, tiles_n) = variant.tiles(product);
        let workgroups = tiles_m * tiles_n * product.batch[0] * product.batch[1] * product.splits;
        workgroups.div_ceil(self.side_by_side)
    }
}

impl Variant {
    /// The program; `orders` says how each operand can be read.
    fn source(&self, orders: [Order; 2]) -> ShaderSource {
        match self {
            Variant::Registers(tile) => text::registers(tile),
            Variant::Tiled(tile) => text::tiled(tile, orders),
            Variant::Skinny => text::skinny(),
        }
    }

    /// Values of the program's overrides.
    fn constants(&self, product: &MatMul) -> Vec<(&'static str, f64)> {
        match self {
            Variant::Registers(tile) => vec![("LANES", tile.lanes as f64)],
            Variant::Tiled(_) => vec![],
            Variant::Skinny => {
                let lanes = SKINNY_INVOCATIONS / self.tile(product).1;
                vec![("GROUP", SKINNY_INVOCATIONS as f64), ("LANES", lanes as f64)]
            }
        }
    }

    /// Rows and columns of a workgroup's tile.
    fn tile(&self, product: &MatMul) -> (usize, usize) {
        match *self {
            Variant::Registers(Registers { rows, cols, lanes, .. }) => (rows, cols * lanes),
            Variant::Tiled(Tiled { rows, cols, threads: [m, n] }) => (rows * m, cols * n),
            // One column if B is contiguous along K.
            Variant::Skinny => (SKINNY_ROWS, if product.b.row == 1 { 1 } else { 16 }),
        }
    }

    /// Workgroups along m and n.
    fn tiles(&self, product: &MatMul) -> (usize, usize) {
        let (rows, cols) = self.tile(product);
        (product.m.div_ceil(rows), product.n.div_ceil(cols))
    }
}

/// The variant's name in cost files.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Variant::Registers(Registers { rows, cols, lanes, subgroup }) => {
                let how = if *subgroup { "broadcast" } else { "alone" };
                write!(f, "registers {rows} x {cols}, {lanes} lanes, {how}")
            }
            Variant::Tiled(Tiled { rows, cols, threads: [m, n] }) => {
                write!(f, "tiled {rows} x {cols}, {m} x {n} threads")
            }
            Variant::Skinny => f.write_str("skinny"),
        }
    }
}

/// A kernel for a product and its epilogue, with the values of its overrides.
pub(super) struct LoweredProduct {
    pub kernel: GeneratedKernel,
    pub constants: Vec<(&'static str, f64)>,
    pub workgroups: usize,
}

/// Lowers a matrix product with its epilogue. `reads` and `writes` are the memory slots that the kernel reads and
/// writes.
pub(super) fn lower(
    product: &MatMul,
    epilogue: Option<&Program>,
    reads: &[usize],
    writes: &[usize],
    limits: &Limits,
    costs: &Costs,
) -> LoweredProduct {
    let transposed = transpose(product);
    let (variant, product, is_transposed) = choose([product, &transposed], limits, costs);
    let MatMul { batch, m, n, k, a, b, splits } = product;
    let (tiles_m, tiles_n) = variant.tiles(product);
    let batches = batch[0] * batch[1];
    let part = product.part();
    let mut words = vec![*m, *n, *k, *splits, part, batch[1], batches, tiles_m, tiles_n];
    words.extend([a.offset, a.batch[0], a.batch[1], a.row, a.col]);
    words.extend([b.offset, b.batch[0], b.batch[1], b.col, b.row]);
    words.extend(if is_transposed { [1, *m] } else { [*n, 1] });
    let orders = [order(a, a.row, *m, a.col, *k), order(b, b.col, *n, b.row, *k)];
    let mut kernel = GeneratedKernel {
        source: variant.source(orders),
        words: words.into_iter().map(|word| UniformWord::Fixed(word as u32)).collect(),
        bindings: vec![(reads[a.read], false), (reads[b.read], false)],
        faults: false,
    };
    match epilogue.map(|program| codegen::epilogue(program, reads, writes)) {
        None => kernel.bindings.push((writes[0], true)),
        Some(epilogue) => {
            kernel.source = kernel.source.fill("params", epilogue.params).fill("result", epilogue.result);
            kernel.words.extend(epilogue.words);
            kernel.bindings.extend(epilogue.bindings);
            kernel.faults = epilogue.faults;
        }
    }
    let workgroups = tiles_m * tiles_n * batches * splits;
    LoweredProduct { kernel, constants: variant.constants(product), workgroups }
}

/// Selects a variant and either the product or its transpose. The bool is true for the transpose.
fn choose<'a>(products: [&'a MatMul; 2], limits: &Limits, costs: &Costs) -> (Variant, &'a MatMul, bool) {
    let orientations = [(products[0], false), (products[1], true)];
    if limits.kind != AdapterKind::Software
        && let Some((product, transposed)) =
            orientations.into_iter().find(|(product, _)| product.m <= SKINNY_ROWS)
    {
        return (Variant::Skinny, product, transposed);
    }
    let all = costs.variants.iter().flat_map(|&(variant, step)| {
        orientations.map(|(product, transposed)| {
            (step * costs.waves(variant, product) as f64, variant, product, transposed)
        })
    });
    let best = all.min_by(|(a, ..), (b, ..)| a.total_cmp(b));
    let (_, variant, product, transposed) = best.expect("every kind of adapter has a variant");
    (variant, product, transposed)
}

/// Cᵀ = Bᵀ Aᵀ.
fn transpose(product: &MatMul) -> MatMul {
    MatMul { m: product.n, n: product.m, a: product.b.transposed(), b: product.a.transposed(), ..*product }
}

/// `along_size` and `along_k` are the operand's strides.
fn order(matrix: &Matrix, along_size: usize, size: usize, along_k: usize, k: usize) -> Order {
    let aligned = |strides: &[usize]| strides.iter().all(|stride| stride.is_multiple_of(4));
    let [outer, inner] = matrix.batch;
    if along_k == 1 && aligned(&[k, along_size, outer, inner, matrix.offset]) {
        Order::AlongK
    } else if along_size == 1 && aligned(&[size, along_k, outer, inner, matrix.offset]) {
        Order::AlongSize
    } else {
        Order::Strided
    }
}

/// Every program for an adapter.
#[cfg(test)]
pub(crate) fn programs(limits: &Limits) -> Vec<ShaderSource> {
    let orders = [Order::AlongK, Order::AlongSize, Order::Strided];
    let variants = Costs::of(limits).variants.into_iter().map(|(variant, _)| variant);
    variants
        .chain([Variant::Skinny])
        .flat_map(|variant| orders.map(|a| orders.map(|b| variant.source([a, b]))))
        .flatten()
        .collect()
}
