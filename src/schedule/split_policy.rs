//! Chooses the number of splits of a long loop: enough to stay below the adapter's loop limit and to keep the device
//! busy.

use crate::core::limits::{AdapterKind, Limits};

/// Maximum number of elements per output of a single-stage reduction on a software adapter. Up to this length a second
/// stage costs more than it saves.
const MAX_SINGLE_STAGE_LEN: usize = 4096;

/// Maximum number of elements per invocation of a single-stage reduction on a GPU. Only for longer loops does a second
/// stage save more time than its dispatch costs.
const MAX_SINGLE_STAGE_LOOP: usize = 64;

/// Maximum number of splits of a reduction on a GPU: one workgroup adds the partial results in the second stage.
const MAX_PARTS: usize = 1024;

/// Maximum number of splits of a column sum on a software adapter, for matrices larger than the cache.
const MAX_TALL_PARTS: usize = 4096;

/// Minimum number of elements per split on a software adapter.
const MIN_SOFTWARE_PART_LEN: usize = 256;

/// Minimum number of elements per invocation of a split reduction on a GPU.
const MIN_INVOCATION_ELEMENTS: usize = 16;

/// Number of partial results that keeps all cores of a software adapter busy.
const TARGET_SOFTWARE_PARTS: usize = 1024;

/// Maximum number of elements of a matrix that fits into a CPU's cache.
const CACHE_ELEMENTS: usize = 1 << 19;

/// Minimum number of rows per split of a column sum over a matrix larger than the cache. A CPU prefetches about this
/// many streams at a time.
const ROWS_PER_PART: usize = 8;

/// Minimum number of rows of a column sum that is split. With fewer rows a second stage costs more than it saves.
const MIN_SPLIT_ROWS: usize = 64 * ROWS_PER_PART;

/// Minimum number of steps of K per split of a matrix product, if K is split to keep a GPU busy.
const MIN_SPLIT_K: usize = 1024;

/// Number of columns that an invocation of a column sum reads on a GPU, as one vector.
const COLUMNS_PER_INVOCATION: usize = 4;

/// Number of results per invocation with the smallest tile of a matrix product.
const RESULTS_PER_INVOCATION: usize = 16;

/// Returns the number of invocations that keeps a GPU busy. A large GPU (measured on an NVIDIA H200) needs 2^17 to
/// reach its full memory bandwidth; on a small one the surplus invocations cost little.
fn target_invocations(kind: AdapterKind) -> usize {
    if kind == AdapterKind::Discrete { 1 << 17 } else { 1 << 14 }
}

/// Returns the number of splits, and the number of invocations per split, of a reduction of `length` elements for each
/// of `outputs`. `operand` is the number of elements of its largest operand. `rows` is true if the reduced dim is
/// contiguous in memory.
pub(super) fn reduction_splits(
    limits: &Limits,
    outputs: usize,
    length: usize,
    operand: usize,
    rows: bool,
) -> (usize, u32) {
    // An invocation runs a loop over blocks of elements and a loop within each block: in total less than two iterations
    // per element.
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

/// Returns the number of invocations per output on a GPU: up to 64 for a contiguous row, but at most 16 for a column,
/// because a workgroup reads adjacent columns together.
fn lanes(outputs: usize, length: usize, rows: bool, target: usize) -> u32 {
    match length {
        256.. if rows => 64,
        32.. if rows => 8,
        64.. if outputs < target => 16,
        _ => 1,
    }
}

/// Returns the number of splits of K for a matrix product with `results` results.
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
