//! Minimum and maximum of uploaded integers, for reporting an out-of-range index at the user's line.

/// The two smallest and the two largest distinct values of a list of integers. If all integers are equal, both elements
/// of a pair have that value.
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
            // While both elements of a pair are equal, any other value replaces the second element.
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

    /// Returns the minimum and the maximum of the values other than `excluded`, or `None` if there are no other values.
    pub fn min_max_excluding(&self, excluded: i64) -> Option<(i64, i64)> {
        let other = |pair: [i64; 2]| pair.into_iter().find(|&x| x != excluded);
        other(self.least).zip(other(self.largest))
    }
}
