//! The number of parts that a long loop is split into, to stay below the adapter's loop limit and to keep the device busy.

use crate::core::limits::{AdapterKind, Limits};

/// Elements per output of a reduction in one stage on a software adapter: up to this length a second stage costs more than
/// it saves.
const MAX_SINGLE_STAGE_LEN: usize = 4096;

/// Elements per invocation of a reduction in one stage on a GPU: only for longer loops a second stage saves more time than
/// its dispatch costs.
const MAX_SINGLE_STAGE_LOOP: usize = 64;

/// Parts of a sum on a GPU. One workgroup adds their results in the second stage.
const MAX_PARTS: usize = 1024;

/// Parts of a column sum on a software adapter, of a matrix larger than the cache.
const MAX_TALL_PARTS: usize = 4096;

/// Elements per part on a software adapter.
const MIN_SOFTWARE_PART_LEN: usize = 256;

/// Elements per invocation on a GPU.
const MIN_INVOCATION_ELEMENTS: usize = 16;

/// Partial results that keep the cores of a software adapter busy.
const TARGET_SOFTWARE_PARTS: usize = 1024;

/// Elements of a matrix that fits into a CPU's cache.
const CACHE_ELEMENTS: usize = 1 << 19;

/// Rows per part of a column sum over a matrix larger than the cache: a CPU prefetches about as many streams.
const ROWS_PER_PART: usize = 8;

/// Fewer rows are not worth a second stage.
const MIN_SPLIT_ROWS: usize = 64 * ROWS_PER_PART;

/// Steps of K per part of a product, if K is split to keep a GPU busy.
const MIN_SPLIT_K: usize = 1024;

/// Columns per invocation of a column sum on a GPU, which reads them as vectors.
const COLUMNS_PER_INVOCATION: usize = 4;

/// Results per invocation of the smallest tile of a matrix product.
const RESULTS_PER_INVOCATION: usize = 16;

/// Invocations that keep a GPU busy. A large GPU (measured on an NVIDIA H200) needs 2^17 to read memory at full speed; on a
/// small one the surplus costs little.
fn target_invocations(kind: AdapterKind) -> usize {
    if kind == AdapterKind::Discrete { 1 << 17 } else { 1 << 14 }
}

/// The number of parts, and of invocations per part, for a reduction with `length` elements for each of `outputs`. Its
/// largest operand has `operand` elements. `rows`: whether the reduced dim is contiguous in memory.
pub(super) fn reduction_splits(
    limits: &Limits,
    outputs: usize,
    length: usize,
    operand: usize,
    rows: bool,
) -> (usize, u32) {
    // An invocation loops over elements and over blocks of them, in all less than twice the elements.
    let longest = limits.loop_iterations as usize / 2;
    let is_tall = || !rows && length >= MIN_SPLIT_ROWS && operand > CACHE_ELEMENTS;
    let (lanes, wanted) = match limits.kind {
        AdapterKind::Software if is_tall() => (1, (length / ROWS_PER_PART).min(MAX_TALL_PARTS)),
        AdapterKind::Software if length <= MAX_SINGLE_STAGE_LEN => (1, 1),
        AdapterKind::Software => {
            (1, length.div_ceil(MIN_SOFTWARE_PART_LEN).min(TARGET_SOFTWARE_PARTS.div_ceil(outputs)))
        }
        _ => {
            let target = target_invocations(limits.kind);
            let lanes = lanes(outputs, length, rows, target);
            let (lane_len, columns) =
                (length / lanes as usize, if rows { 1 } else { COLUMNS_PER_INVOCATION });
            let idle = columns * target / (outputs * lanes as usize);
            let long = lane_len > MAX_SINGLE_STAGE_LOOP;
            (lanes, if long { idle.min(lane_len / MIN_INVOCATION_ELEMENTS).min(MAX_PARTS) } else { 1 })
        }
    };
    (wanted.max(length.div_ceil(longest * lanes as usize)).max(1), lanes)
}

/// Invocations per output on a GPU: many for a long row, a few for a column, because a workgroup reads neighbouring columns
/// together.
fn lanes(outputs: usize, length: usize, rows: bool, target: usize) -> u32 {
    match length {
        256.. if rows => 64,
        32.. if rows => 8,
        64.. if outputs < target => 16,
        _ => 1,
    }
}

/// The number of parts of K for a matrix product with `results` results.
pub(super) fn k_splits(limits: &Limits, results: usize, k: usize) -> usize {
    let longest = limits.loop_iterations as usize / 2;
    let wanted = match limits.kind {
        AdapterKind::Software => 1,
        kind => (RESULTS_PER_INVOCATION * target_invocations(kind) / results).min(k / MIN_SPLIT_K),
    };
    wanted.max(k.div_ceil(longest)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_invocation_loops_past_the_limit() {
        let mut limits = Limits::webgpu();
        for kind in [AdapterKind::Software, AdapterKind::Integrated, AdapterKind::Discrete] {
            limits.kind = kind;
            for outputs in [1, 7, 1000, 100_000] {
                for length in [1, 31, 1025, 65_536, 1 << 20, (1 << 25) + 1] {
                    for rows in [true, false] {
                        let (splits, lanes) =
                            reduction_splits(&limits, outputs, length, outputs * length, rows);
                        let each = length.div_ceil(splits).div_ceil(lanes as usize);
                        assert!(
                            each + each / 32 < 65_535,
                            "{outputs} x {length}: {splits} splits of {lanes} lanes"
                        );
                        assert!(
                            reduction_splits(&limits, outputs, splits, outputs * splits, true).0 == 1,
                            "a third stage"
                        );
                    }
                }
            }
        }
        limits.kind = AdapterKind::Software;
        assert_eq!([32_767, 70_000].map(|k| k_splits(&limits, 1, k)), [1, 3]);
        limits.kind = AdapterKind::Discrete;
        assert_eq!(
            [(64, 512), (64, 4096), (2048, 4096)].map(|(m, k)| k_splits(&limits, m * m, k)),
            [1, 4, 1]
        );
    }
}
