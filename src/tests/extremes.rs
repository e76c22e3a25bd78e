//! What the host knows of indices, against all of them.

use crate::core::extremes::Extremes;

#[test]
fn min_and_max_excluding_one_value() {
    // Every list of up to 5 values from 4, as digits.
    for length in 0..=5u32 {
        for code in 0..4i64.pow(length) {
            let values: Vec<i64> = (0..length).map(|digit| code / 4i64.pow(digit) % 4).collect();
            let known = Extremes::of(values.iter().copied());
            for excluded in -1..5 {
                let others = || values.iter().copied().filter(|&x| x != excluded);
                let want = others().min().zip(others().max());
                assert_eq!(
                    known.and_then(|known| known.min_max_excluding(excluded)),
                    want,
                    "{values:?} without {excluded}"
                );
            }
        }
    }
}
