//! How a long loop is cut into parts: for the adapter's loop limit, and to keep enough of the device busy.

use crate::limits::{AdapterKind, Limits};

/// Elements of an output up to which a second stage costs more than it saves.
const LONG: usize = 4096;

/// Partial results that keep a software adapter's few cores busy.
const PARTS: usize = 1024;

/// Elements of a matrix that a processor's cache holds.
const CACHED: usize = 1 << 19;

/// Columns of a larger one are added up in parts of so many rows: the processor fetches no more of them ahead of their
/// use.
const ROWS: usize = 8;

/// Rows from which on these parts are worth a stage of their own.
const TALL: usize = 64 * ROWS;

/// Steps of K that one part of a product takes at least, where it is cut to keep a GPU busy.
const DEEP: usize = 1024;

/// Invocations that keep a GPU busy.
const BUSY: usize = 1 << 14;

/// Parts of each output's elements, and invocations a part, for a reduction of `length` elements to each of `outputs`,
/// whose largest operand has so many elements to be `read`.
pub(super) fn stages(
    limits: &Limits,
    outputs: usize,
    length: usize,
    read: usize,
    rows: bool,
) -> (usize, u32) {
    // An invocation loops over elements, and over blocks of them: half the limit is safe.
    let longest = limits.loop_iterations as usize / 2;
    let (lanes, wanted) = match limits.kind {
        AdapterKind::Software if !rows && length >= TALL && read > CACHED => (1, (length / ROWS).min(LONG)),
        AdapterKind::Software if length <= LONG => (1, 1),
        AdapterKind::Software => (1, length.div_ceil(256).min(PARTS.div_ceil(outputs))),
        _ => {
            let lanes = lanes(outputs, length, rows);
            let idle = BUSY / (outputs * lanes as usize);
            (lanes, if length > LONG { idle.min(length / (16 * lanes as usize)) } else { 1 })
        }
    };
    (wanted.max(length.div_ceil(longest * lanes as usize)).max(1), lanes)
}

/// Invocations that share an output on a GPU, where one alone would leave it idle: a workgroup of them a long row, a few a
/// column, since a workgroup wants columns side by side.
fn lanes(outputs: usize, length: usize, rows: bool) -> u32 {
    match length {
        256.. if rows => 64,
        32.. if rows => 8,
        64.. if outputs < BUSY => 16,
        _ => 1,
    }
}

/// Parts of K of a matrix product with so many results.
pub(super) fn k_splits(limits: &Limits, results: usize, k: usize) -> usize {
    let longest = limits.loop_iterations as usize / 2;
    let wanted = match limits.kind {
        AdapterKind::Software => 1,
        // An invocation has at least 16 results.
        _ => (16 * BUSY / results).min(k / DEEP),
    };
    wanted.max(k.div_ceil(longest)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_invocation_loops_past_the_limit() {
        let mut limits = Limits::webgpu();
        for kind in [AdapterKind::Software, AdapterKind::Integrated] {
            limits.kind = kind;
            for outputs in [1, 7, 1000, 100_000] {
                for length in [1, 31, 1025, 65_536, 1 << 20, (1 << 25) + 1] {
                    for rows in [true, false] {
                        let (splits, lanes) = stages(&limits, outputs, length, outputs * length, rows);
                        let each = length.div_ceil(splits).div_ceil(lanes as usize);
                        assert!(
                            each + each / 32 < 65_535,
                            "{outputs} x {length}: {splits} splits of {lanes} lanes"
                        );
                        assert!(
                            stages(&limits, outputs, splits, outputs * splits, true).0 == 1,
                            "a third stage"
                        );
                    }
                }
            }
        }
        limits.kind = AdapterKind::Software;
        assert_eq!([32_767, 70_000].map(|k| k_splits(&limits, 1, k)), [1, 3]);
        limits.kind = AdapterKind::Discrete;
        assert_eq!([(64, 512), (64, 4096), (512, 4096)].map(|(m, k)| k_splits(&limits, m * m, k)), [1, 4, 1]);
    }
}
