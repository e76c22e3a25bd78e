//! How a long loop is cut into parts: for the adapter's loop limit, and to keep enough of the device busy.

use crate::limits::{AdapterKind, Limits};

/// Invocations that share an output where one alone would leave a GPU idle.
const LANES: u32 = 64;

/// Elements of an output up to which a second stage costs more than it saves.
const LONG: usize = 4096;

/// Partial results that keep a software adapter's few cores busy.
const PARTS: usize = 1024;

/// Invocations that keep a GPU busy.
const BUSY: usize = 1 << 14;

/// Parts of each output's elements, and invocations a part, for a reduction of `length` elements to each of `outputs`.
pub(super) fn stages(limits: &Limits, outputs: usize, length: usize, rows: bool) -> (usize, u32) {
    // An invocation loops over elements, and over blocks of them: half the limit is safe.
    let longest = limits.loop_iterations as usize / 2;
    let (lanes, wanted) = match limits.kind {
        AdapterKind::Software => (1, length.div_ceil(256).min(PARTS.div_ceil(outputs))),
        _ => {
            let lanes = if rows && length >= LANES as usize / 2 { LANES } else { 1 };
            let idle = BUSY / (outputs * lanes as usize);
            (lanes, idle.min(length / (16 * lanes as usize)))
        }
    };
    let wanted = if length > LONG { wanted } else { 1 };
    (wanted.max(length.div_ceil(longest * lanes as usize)).max(1), lanes)
}

/// Parts of K of a matrix product.
pub(super) fn k_splits(limits: &Limits, k: usize) -> usize {
    k.div_ceil(limits.loop_iterations as usize / 2)
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
                    let (splits, lanes) = stages(&limits, outputs, length, true);
                    let each = length.div_ceil(splits).div_ceil(lanes as usize);
                    assert!(
                        each + each / 32 < 65_535,
                        "{outputs} x {length}: {splits} splits of {lanes} lanes"
                    );
                    assert!(stages(&limits, outputs, splits, true).0 == 1, "a third stage");
                }
            }
        }
        assert_eq!((k_splits(&limits, 32_767), k_splits(&limits, 70_000)), (1, 3));
    }
}
