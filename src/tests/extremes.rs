//! Compares the extremes of integers with a search over all integers.

use crate::core::extremes::Extremes;

#[test]
fn min_and_max_excluding_one_value() {
    // Every list of at most 5 of the values 0 to 3, encoded as the digits of a number in base 4.
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
