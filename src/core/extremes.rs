//! The extremes of uploaded integers, so that an index out of range panics in the user's line.

/// The two smallest and the two largest distinct values of some integers; a pair repeats its value if all are equal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extremes {
    least: [i64; 2],
    largest: [i64; 2],
}

impl Extremes {
    pub fn of(values: impl Iterator<Item = i64>) -> Option<Extremes> {
        values.fold(None, |found: Option<Extremes>, x| {
            let Some(Extremes { least: [a, b], largest: [z, y] }) = found else {
                return Some(Extremes { least: [x; 2], largest: [x; 2] });
            };
            // A pair with one value twice takes a second value.
            let least = if x < a {
                [x, a]
            } else if x > a && (x < b || a == b) {
                [a, x]
            } else {
                [a, b]
            };
            let largest = if x > z {
                [x, z]
            } else if x < z && (x > y || z == y) {
                [z, x]
            } else {
                [z, y]
            };
            Some(Extremes { least, largest })
        })
    }

    /// The least and the largest value other than `excluded`; `None` if there is no other.
    pub fn min_max_excluding(&self, excluded: i64) -> Option<(i64, i64)> {
        let other = |pair: [i64; 2]| pair.into_iter().find(|&x| x != excluded);
        other(self.least).zip(other(self.largest))
    }
}
