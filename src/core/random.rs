//! Random numbers: the counter-based generator Philox 4x32-10, which is identical on every device, and the state that
//! allocates its streams.
//!
//! Source: Salmon, Moraes, Dror, Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011. Each word is a pure
//! function of (seed, counter, index), so a recomputed forward pass has the same dropout masks.

use std::cell::RefCell;
use std::f64::consts::TAU;

/// The state of a generator. Restoring a saved generator repeats its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generator {
    /// The seed, which selects a family of streams.
    pub seed: u64,
    /// The next stream of the family. Each random tensor takes one stream.
    pub counter: u64,
}

thread_local! {
    static DEFAULT: RefCell<Generator> = const { RefCell::new(Generator { seed: 0, counter: 0 }) };
}

/// Seeds this thread's generator, which initial weights, `Tensor::rand` and dropout use.
///
/// ```
/// use wgrad::{Device, Tensor};
/// let draw = || Tensor::rand([4], &Device::cpu()).to_vec::<f32>().unwrap();
/// wgrad::manual_seed(7);
/// let first = draw();
/// wgrad::manual_seed(7);
/// assert_eq!(draw(), first);
/// ```
pub fn manual_seed(seed: u64) {
    set_generator(Generator::new(seed));
}

/// Returns a copy of this thread's generator.
pub fn generator() -> Generator {
    DEFAULT.with_borrow(|generator| *generator)
}

/// Sets this thread's generator to a saved one.
pub fn set_generator(generator: Generator) {
    DEFAULT.with_borrow_mut(|default| *default = generator);
}

/// Runs `f` with `generator` as this thread's generator, and restores the previous generator afterwards, even if `f`
/// panics.
pub(crate) fn with_generator<T>(generator: Generator, f: impl FnOnce() -> T) -> T {
    struct RestoreGenerator(Generator);
    impl Drop for RestoreGenerator {
        fn drop(&mut self) {
            set_generator(self.0);
        }
    }
    let _restore = RestoreGenerator(self::generator());
    set_generator(generator);
    f()
}

/// Takes the next stream of this thread's generator, as (seed, counter).
pub(crate) fn next_stream() -> Generator {
    DEFAULT.with_borrow_mut(Generator::stream)
}

impl Generator {
    /// Creates a generator that is independent of the thread's generator.
    pub const fn new(seed: u64) -> Generator {
        Generator { seed, counter: 0 }
    }

    /// Returns the next stream and advances the counter.
    pub(crate) fn stream(&mut self) -> Generator {
        let stream = *self;
        self.counter += 1;
        stream
    }

    /// Returns the `n`-th generator derived from this generator. Its streams differ from the streams of this generator.
    pub fn fork(&self, n: u64) -> Generator {
        // The second word is 0 in blocks of ordinary draws, and at least 1 here.
        let block = [n as u32, 1 + (n >> 32) as u32, self.counter as u32, (self.counter >> 32) as u32];
        let [low, high, ..] = philox(block, [self.seed as u32, (self.seed >> 32) as u32]);
        Generator::new(u64::from(high) << 32 | u64::from(low))
    }

    /// Returns `n` numbers from the next stream, uniformly distributed in [0, 1).
    pub fn uniform(&mut self, n: usize) -> Vec<f32> {
        let stream = self.stream();
        (0..n).map(|i| uniform(word(stream.seed, stream.counter, i as u32))).collect()
    }

    /// Returns `n` numbers from the next stream, normally distributed with mean 0 and standard deviation 1 (Box and
    /// Muller, 1958).
    pub fn normal(&mut self, n: usize) -> Vec<f32> {
        let uniform = self.uniform(2 * n);
        uniform
            .chunks_exact(2)
            .map(|pair| {
                let radius = (-2.0 * (1.0 - f64::from(pair[0])).ln()).sqrt();
                (radius * (TAU * f64::from(pair[1])).cos()) as f32
            })
            .collect()
    }

    /// Returns the numbers 0 to n - 1 in random order (Fisher-Yates shuffle), using the next stream.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let stream = self.stream();
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            let wide = u64::from(word(stream.seed, stream.counter, i as u32)) * (i as u64 + 1);
            order.swap(i, (wide >> 32) as usize);
        }
        order
    }
}

/// Returns word `index` of the stream (seed, counter).
pub(crate) fn word(seed: u64, counter: u64, index: u32) -> u32 {
    let block = [index / 4, 0, counter as u32, (counter >> 32) as u32];
    philox(block, [seed as u32, (seed >> 32) as u32])[index as usize % 4]
}

/// Converts a random word to a number in [0, 1), a multiple of 2^-24 and so exact in f32.
pub(crate) fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 / (1 << 24) as f32
}

fn philox(mut x: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let low = u64::from(x[0]) * 0xD251_1F53;
        let high = u64::from(x[2]) * 0xCD9E_8D57;
        x = [
            (high >> 32) as u32 ^ x[1] ^ key[0],
            high as u32,
            (low >> 32) as u32 ^ x[3] ^ key[1],
            low as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    x
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    /// The known-answer tests of the Random123 distribution (kat_vectors: philox4x32 10).
    #[test]
    fn philox_gives_the_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn moments_of_the_draws() {
        let mut generator = Generator::new(1);
        let n = 100_000;
        let mean = |data: &[f32]| data.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        let square = |data: &[f32]| data.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
        let uniform = generator.uniform(n);
        // The tolerances are four standard errors: 4 * sqrt(1/12/n) and, for the squares, 4 * sqrt(4/45/n).
        assert_abs_diff_eq!(mean(&uniform), 0.5, epsilon = 0.0037);
        assert_abs_diff_eq!(square(&uniform), 1.0 / 3.0, epsilon = 0.0038);
        let normal = generator.normal(n);
        assert_abs_diff_eq!(mean(&normal), 0.0, epsilon = 0.0127);
        assert_abs_diff_eq!(square(&normal), 1.0, epsilon = 0.0179);
    }

    #[test]
    fn a_permutation_holds_each_number_once() {
        let mut order = Generator::new(3).permutation(1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }
}
