//! How a library is measured: each line of standard input is a number of units to do; the answer is a JSON line with the
//! seconds that they took and the value that was read at the end.

use std::io::stdin;
use std::time::Instant;

/// `region` does so many units and returns once the last one's value is on the host.
pub fn serve(mut region: impl FnMut(usize) -> f64) {
    for line in stdin().lines() {
        let units = line.expect("it is text").trim().parse().expect("a line is a number of units");
        let start = Instant::now();
        let value = region(units);
        println!(r#"{{"seconds": {}, "value": {value}}}"#, start.elapsed().as_secs_f64());
    }
}
